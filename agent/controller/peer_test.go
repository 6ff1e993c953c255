package controller

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// auth is the record of another service, at 2.1.0 on blue.
func auth() deployment.Service {
	return deployment.Service{Format: deployment.Format, Name: "auth", Managed: true, Active: deployment.Blue,
		Slots: map[deployment.Colour]deployment.Slot{deployment.Blue: {Version: "2.1.0", Expected: 1}, deployment.Green: {Version: "2.2.0", Expected: 1}},
		Jobs:  deployment.JobOwnership{Owner: deployment.Blue}}
}

// releases is auth with 2.2.0 on its way to green, or there.
func releases(state deployment.State) deployment.Service {
	s := auth()
	s.Deployment = &deployment.Deployment{ID: "d", State: state, From: deployment.Blue, To: deployment.Green, Candidate: deployment.Candidate{Version: "2.2.0"}}
	if !state.BeforeCutover() && state != deployment.CuttingOver {
		s.Active = deployment.Green
	}
	return s
}

// A gate sees another service as its record and Consul have it: what is being
// released is not settled until its watch has passed.
func TestAnotherServiceAsAGateSeesIt(t *testing.T) {
	const needs = quick + "\n gate \"depends\" \"auth\" {\n service = \"auth\"\n version = \">= 2.1\"\n attempts = 1\n deadline = \"30s\"\n }"
	hold := func(reason string) func(*world) {
		return func(w *world) {
			rec := w.until(5*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
			if !strings.Contains(rec.Held.Reason, "could not be judged within 30s") || !strings.Contains(rec.Held.Reason, reason) {
				t.Error(rec.Held.Reason)
			}
			w.serves(deployment.Blue)
		}
	}
	pass := func(w *world) { w.state("2.0.0", deployment.Watching) }
	fail := func(reason string) func(*world) {
		return func(w *world) {
			rec := w.until(5*time.Minute, "failed", func(r deployment.Service) bool {
				return r.Deployment != nil && r.Deployment.Outcome == deployment.Failed
			})
			if !strings.Contains(rec.Deployment.Reason, reason) {
				t.Error(rec.Deployment.Reason)
			}
			w.serves(deployment.Blue)
		}
	}
	text := func(s deployment.Service) string {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	old := auth()
	old.Slots[deployment.Blue] = deployment.Slot{Version: "2.0.0", Expected: 1}
	given := auth()
	given.Managed = false
	for name, c := range map[string]struct {
		record  string
		colour  deployment.Colour // of its healthy instance
		becomes func(*world)
	}{
		"at rest":              {text(auth()), deployment.Blue, pass},
		"the other colour's":   {text(auth()), deployment.Green, fail("0 of 1 instances of blue")},
		"an old version":       {text(old), deployment.Blue, fail("auth is at 2.0.0")},
		"at its gates":         {text(releases(deployment.Gating)), deployment.Blue, hold("2.2.0 is gating")},
		"watched":              {text(releases(deployment.Watching)), deployment.Green, hold("2.2.0 is watching")},
		"taken back":           {text(releases(deployment.RollingBack)), deployment.Green, hold("2.2.0 is rolling-back")},
		"soaking":              {text(releases(deployment.Soaking)), deployment.Green, pass},
		"given back":           {text(given), deployment.Blue, hold("not managed by Teal any more")},
		"unknown":              {"", deployment.Blue, hold("there is no service auth")},
		"not to be understood": {"nonsense", deployment.Blue, hold("the record of auth cannot be read")},
		"a newer Teal's":       {fmt.Sprintf(`{"format": %d}`, deployment.Format+1), deployment.Blue, hold("a newer teal wrote it")},
	} {
		inWorld(t, func(w *world) {
			w.adopted()
			if c.record != "" {
				if err := w.people.Put(w.Context(), w.keys.State("auth"), []byte(c.record)); err != nil {
					t.Fatal(err)
				}
			}
			w.consul.SetInstance("auth", deployment.Instance{ID: "a1", Node: "node", Address: "127.0.0.1", Port: 2, Colour: c.colour, Health: deployment.Passing})
			w.policy("2.0.0", needs)
			c.becomes(w)
		})
		if t.Failed() {
			t.Fatalf("while auth is %s", name)
		}
	}
}
