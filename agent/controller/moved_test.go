package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// policyIn is policy with a jobspec for another namespace of Nomad, or under
// another name.
func (w *world) policyIn(version, namespace, id, body string) {
	w.Helper()
	text := strings.NewReplacer(`"ID":"api"`, `"ID":"`+id+`","Namespace":"`+namespace+`"`).Replace(apiJobspec)
	agents := w.agents
	w.agents = nil
	w.policy(version, body)
	w.agents = agents
	if err := os.WriteFile(filepath.Join(w.dir, "api.nomad.hcl"), []byte(text), 0o644); err != nil {
		w.Fatal(err)
	}
	for _, a := range w.agents {
		a.reload()
	}
}

// The jobspec moves from one namespace of Nomad to another, and gets another
// name, from version to version, good ones and bad ones: each release finds what
// stood on its colour before, wherever that runs.
func TestJobspecMovesBetweenReleases(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		quickly := body("deadline = \"30s\"\n keep_failed = \"20s\"", "", "", "")
		live := func(version string) {
			w.Helper()
			w.until(5*time.Minute, version+" is live", func(r deployment.Service) bool {
				return r.Slots[r.Active].Version == version && !r.InFlight() && !r.Jobs.Moving()
			})
			w.serves(w.record().Active)
		}
		w.policyIn("2.0.0", "prod", "api", quickly)
		live("2.0.0")
		w.policyIn("3.0.0", "prod", "web", quickly)
		live("3.0.0")
		w.sick["4.0.0"] = true
		w.policyIn("4.0.0", "default", "web", quickly)
		w.until(5*time.Minute, "4.0.0 failed", func(r deployment.Service) bool { return r.Deployment.Candidate.Version == "4.0.0" && !r.InFlight() })
		w.policyIn("5.0.0", "prod", "api", quickly)
		live("5.0.0")
		w.sick["6.0.0"] = true
		w.policyIn("6.0.0", "default", "api", quickly)
		w.state("6.0.0", deployment.Launching)
		w.policyIn("7.0.0", "prod", "web", quickly)
		live("7.0.0")
		if got := w.nomad.Jobs(); !slices.Equal(got, []string{"api-green", "web-blue"}) {
			t.Errorf("jobs %v", got)
		}
		if held := w.record().Held; held != nil {
			t.Errorf("held: %s", held.Reason)
		}
	})
}

// Traffic is to go back by hand to the adopted job, whose instances carry no
// colour, and Consul refuses the write. Once it does not, the job proves itself
// and gets its traffic.
func TestTheAdoptedJobCanProveItself(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.policy("2.0.0", quick)
		w.until(5*time.Minute, "2.0.0 is live", func(r deployment.Service) bool { return r.Active == deployment.Green && !r.InFlight() })
		w.consul.Intercept(func(c consultest.Call) (f consultest.Fault) {
			if c.Agent == "agent-1" && c.Op == "SetEntry" {
				f.Before = fmt.Errorf("set: %w", consul.ErrForbidden)
			}
			return f
		})
		w.obeyed(kv.Cutover, "blue")
		w.until(time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		w.consul.Intercept(nil)
		w.obeyed(kv.Resume, "")
		w.until(time.Minute, "back", func(r deployment.Service) bool { return r.Active == deployment.Blue })
		w.serves(deployment.Blue)
	})
}
