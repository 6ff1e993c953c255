package gates

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrChanged says that the candidate became another one while its gates ran:
// what was found so far is void.
var ErrChanged = errors.New("the candidate changed while its gates ran")

// Progress is one gate's standing after a look.
type Progress struct {
	Kind, Name string
	Verdict    Verdict // Hold until the gate is decided, then Pass or Fail
	Reason     string  // what the last look saw; bounded
	Figures    map[string]string
	Attempts   int // looks made
	Failures   int // of them failed; Named.Attempts of them fail the gate
	At         time.Time
	Hash       string // Target.Hash the look was made for
}

// Outcome is what a run of gates ended with.
type Outcome struct {
	Verdict Verdict
	// Gate is the index of the gate that decided; -1 when all passed.
	Gate   int
	Reason string
	Hash   string // the candidate that was judged
	// Gates holds the last progress of every gate that was looked at.
	Gates []Progress
}

// Run drives gates in the order declared until all have passed, one has failed
// or one could not be judged within its deadline; Hold is the verdict then,
// and Run may be called again.
//
// Before each look target says what the candidate is now; an error of it, or
// of the gate, means that nobody could ask, and is neither a pass nor a
// failure. A look that has begun is left alone until its timeout, even if the
// instances move meanwhile. Progress, which may be nil, is told after each
// look, from Run's own goroutine.
//
// The error is ErrChanged or the context's; no verdict is valid then.
func Run(ctx context.Context, gates []Named, target func(context.Context) (Target, error), progress func(i int, p Progress)) (Outcome, error) {
	if progress == nil {
		progress = func(int, Progress) {}
	}
	r := run{target: target, progress: progress}
	out := Outcome{Gate: -1, Verdict: Pass, Reason: "no gate is declared"}
	for i, gate := range gates {
		last, err := r.gate(ctx, i, gate.withDefaults())
		if err != nil {
			return Outcome{Gate: i, Gates: out.Gates}, err
		}
		out.Gates = append(out.Gates, last)
		out.Hash = r.hash
		if last.Verdict != Pass {
			out.Verdict, out.Gate = last.Verdict, i
			out.Reason = fmt.Sprintf("gate %s %q: %s", gate.Kind, gate.Name, last.Reason)
			return out, nil
		}
		out.Reason = fmt.Sprintf("%d of %d gates passed", i+1, len(gates))
	}
	return out, nil
}

type run struct {
	target   func(context.Context) (Target, error)
	progress func(int, Progress)
	hash     string
	seen     bool // hash is set
}

// gate looks until the gate is decided or its deadline has come.
func (r *run) gate(ctx context.Context, i int, n Named) (Progress, error) {
	deadline := time.Now().Add(n.Deadline)
	p := Progress{Kind: n.Kind, Name: n.Name}
	for {
		finding, err := r.look(ctx, n)
		if err != nil {
			return p, err
		}
		p.Attempts++
		p.At, p.Hash = time.Now(), r.hash
		p.Reason, p.Figures = cut(line(finding.Reason), maxReason), bounded(finding.Figures)
		switch finding.Verdict {
		case Pass:
			p.Verdict = Pass
		case Fail:
			p.Failures++
			if p.Failures >= n.Attempts {
				p.Verdict = Fail
			}
		}
		if p.Verdict == Hold && !time.Now().Before(deadline) {
			p = expire(p, n, finding.Verdict)
		}
		r.progress(i, p)
		if p.Verdict != Hold || !time.Now().Before(deadline) {
			return p, nil
		}

		if err := wait(ctx, min(n.Interval, time.Until(deadline))); err != nil {
			return p, err
		}
		if !time.Now().Before(deadline) {
			p = expire(p, n, finding.Verdict)
			r.progress(i, p)
			return p, nil
		}
	}
}

// expire is what a gate becomes at its deadline, by what its last look found.
func expire(p Progress, n Named, last Verdict) Progress {
	if last == Fail {
		p.Verdict = Fail
		p.Reason = cut(fmt.Sprintf("not passed within %s: %s", n.Deadline, p.Reason), maxReason)
		return p
	}
	p.Reason = cut(fmt.Sprintf("could not be judged within %s: %s", n.Deadline, p.Reason), maxReason)
	return p
}

// look refreshes the target and asks the gate once. Both get the whole timeout,
// so that a slow Consul does not make an instance look slow. The error ends
// the run; that nobody could ask is a finding.
func (r *run) look(ctx context.Context, n Named) (Finding, error) {
	asking, cancel := context.WithTimeout(ctx, n.Timeout)
	target, err := r.target(asking)
	cancel()
	if ctx.Err() != nil {
		return Finding{}, context.Cause(ctx)
	}
	if err != nil {
		return Finding{Reason: fmt.Sprintf("could not see the candidate: %s", err)}, nil
	}
	if r.seen && r.hash != target.Hash {
		return Finding{}, ErrChanged
	}
	r.hash, r.seen = target.Hash, true

	looking, cancel := context.WithTimeout(ctx, n.Timeout)
	defer cancel()
	finding, err := n.Gate.Check(looking, target)
	if ctx.Err() != nil { // what an interrupted look says is no evidence
		return Finding{}, context.Cause(ctx)
	}
	if err != nil {
		return Finding{Reason: fmt.Sprintf("could not ask: %s", err), Figures: finding.Figures}, nil
	}
	return finding, nil
}

// withDefaults fills what a gate made without DecodeNamed left out.
func (n Named) withDefaults() Named {
	if n.Attempts < 1 {
		n.Attempts = DefaultAttempts
	}
	if n.Interval <= 0 {
		n.Interval = DefaultInterval
	}
	if n.Timeout <= 0 {
		n.Timeout = DefaultTimeout
	}
	if n.Deadline <= 0 {
		n.Deadline = DefaultDeadline
	}
	return n
}

// wait is the pause between two looks.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
