package nomadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

// hurt has a running job of two, and gives the requests of an operation a fault.
func hurt(t *testing.T, f func(t *testing.T, s *Server, c *Client, fault func(op string, f Fault))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New()
		c := s.Client("a")
		if _, err := c.Register(t.Context(), parsed(t, c, `version = "1"`), 0, nomad.Submission{Source: "one"}); err != nil {
			t.Fatal(err)
		}
		f(t, s, c, func(op string, f Fault) {
			s.Intercept(func(call Call) Fault {
				if call.Op == op && call.Agent == "a" {
					return f
				}
				return Fault{}
			})
		})
	})
}

func scaleTo(n int) func(*api.Job) { return func(j *api.Job) { j.TaskGroups[0].Count = &n } }

func TestAWriteThatArrivesLate(t *testing.T) {
	hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
		fault("Scale", Fault{Delay: 40 * time.Second})
		began := time.Now()
		if err := c.Scale(t.Context(), "", "api", map[string]int{"web": 3}, nil); !errors.Is(err, nomad.ErrUnavailable) || time.Since(began) != timeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		counts := func() int { job, _ := s.Client("b").Job(t.Context(), "", "api"); return *job.TaskGroups[0].Count }
		if n := counts(); n != 2 {
			t.Errorf("it arrived at once: %d", n)
		}
		time.Sleep(11 * time.Second)
		if n := counts(); n != 3 {
			t.Errorf("it never arrived: %d", n)
		}
	})
}

// A stop is written at the index that it was read at, however late it is.
func TestALateStopStopsNothing(t *testing.T) {
	hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
		fault("Stop", Fault{Delay: 2 * time.Second})
		time.AfterFunc(time.Second, func() { _ = s.Edit("", "api", scaleTo(3)) })
		if err := c.Stop(t.Context(), "", "api", false); !errors.Is(err, nomad.ErrConflict) {
			t.Errorf("%v, want a conflict", err)
		}
		if jobs := s.Jobs(); len(jobs) != 1 {
			t.Errorf("jobs %v", jobs)
		}
	})
}

// It is told to whoever observes, as it is carried out.
func TestWritesAreObservedWhenTheyArrive(t *testing.T) {
	hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
		began := time.Now()
		var seen []string
		s.Observe(func(w Write) {
			seen = append(seen, fmt.Sprint(w.Agent, w.Op, *w.Before.TaskGroups[0].Count, *w.Now.TaskGroups[0].Count, time.Since(began)))
		})
		fault("Scale", Fault{Delay: 3 * time.Second, Stall: time.Second})
		_ = s.Edit("", "api", scaleTo(1)) // by people, who are no agent
		if err := c.Scale(t.Context(), "", "api", map[string]int{"web": 3}, nil); err != nil {
			t.Fatal(err)
		}
		if want := []string{"aScale1 3 4s"}; !slices.Equal(seen, want) {
			t.Errorf("seen %v, want %v", seen, want)
		}
	})
}

// What is answered late says how things were when the answer left.
func TestAnAnswerThatTakesItsTime(t *testing.T) {
	hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
		fault("Job", Fault{Lag: 2 * time.Second})
		time.AfterFunc(time.Second, func() { _ = s.Edit("", "api", scaleTo(3)) })
		began := time.Now()
		job, err := c.Job(t.Context(), "", "api")
		if err != nil || *job.TaskGroups[0].Count != 2 || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		fault("Job", Fault{Lag: time.Hour})
		if _, err := c.Job(t.Context(), "", "api"); !errors.Is(err, nomad.ErrUnavailable) {
			t.Errorf("%v, want no answer in time", err)
		}
		// A request that takes its time finds what there is then.
		fault("Job", Fault{Delay: 2 * time.Second})
		time.AfterFunc(time.Second, func() { _ = s.Edit("", "api", scaleTo(1)) })
		if job, err = c.Job(t.Context(), "", "api"); err != nil || *job.TaskGroups[0].Count != 1 {
			t.Errorf("%v", err)
		}
	})
}

// A leader that was deposed and does not know it tells how everything was.
func TestADeposedLeaderAnswers(t *testing.T) {
	hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
		s.SetBehaviour(func(Launch) Behaviour { return Behaviour{Stop: time.Minute} })
		job := parsed(t, c, `version = "2"`)
		is, _ := c.Job(t.Context(), "", "api")
		r, err := c.Register(t.Context(), job, *is.JobModifyIndex, nomad.Submission{Source: "two"})
		if err != nil {
			t.Fatal(err)
		}
		back := s.index - value(is.JobModifyIndex)
		fault("Job", Fault{Stale: back})
		if was, err := c.Job(t.Context(), "", "api"); err != nil || *was.Version != 0 || *was.JobModifyIndex == r.Index {
			t.Errorf("job %v, %v", was, err)
		}
		fault("Job", Fault{Stale: 1 << 30})
		if was, err := c.Job(t.Context(), "", "api"); err != nil || was != nil {
			t.Errorf("before everything: %v, %v", was, err)
		}
		fault("Submission", Fault{Stale: back})
		if sub, err := c.Submission(t.Context(), "", "api"); err != nil || sub.Source != "one" {
			t.Errorf("source %q, %v", sub.Source, err)
		}
		fault("WatchJob", Fault{Stale: back})
		var seen []string
		err = c.WatchJob(t.Context(), "", "api", func(st nomad.JobStatus) bool {
			seen = append(seen, fmt.Sprint(st.Version, st.Running, st.Deployment.Status))
			return st.Version == 1
		})
		if want := []string{"0 2successful", "1 2successful"}; err != nil || !slices.Equal(seen, want) {
			t.Errorf("seen %q, want %q: %v", seen, want, err)
		}
		// What it reads before it writes is as old, and so it writes nothing.
		fault("Scale", Fault{Stale: back})
		if err := c.Scale(t.Context(), "", "api", map[string]int{"web": 3}, nil); !errors.Is(err, nomad.ErrConflict) {
			t.Errorf("%v, want a conflict", err)
		}
		if err := c.Stop(t.Context(), "", "api", false); err != nil {
			t.Fatal(err)
		}
		fault("WaitStopped", Fault{Stale: 1 << 30})
		if err := c.WaitStopped(t.Context(), "", "api"); err != nil {
			t.Fatal(err)
		}
		if len(s.allocs) == 0 || !slices.ContainsFunc(s.allocs, func(a *allocation) bool { return !a.ended() }) {
			t.Error("they had ended, so that this shows nothing")
		}
	})
}

// The parts of a status arrive one by one, and are what they were for a moment.
func TestPartsOfAStatusArriveApart(t *testing.T) {
	for order, want := range [][]string{
		{"2 false", "2 true"}, {"2 false", "2 true"},
		{"0 true", "2 true"}, {"0 true", "2 true"},
		{"0 false", "2 false", "2 true"}, {"0 false", "0 true", "2 true"},
	} {
		hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
			fault("WatchJob", Fault{Apart: order + 1})
			time.AfterFunc(time.Second, func() { _ = s.Edit("", "api", func(j *api.Job) { j.Meta = map[string]string{"another": "1"} }) })
			var seen []string
			err := c.WatchJob(t.Context(), "", "api", func(st nomad.JobStatus) bool {
				if st.Version == 1 {
					seen = append(seen, fmt.Sprint(st.Running, st.Deployment.Status != ""))
				}
				return st.Version == 1 && st.Whole() && st.Deployment.Status != ""
			})
			if err != nil || !slices.Equal(seen, want) {
				t.Errorf("order %d: seen %q, want %q: %v", order+1, seen, want, err)
			}
		})
	}
}

// Whoever watches keeps the contract with parts that arrive apart or late.
func TestFakeKeepsTheContractInPieces(t *testing.T) {
	for name, fault := range map[string]Fault{"apart": {Apart: 4}, "late": {Lag: time.Millisecond}, "stale": {Stale: 1}} {
		t.Run(name, func(t *testing.T) {
			Contract(t, func(t *testing.T) Subject {
				s := New()
				s.Intercept(func(c Call) Fault {
					if !c.Watch || c.Op == "WaitStopped" && fault.Stale > 0 {
						return Fault{}
					}
					return fault
				})
				return Subject{Client: s.Client("agent")}
			})
		})
	}
}

func TestAWatchFallsSilent(t *testing.T) {
	for name, silent := range map[string]func(s *Server, fault func(string, Fault)){
		"from its second answer": func(_ *Server, fault func(string, Fault)) { fault("WatchJob", Fault{Mute: true}) },
		"some time later": func(s *Server, _ func(string, Fault)) {
			time.AfterFunc(time.Second/2, s.Silence)
		},
	} {
		t.Run(name, func(t *testing.T) {
			hurt(t, func(t *testing.T, s *Server, c *Client, fault func(string, Fault)) {
				silent(s, fault)
				time.AfterFunc(time.Second, func() { _ = s.Edit("", "api", scaleTo(3)) })
				began, seen := time.Now(), 0
				err := c.WatchJob(t.Context(), "", "api", func(nomad.JobStatus) bool { seen++; return false })
				if took := time.Since(began); !errors.Is(err, nomad.ErrUnavailable) || seen != 1 || took < silence || took > silence+time.Second {
					t.Errorf("%v after %s and %d answers", err, took, seen)
				}
				s.Intercept(nil)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := c.WatchJob(ctx, "", "api", func(st nomad.JobStatus) bool { return st.Running == 3 }); err != nil {
					t.Errorf("another one: %v", err)
				}
			})
		})
	}
	hurt(t, func(t *testing.T, s *Server, c *Client, _ func(string, Fault)) {
		time.AfterFunc(time.Second, s.Silence)
		began := time.Now()
		if err := c.Stream(t.Context(), 0, func(nomad.Event) {}); !errors.Is(err, nomad.ErrUnavailable) || time.Since(began) != time.Second+keepalive {
			t.Errorf("the stream: %v after %s", err, time.Since(began))
		}
	})
}
