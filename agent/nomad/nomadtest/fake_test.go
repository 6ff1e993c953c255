package nomadtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

const jobJSON = `{"ID":"api","TaskGroups":[{"Name":"web","Count":2,"Tasks":[{"Name":"t","Driver":"raw_exec",
"Config":{"command":"/bin/api","args":["${var.version}"]},"Resources":{"MemoryMB":${var.memory:10}}}]}]}`

func parsed(t *testing.T, c *Client, variables string) *api.Job {
	t.Helper()
	job, err := c.Parse(t.Context(), jobJSON, variables)
	if err != nil {
		t.Fatal(err)
	}
	return job
}

func whole(t *testing.T, c *Client) {
	t.Helper()
	if err := c.WatchJob(t.Context(), "", "api", nomad.JobStatus.Whole); err != nil {
		t.Fatal(err)
	}
}

func TestUnsetVariableIsRefused(t *testing.T) {
	if _, err := New().Client("a").Parse(t.Context(), jobJSON, ""); !errors.Is(err, nomad.ErrInvalid) || !strings.Contains(err.Error(), `"version"`) {
		t.Errorf("%v", err)
	}
}

func TestLaunchTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		c := s.Client("a")
		var told []string
		s.Listen(func(ch Change) { told = append(told, fmt.Sprint(ch.Group, " ", ch.Running)) })
		s.SetBehaviour(func(Launch) Behaviour { return Behaviour{After: 3 * time.Second, Stop: 2 * time.Second} })
		began := time.Now()
		if _, err := c.Register(t.Context(), parsed(t, c, `version = "1"`), 0, nomad.Submission{}); err != nil {
			t.Fatal(err)
		}
		whole(t, c)
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("healthy after %s", took)
		}
		if err := c.Stop(t.Context(), "", "api", false); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitStopped(t.Context(), "", "api"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("stopped after %s", took)
		}
		synctest.Wait()
		if got := strings.Join(told, ", "); got != "web true, web true, web false, web false" {
			t.Errorf("the listener was told %s", got)
		}
	})
}

func TestProgressDeadlineEndsADeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		c := s.Client("a")
		s.SetBehaviour(func(Launch) Behaviour { return Behaviour{Fail: "no such image"} })
		if _, err := c.Register(t.Context(), parsed(t, c, `version = "1"`), 0, nomad.Submission{}); err != nil {
			t.Fatal(err)
		}
		var last nomad.JobStatus
		err := c.WatchJob(t.Context(), "", "api", func(st nomad.JobStatus) bool { last = st; return st.Dead != "" })
		if err != nil || !strings.Contains(last.Describe(), "progress deadline") || !strings.Contains(last.Describe(), "no such image") {
			t.Errorf("%v: %s", err, last.Describe())
		}
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		c := s.Client("a")
		boom := errors.New("boom")
		job := parsed(t, c, `version = "1"`)
		register := func(f Fault) (uint64, error) {
			s.Intercept(func(call Call) Fault {
				if call.Op == "Register" && call.Job == "api" && call.Write && call.Agent == "a" {
					return f
				}
				return Fault{}
			})
			defer s.Intercept(nil)
			is, _ := c.Job(t.Context(), "", "api")
			var index uint64
			if is != nil {
				index = *is.JobModifyIndex
			}
			_, err := c.Register(t.Context(), job, index, nomad.Submission{})
			now, _ := c.Job(t.Context(), "", "api")
			if now == nil {
				return 0, err
			}
			return *now.Version + 1, err
		}
		if n, err := register(Fault{Before: boom}); n != 0 || err != boom {
			t.Errorf("before: %d versions, %v", n, err)
		}
		if n, err := register(Fault{After: boom}); n != 1 || err != boom {
			t.Errorf("after: %d versions, %v", n, err)
		}
		if n, err := register(Fault{Twice: true}); n != 2 || !errors.Is(err, nomad.ErrConflict) {
			t.Errorf("twice: %d versions, %v", n, err)
		}
		began := time.Now()
		if n, err := register(Fault{Hang: true}); n != 2 || !errors.Is(err, nomad.ErrUnavailable) || time.Since(began) != timeout {
			t.Errorf("hang: %d versions, %v after %s", n, err, time.Since(began))
		}
		if n, err := register(Fault{Stall: time.Minute}); n != 3 || err != nil {
			t.Errorf("stall: %d versions, %v", n, err)
		}
	})
}

func TestAwayAndCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		a, b := s.Client("a"), s.Client("b")
		watch := make(chan error, 1)
		go func() { watch <- a.WatchJob(t.Context(), "", "api", func(nomad.JobStatus) bool { return false }) }()
		synctest.Wait()
		s.SetAway(true)
		if err := <-watch; !errors.Is(err, nomad.ErrUnavailable) {
			t.Errorf("a watch goes on although Nomad is away: %v", err)
		}
		s.SetAway(false)
		s.Cut("a")
		if err := a.Ping(t.Context()); !errors.Is(err, nomad.ErrUnavailable) {
			t.Errorf("cut: %v", err)
		}
		if err := b.Ping(t.Context()); err != nil {
			t.Errorf("the other agent: %v", err)
		}
		s.Heal("a")
		if err := a.Ping(t.Context()); err != nil {
			t.Errorf("healed: %v", err)
		}
	})
}

func TestPeopleAndCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New()
		c := s.Client("a")
		if _, err := c.Register(t.Context(), parsed(t, c, `version = "1"`), 0, nomad.Submission{}); err != nil {
			t.Fatal(err)
		}
		whole(t, c)
		s.Fail("", "api", 1, "Exit Code: 137")
		var last nomad.JobStatus
		_ = c.WatchJob(t.Context(), "", "api", func(st nomad.JobStatus) bool { last = st; return true })
		if last.Running != 1 || last.Failed != 1 {
			t.Errorf("after a crash: %+v", last)
		}
		if err := s.Edit("", "api", func(j *api.Job) { one := 1; j.TaskGroups[0].Count = &one }); err != nil {
			t.Fatal(err)
		}
		whole(t, c)
		s.SetMemory(15)
		if err := c.Scale(t.Context(), "", "api", map[string]int{"web": 3}, nil); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_ = c.WatchJob(ctx, "", "api", func(st nomad.JobStatus) bool { last = st; return true })
		if len(last.Placement) != 1 || last.Placement[0].Missing != 2 {
			t.Errorf("without room: %+v", last.Placement)
		}
	})
}
