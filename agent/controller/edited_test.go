package controller

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
)

// A newer version that comes while another one is made ready supersedes it,
// however far that is. Nobody is told meanwhile that the leader had the wrong
// files: it has the newest ones, and is about to act on them.
func TestAnEditIsNoHold(t *testing.T) {
	for after := 1900 * time.Millisecond; after <= 2600*time.Millisecond; after += 50 * time.Millisecond { // plan, launch, gates
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.nomad.Intercept(func(nomadtest.Call) nomadtest.Fault { return nomadtest.Fault{Stall: 100 * time.Millisecond} })
				w.policy("2.0.0", quick)
				time.Sleep(after)
				w.policy("3.0.0", strings.Replace(quick, "1m", "2m", 1)) // of the policy, too
				w.state("3.0.0", deployment.Done)
				if strings.Contains(w.logs(), "not the one that this release began with") {
					t.Errorf("it was held:\n%s", w.logs())
				}
			})
		})
	}
}
