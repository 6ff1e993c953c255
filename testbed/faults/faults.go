// Package faults hurts an installation of Teal on real servers, on purpose and
// by plan, and looks from outside at what became of it: agents killed before
// and after every write they make, leaders frozen past their lease with a write
// in their hands, Consul's leader killed at the write of a cutover, Nomad away,
// an agent cut off from Consul, a disk that is full, a clock that is set, workers
// killed in the middle of a handover or stopped for longer than their lease, two
// agents that make releases for an hour. `make faults` runs all of it and tests a
// part.
//
// What is written is not listed here: it is found. The agent talks to the
// servers over a Wire, which knows a request that writes when it sees one, and
// a first, undisturbed run tells which there are.
package faults
