package controller

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/nomad/nomadtest"
	"github.com/tealdeploy/teal/agent/redact"
)

// suite is a person's batch job with one line of shell and its memory.
const suite = `{"ID":"suite","Name":"suite","Type":"batch","Namespace":"default","TaskGroups":[{"Name":"suite","Count":1,"Tasks":[
 {"Name":"suite","Driver":"raw_exec","Config":{"command":"/bin/sh","args":["-c","%s"]},"Env":{"MINE":"1"},"Resources":{"MemoryMB":%d}}]}]}`

// tested writes a policy whose version has to pass a test job.
func (w *world) tested(version, line string, memory int, more string) {
	w.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "suite.json"), fmt.Appendf(nil, suite, line, memory), 0o644); err != nil {
		w.Fatal(err)
	}
	w.policy(version, quick+"\n  gate \"nomad-job\" \"suite\" {\n    jobspec = file(\"suite.json\")\n"+more+"\n  }")
}

// suites are the test jobs that Nomad knows, running or not.
func (w *world) suites(running bool) []string {
	w.Helper()
	var all []string
	for _, id := range w.nomad.Jobs() {
		job, err := w.nomad.Client("people").Job(w.Context(), "", id)
		if err != nil {
			w.Fatal(err)
		}
		if value(job.Type) == "batch" && job.ParameterizedJob == nil && (!running || value(job.Status) != "dead") {
			all = append(all, id)
		}
	}
	return all
}

func gateNamed(d *deployment.Deployment, name string) deployment.GateRecord {
	for _, g := range d.Gates {
		if g.Name == name {
			return g
		}
	}
	return deployment.GateRecord{}
}

// nothingTested waits until no test is noted any more, and none runs.
func (w *world) nothingTested() {
	w.Helper()
	w.until(time.Minute, "no test is noted", func(r deployment.Service) bool { return len(r.Tests) == 0 })
	if left := w.suites(true); len(left) > 0 {
		w.Errorf("test jobs still run: %v", left)
	}
}

func TestATestJobPasses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.tested("2.0.0", "echo 12 tests passed; exit 0", 10, "")
		rec := w.state("2.0.0", deployment.Done)
		g := gateNamed(rec.Deployment, "suite")
		if rec.Deployment.Outcome != deployment.Succeeded || g.Verdict != "pass" || g.Figures["exit_code"] != "0" || g.Figures["log"] != "12 tests passed" {
			t.Errorf("%s: %+v", rec.Deployment.Outcome, g)
		}
		job, err := w.nomad.Client("people").Job(t.Context(), "", g.Figures["job"])
		if err != nil || job == nil {
			t.Fatalf("the job in the evidence: %v, %v", job, err)
		}
		env := job.TaskGroups[0].Tasks[0].Env
		if env["TEAL_COLOUR"] != "green" || env["TEAL_VERSION"] != "2.0.0" || env["TEAL_ADDRESSES"] != "127.0.0.1:1,127.0.0.1:1" || env["TEAL_SERVICE"] != "api" || env["MINE"] != "1" {
			t.Errorf("the job was given %v", env)
		}
		w.nothingTested()
	})
}

func TestATestJobFails(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.tested("2.0.0", "echo checkout is broken; exit 3", 10, "attempts = 2")
		rec := w.state("2.0.0", deployment.Done)
		g := gateNamed(rec.Deployment, "suite")
		if rec.Deployment.Outcome != deployment.Failed || g.Verdict != "fail" || g.Figures["exit_code"] != "3" || !strings.Contains(g.Figures["log"], "checkout is broken") {
			t.Errorf("%s: %+v", rec.Deployment.Outcome, g)
		}
		if !strings.Contains(rec.Deployment.Reason, "ended with exit code 3") {
			t.Errorf("the reason is %q", rec.Deployment.Reason)
		}
		if n := len(w.suites(false)); n != 2 {
			t.Errorf("%d runs were made, want as many as attempts", n)
		}
		w.serves(deployment.Blue)
		w.nothingTested()
	})
}

// Of a long log only the end is read, which may begin in the middle of a header that
// would not be shown.
func TestALongLogBeginsWithAWholeLine(t *testing.T) {
	for text, want := range map[string]string{
		"ization: Bearer t0ken\nall is well\n": "all is well\n",
		"all of it in one line":                "all of it in one line",
		"one line and its end\n \n":            "one line and its end\n \n",
		"short\nand\nwhole":                    "short\nand\nwhole",
	} {
		if got := redact.WholeLines(text, 20); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

// A test that does not end is stopped, and has failed.
func TestATestJobWhoseTimeIsUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.tested("2.0.0", "sleep", 10, `timeout = "20s"`)
		rec := w.state("2.0.0", deployment.Done)
		if rec.Deployment.Outcome != deployment.Failed || !strings.Contains(rec.Deployment.Reason, "did not come to its end in time and was stopped") {
			t.Errorf("%s: %s", rec.Deployment.Outcome, rec.Deployment.Reason)
		}
		w.nothingTested()
	})
}

// A test for which there is no room says nothing of the candidate.
func TestATestJobThatFindsNoPlace(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.tested("2.0.0", "echo fine; exit 0", 1<<21, "timeout = \"20s\"\n deadline = \"50s\"")
		rec := w.until(5*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
		if rec.Deployment.State != deployment.Gating || !strings.Contains(rec.Held.Reason, "never ran") || !strings.Contains(rec.Held.Reason, "emory") {
			t.Errorf("%s: %s", rec.Deployment.State, rec.Held.Reason)
		}
		w.nothingTested()
		// There is room now: asked again, it is run again.
		w.nomad.SetMemory(1 << 22)
		w.obeyed("resume", "")
		if rec := w.state("2.0.0", deployment.Done); rec.Deployment.Outcome != deployment.Succeeded {
			t.Errorf("%s: %s", rec.Deployment.Outcome, rec.Deployment.Reason)
		}
	})
}

// What Nomad refuses holds, in Nomad's or our own words.
func TestAJobThatCannotBeATestHolds(t *testing.T) {
	for text, want := range map[string]string{
		strings.Replace(suite, `"batch"`, `"service"`, 1):                                                     `use type = "batch"`,
		strings.Replace(suite, `"Count":1,`, `"Count":1,"Services":[{"Name":"api","Provider":"consul"}],`, 1): "that is the service which is being released",
		strings.Replace(suite, `"Count":1,`, `"Count":0,`, 1):                                                 "its count is 0",
		strings.Replace(suite, `"batch"`, `"batch","ParameterizedJob":{}`, 1):                                 "name it with dispatch",
	} {
		inWorld(t, func(w *world) {
			w.adopted()
			if err := os.WriteFile(filepath.Join(w.dir, "other.json"), fmt.Appendf(nil, text, "echo fine; exit 0", 10), 0o644); err != nil {
				t.Fatal(err)
			}
			w.policy("2.0.0", quick+"\n  gate \"nomad-job\" \"suite\" {\n    jobspec = file(\"other.json\")\n timeout = \"5s\"\n deadline = \"10s\"\n  }")
			rec := w.until(5*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
			if !strings.Contains(rec.Held.Reason, want) {
				t.Errorf("held: %s\nwant %s", rec.Held.Reason, want)
			}
			if all := w.suites(false); len(all) > 0 {
				t.Errorf("it was run: %v", all)
			}
		})
	}
}

// A test ends with its release, whichever way that goes.
func TestATestJobEndsWithItsRelease(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"aborted":    func(w *world) { w.obeyed("abort", "not today") },
		"superseded": func(w *world) { w.policy("3.0.0", quick) },
		"forced":     func(w *world) { w.obeyed("cutover", `{"arg":"green","force":true,"why":"the suite is broken"}`) },
		"voided": func(w *world) {
			w.tested("2.0.0", "sleep", 20, "")
			w.until(time.Minute, "the new test is noted", func(r deployment.Service) bool { return len(r.Tests) == 1 })
			w.obeyed("abort", "enough")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.adopted()
				w.tested("2.0.0", "sleep", 10, "")
				rec := w.until(time.Minute, "the test is noted", func(r deployment.Service) bool { return len(r.Tests) == 1 })
				w.until(time.Minute, "it runs", func(deployment.Service) bool { return len(w.suites(true)) == 1 })
				before := rec.Tests[0].Job
				end(w)
				w.until(time.Minute, "it is forgotten", func(r deployment.Service) bool {
					return !slices.ContainsFunc(r.Tests, func(t deployment.Test) bool { return t.Job == before })
				})
				if left := w.suites(true); slices.Contains(left, before) {
					t.Errorf("it runs on: %v", left)
				}
				w.nothingTested()
			})
		})
	}
}

// The next leader finds the test that the one before it had started.
func TestTheNextLeaderFindsTheTestJob(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.adopted()
		w.nomad.SetBehaviour(func(l nomadtest.Launch) (b nomadtest.Behaviour) {
			if value(l.Job.Type) == "batch" {
				b.End = &nomadtest.Ending{After: time.Minute, Log: "slow and good"}
			}
			return b
		})
		w.tested("2.0.0", "sleep", 10, "")
		w.until(time.Minute, "it runs", func(deployment.Service) bool { return len(w.suites(true)) == 1 })
		a.stop()
		w.agent("agent-2")
		rec := w.state("2.0.0", deployment.Done)
		if g := gateNamed(rec.Deployment, "suite"); rec.Deployment.Outcome != deployment.Succeeded || g.Figures["log"] != "slow and good" {
			t.Errorf("%s: %+v", rec.Deployment.Outcome, g)
		}
		if all := w.suites(false); len(all) != 1 {
			t.Errorf("the test was run %d times: %v", len(all), all)
		}
	})
}

// A test whose release ended while nobody led is stopped by the next leader.
func TestTheNextLeaderStopsAStrayTestJob(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.adopted()
		w.tested("2.0.0", "sleep", 10, "")
		w.until(time.Minute, "it runs", func(deployment.Service) bool { return len(w.suites(true)) == 1 })
		w.nomad.SetAway(true)
		w.obeyed("abort", "not today")
		a.stop()
		w.nomad.SetAway(false)
		if len(w.suites(true)) != 1 {
			t.Fatal("it was stopped already: this test tests nothing")
		}
		w.agent("agent-2")
		w.nothingTested()
	})
}

// A service with a test that is not over is not left alone.
func TestANotedTestIsLookedAfter(t *testing.T) {
	if !quiet(deployment.Service{}) || quiet(deployment.Service{Tests: []deployment.Test{{Job: "suite"}}}) {
		t.Error("a new leader would not look at a service whose test is noted, or at every one")
	}
}

// An answer that was lost starts no second test, nor does Nomad's absence.
func TestATestJobIsStartedOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		lost := 0
		w.nomad.Intercept(func(c nomadtest.Call) (f nomadtest.Fault) {
			if c.Op == "Register" && strings.HasPrefix(c.Job, "suite") && lost < 2 {
				lost++
				f.After = &nomad.Error{Op: "register", Kind: nomad.ErrUnavailable, Err: fmt.Errorf("connection reset")}
			}
			return f
		})
		w.tested("2.0.0", "echo fine; exit 0", 10, "")
		if rec := w.state("2.0.0", deployment.Done); rec.Deployment.Outcome != deployment.Succeeded {
			t.Errorf("%s: %s", rec.Deployment.Outcome, rec.Deployment.Reason)
		}
		if all := w.suites(false); lost == 0 || len(all) != 1 {
			t.Errorf("%d answers were lost, and the test was run %d times", lost, len(all))
		}
	})
}

// parent registers a parameterized job, as a person does.
func (w *world) parent(line string, taken ...string) {
	w.Helper()
	client := w.nomad.Client("people")
	job, err := client.Parse(w.Context(), fmt.Sprintf(suite, line, 10), "")
	if err != nil {
		w.Fatal(err)
	}
	id := "e2e"
	job.ID, job.ParameterizedJob = &id, &nomadapi.ParameterizedJobConfig{MetaRequired: taken}
	if _, err := client.Register(w.Context(), job, 0, nomad.Submission{}); err != nil {
		w.Fatal(err)
	}
}

const dispatched = quick + "\n  gate \"nomad-job\" \"suite\" {\n    dispatch = \"e2e\"\n timeout = \"1m\"\n deadline = \"2m\"\n }"

func TestADispatchedTest(t *testing.T) {
	for line, want := range map[string]deployment.Outcome{"echo fine; exit 0": deployment.Succeeded, "echo bad; exit 1": deployment.Failed} {
		inWorld(t, func(w *world) {
			w.adopted()
			w.parent(line, "teal_addresses", "teal_version")
			w.policy("2.0.0", dispatched)
			rec := w.state("2.0.0", deployment.Done)
			g := gateNamed(rec.Deployment, "suite")
			if rec.Deployment.Outcome != want {
				t.Errorf("%s: %+v", rec.Deployment.Outcome, g)
			}
			job, err := w.nomad.Client("people").Job(t.Context(), "", g.Figures["job"])
			if err != nil || job == nil || job.Meta["teal_addresses"] != "127.0.0.1:1,127.0.0.1:1" || job.Meta["teal_version"] != "2.0.0" || job.Meta["teal_colour"] != "" {
				t.Errorf("dispatched with %v, %v", job, err)
			}
			w.nothingTested()
		})
	}
}

// A stray instance is found by its token, although its ID was never noted.
func TestAStrayInstanceIsStopped(t *testing.T) {
	inWorld(t, func(w *world) {
		w.adopted()
		w.parent("sleep", "teal_addresses")
		w.policy("2.0.0", dispatched)
		w.until(time.Minute, "it runs", func(deployment.Service) bool { return len(w.suites(true)) == 1 })
		w.obeyed("abort", "not today")
		w.nothingTested()
		if !slices.Contains(w.nomad.Jobs(), "e2e") {
			t.Error("the parameterized job itself was stopped")
		}
	})
}

// A job that cannot be aimed at the candidate is not run.
func TestADispatchThatCannotBeAimedHolds(t *testing.T) {
	for _, c := range []struct {
		prepare func(w *world)
		want    string
	}{
		{func(w *world) { w.parent("echo fine; exit 0", "teal_version") }, "does not take the candidate's addresses"},
		{func(*world) {}, `there is no job "e2e" to dispatch`},
	} {
		inWorld(t, func(w *world) {
			w.adopted()
			c.prepare(w)
			w.policy("2.0.0", dispatched)
			rec := w.until(5*time.Minute, "held", func(r deployment.Service) bool { return r.Held != nil })
			if !strings.Contains(rec.Held.Reason, c.want) || len(w.suites(false)) > 0 {
				t.Errorf("held: %s, suites %v", rec.Held.Reason, w.suites(false))
			}
		})
	}
}
