package scale

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/testbed/world"
)

// What make bench-scale measures, in short: two hundred idle services cost an
// agent no more connections and requests than one does, two agents take over
// from each other, and everything is noticed. Bounds are what no busy machine
// can reach by being slow.
func TestIdleServicesCostNothing(t *testing.T) {
	defer world.RemoveBinaries()
	r, err := Run(t.Context(), Options{Sizes: []int{1, 200}, Idle: 8 * time.Second, Samples: 6, Releases: 3, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	r.Print(t.Output())
	one, many := r.Sizes[0], r.Sizes[1]
	if one.ConsulHeld != many.ConsulHeld || one.NomadHeld != many.NomadHeld || one.ConsulHeld == 0 || one.NomadHeld == 0 {
		t.Errorf("one service has %d requests held at Consul and %d at Nomad, 200 have %d and %d", one.ConsulHeld, one.NomadHeld, many.ConsulHeld, many.NomadHeld)
	}
	// Beside those that are held there are a few, kept for a while after use.
	if c := many.ConsulConnections; c < many.ConsulHeld || c > many.ConsulHeld+6 {
		t.Errorf("%d connections to Consul for %d requests that are held", c, many.ConsulHeld)
	}
	if n := many.NomadConnections; n < many.NomadHeld || n > many.NomadHeld+3 {
		t.Errorf("%d connections to Nomad for %d requests that are held", n, many.NomadHeld)
	}
	if many.ConsulRequests > one.ConsulRequests+1 || many.NomadRequests > one.NomadRequests+1 {
		t.Errorf("one service has %.2f and %.2f requests a second, 200 have %.2f and %.2f", one.ConsulRequests, one.NomadRequests, many.ConsulRequests, many.NomadRequests)
	}
	if many.MemoryIdle == 0 || many.MemoryIdle > 100 || many.CPU > 20 {
		t.Errorf("200 idle services take %.0f MB and %.1f %% of a core", many.MemoryIdle, many.CPU)
	}
	for _, f := range []Figure{many.Command, many.PolicyEdit, many.RouterEdit, many.JobDrift, many.Cutover, r.Releases.Cutover, r.Releases.Floor, r.Releases.One} {
		if f.Samples == 0 || f.P50 <= 0 {
			t.Errorf("not measured: %+v", f)
		}
	}
	if len(r.Goals) != 13 {
		t.Errorf("%d goals", len(r.Goals))
	}
}
