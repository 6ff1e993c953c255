package controller

import (
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Somebody removes the previous colour's job from Nomad during the watch. Its
// counts cannot be given back to what is not there; the watch goes on.
func TestPreviousJobIsPurgedDuringTheWatch(t *testing.T) {
	inWorld(t, func(w *world) {
		w.scalesDown = true
		w.adopted()
		w.policy("2.0.0", quick)
		w.state("2.0.0", deployment.Watching)
		if err := w.nomad.Client("people").Stop(w.Context(), "", "api", true); err != nil {
			t.Fatal(err)
		}
		w.until(time.Minute, "weakened", func(r deployment.Service) bool { return r.Deployment.Weakened != "" })
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.serves(deployment.Green)
		if !strings.Contains(w.logs(), "it is not in Nomad any more") {
			t.Error("the log does not say why the counts are not restored")
		}
	})
}
