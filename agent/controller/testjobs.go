package controller

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/redact"
	"github.com/tealdeploy/teal/gates"
	"github.com/tealdeploy/teal/jobspec"
)

const (
	// maxRuns bounds the runs of one gate, whatever its attempts.
	maxRuns = 100
	// stopTest bounds the stop of a job whose time is up; what is not stopped by
	// then is stopped when the release leaves its gates.
	stopTest = 30 * time.Second
	// mayAppear is for how long a test that was noted, and that Nomad does not know,
	// is looked for: twice what a request to start it may take.
	mayAppear = time.Minute
	// testLog is how much is read of what a test wrote, in bytes.
	testLog = 4 << 10
)

// testJobs runs gates' test jobs in Nomad. A run's name follows from the
// release, the candidate, the gate and its number, so that the next agent finds
// what this one has started.
type testJobs struct {
	j   job
	ctx context.Context // of the work: it outlives a look's timeout

	mu     sync.Mutex
	judged map[string]int // runs of a gate that were told of
}

func (j job) testJobs(ctx context.Context) *testJobs {
	return &testJobs{j: j, ctx: ctx, judged: map[string]int{}}
}

// testRun is one run.
type testRun struct {
	deployment.Test
	parsed *nomadapi.Job // nil for a dispatch
	id     string        // in Nomad; empty until a dispatch is answered
}

// Run implements gates.Jobs. Where Nomad is away it waits for it until ctx
// ends: to give up would be to leave a job that nobody follows.
func (r *testJobs) Run(ctx context.Context, t gates.TestJob, say func(string)) (gates.TestEnd, error) {
	var end gates.TestEnd
	err := retry(ctx, r.j.l.log, "run the test job of gate "+t.Gate, func(ctx context.Context) error {
		var err error
		end, err = r.next(ctx, t, say)
		return finalUnlessAway(err)
	})
	return end, err
}

// next follows the first run that was not told of yet. Runs that were stopped
// before they came to an end, by whomever, prove nothing and are passed over.
func (r *testJobs) next(ctx context.Context, t gates.TestJob, say func(string)) (gates.TestEnd, error) {
	parsed, err := r.parse(ctx, t)
	if err != nil {
		return gates.TestEnd{}, err
	}
	for n := r.told(t.Gate) + 1; n <= maxRuns; n++ {
		run := r.name(t, parsed, n)
		there, err := r.find(ctx, run)
		if err != nil {
			return gates.TestEnd{}, err
		}
		if there != nil && stopped(there) {
			continue
		}
		if there != nil {
			run.id = *there.ID
		} else if err := r.start(ctx, t, &run); err != nil {
			return gates.TestEnd{}, err
		}
		end, err := r.follow(ctx, run, say)
		if err == nil {
			r.tell(t.Gate, n)
		}
		return end, err
	}
	return gates.TestEnd{}, final(fmt.Errorf("%d runs of the test of gate %s were made for this candidate already", maxRuns, t.Gate))
}

func (r *testJobs) told(gate string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.judged[gate]
}

func (r *testJobs) tell(gate string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judged[gate] = n
}

func (r *testJobs) client(region string) Nomad { return r.j.l.t.c.cfg.Nomad(region) }

// parse has Nomad read a jobspec.
func (r *testJobs) parse(ctx context.Context, t gates.TestJob) (*nomadapi.Job, error) {
	if t.Dispatch != "" {
		return nil, nil
	}
	return r.client("").Parse(ctx, t.Jobspec, t.Variables)
}

// name is what the run of a number is called.
func (r *testJobs) name(t gates.TestJob, parsed *nomadapi.Job, n int) testRun {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", r.j.d.ID, r.j.d.Candidate.Proof(), t.Gate))
	token := fmt.Sprintf("teal-%s-%d", hex.EncodeToString(sum[:5]), n)
	run := testRun{parsed: parsed, Test: deployment.Test{
		Deployment: r.j.d.ID, Proof: r.j.d.Candidate.Proof(), Gate: t.Gate,
		Job: t.Dispatch, Token: token, Namespace: t.Namespace, Region: t.Region,
	}}
	if parsed != nil {
		run.Job, run.Token = *parsed.ID+"-"+token, ""
		run.Namespace, run.Region = value(parsed.Namespace), nomad.Region(parsed)
		run.id = run.Job
	}
	return run
}

// find is the run's job as Nomad has it, or nil.
func (r *testJobs) find(ctx context.Context, run testRun) (*nomadapi.Job, error) {
	return findTest(ctx, r.client(run.Region), run.Test)
}

func findTest(ctx context.Context, client Nomad, t deployment.Test) (*nomadapi.Job, error) {
	if t.Token != "" {
		return client.Dispatched(ctx, t.Namespace, t.Job, t.Token)
	}
	return client.Job(ctx, t.Namespace, t.Job)
}

// start notes the run in the record, then starts it.
func (r *testJobs) start(ctx context.Context, t gates.TestJob, run *testRun) error {
	client := r.client(run.Region)
	var meta map[string]string
	if run.parsed == nil {
		var err error
		if meta, err = r.dispatchMeta(ctx, client, t); err != nil {
			return err
		}
	} else {
		rendered, err := jobspec.TestRun(run.parsed, run.Job, r.j.d.ID, r.j.l.svc, t.Given)
		if err != nil {
			return final(err)
		}
		run.parsed = rendered
	}
	if err := r.j.tell(ctx, deployment.Event{Kind: deployment.TestBegin, Test: &run.Test}); err != nil {
		return err
	}
	if err := r.j.l.t.term.Check(); err != nil {
		return err
	}
	if run.parsed == nil {
		id, err := client.Dispatch(ctx, run.Namespace, run.Job, run.Token, meta)
		if err != nil {
			return err
		}
		run.id = id
	} else if _, err := client.Register(ctx, run.parsed, 0, nomad.Submission{
		Source: t.Jobspec, Format: "hcl2", Variables: t.Variables,
	}); err != nil && !errors.Is(err, nomad.ErrConflict) { // an earlier try took effect
		return err
	}
	r.j.l.log.Info("test job started", "gate", t.Gate, "job", run.id)
	return nil
}

// dispatchMeta is what a parameterized job takes of what it is given. One that
// does not ask for the addresses cannot be aimed at the candidate.
func (r *testJobs) dispatchMeta(ctx context.Context, client Nomad, t gates.TestJob) (map[string]string, error) {
	parent, err := client.Job(ctx, t.Namespace, t.Dispatch)
	if err != nil {
		return nil, err
	}
	switch {
	case parent == nil || stopped(parent):
		return nil, final(fmt.Errorf("there is no job %q to dispatch: register it with nomad job run", t.Dispatch))
	case parent.ParameterizedJob == nil:
		return nil, final(fmt.Errorf("job %q has no parameterized block, so that it cannot be dispatched: give its text with jobspec", t.Dispatch))
	case slices.Contains(jobspec.ServiceNames(parent), r.j.l.svc):
		return nil, final(fmt.Errorf("job %q registers the service %s itself: it would be among the instances it tests", t.Dispatch, r.j.l.svc))
	}
	taken := slices.Concat(parent.ParameterizedJob.MetaRequired, parent.ParameterizedJob.MetaOptional)
	meta := map[string]string{}
	for name, given := range t.Given {
		if slices.Contains(taken, name) {
			meta[name] = given
		}
	}
	if meta["teal_addresses"] == "" && meta["teal_address"] == "" {
		return nil, final(fmt.Errorf(`job %q does not take the candidate's addresses: add "teal_addresses" to its meta_required`, t.Dispatch))
	}
	return meta, nil
}

// follow watches a run to its end, or stops it when its time is up.
func (r *testJobs) follow(ctx context.Context, run testRun, say func(string)) (gates.TestEnd, error) {
	var latest nomad.JobStatus
	said, seen := "", false // a server that has only just come to lead may not know of it yet
	err := r.client(run.Region).WatchJob(ctx, run.Namespace, run.id, func(s nomad.JobStatus) bool {
		latest = s
		if now := standing(run.id, s); now != said && !s.Over {
			said = now
			say(now)
		}
		seen = seen || s.Exists
		return s.Over || s.Stopped || seen && !s.Exists
	})
	end := gates.TestEnd{Job: run.id}
	switch {
	case r.ctx.Err() != nil:
		return end, r.ctx.Err()
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		end.Reason = fmt.Sprintf("job %s did not come to its end in time and was stopped", run.id)
		if latest.Running > 0 || latest.Failed > 0 || latest.Complete > 0 {
			end.Verdict = gates.Fail
		} else if why := latest.Describe(); why != "" {
			end.Reason = fmt.Sprintf("job %s never ran, and was stopped: %s", run.id, why)
		}
		if err := r.stop(run); err != nil {
			end.Reason = strings.TrimSuffix(end.Reason, " and was stopped") + ", and could not be stopped: " + sentence(err)
			return end, nil
		}
	case err != nil:
		return end, err
	case !latest.Exists:
		end.Reason = fmt.Sprintf("job %s was removed from Nomad before its end", run.id)
	case latest.Stopped:
		end.Reason = fmt.Sprintf("job %s was stopped by somebody before its end", run.id)
	case latest.Desired > 0 && latest.Complete >= latest.Desired:
		end.Verdict, end.Reason = gates.Pass, fmt.Sprintf("job %s came to a good end", run.id)
	default:
		end.Verdict, end.Reason = gates.Fail, fmt.Sprintf("job %s failed", run.id)
	}
	if end.Verdict != gates.Hold {
		r.evidence(run, &end)
	}
	r.j.say(deployment.Event{Kind: deployment.TestOver, Test: &run.Test, Reason: end.Reason})
	return end, nil
}

// standing is how a run is getting on, in words that change seldom.
func standing(id string, s nomad.JobStatus) string {
	switch {
	case s.Failed > 0 && s.Running == 0:
		return fmt.Sprintf("job %s has failed %d times and is tried again", id, s.Failed)
	case s.Running > 0:
		return fmt.Sprintf("job %s runs", id)
	case len(s.Placement) > 0:
		return fmt.Sprintf("job %s waits for a place: %s", id, s.Placement[0])
	}
	return fmt.Sprintf("job %s is being started", id)
}

// stop ends a run whose time is up. The look's own context has ended.
func (r *testJobs) stop(run testRun) error {
	ctx, cancel := context.WithTimeout(r.ctx, stopTest)
	defer cancel()
	return retry(ctx, r.j.l.log, "stop "+run.id, func(ctx context.Context) error {
		return finalUnlessAway(r.client(run.Region).StopIf(ctx, run.Namespace, run.id, r.j.l.t.leads))
	})
}

// evidence adds the exit code and the end of the log of the task that decided.
// That they cannot be read changes no verdict.
func (r *testJobs) evidence(run testRun, end *gates.TestEnd) {
	ctx, cancel := context.WithTimeout(r.ctx, stopTest)
	defer cancel()
	client := r.client(run.Region)
	ends, err := client.Ends(ctx, run.Namespace, run.id)
	if err != nil || len(ends) == 0 {
		return
	}
	task := ends[0]
	end.Exit = task.Exit
	switch {
	case task.Failed && task.Exit != "" && task.Exit != "0":
		end.Reason += fmt.Sprintf(": task %q ended with exit code %s", task.Task, task.Exit)
	case task.Failed && task.Words != "":
		end.Reason += ": " + task.Words
	}
	for _, stream := range []string{"stdout", "stderr"} {
		text, err := client.LogTail(ctx, run.Namespace, task.Alloc, task.Task, stream, testLog)
		if err != nil {
			text = fmt.Sprintf("(%s cannot be read: %s)", stream, sentence(err))
		}
		if text = strings.TrimSpace(redact.WholeLines(text, testLog)); text != "" {
			end.Log = strings.TrimSpace(end.Log + "\n" + text)
		}
	}
}

// ensureSweep stops the tests that are of no use any more: their release was
// aborted, superseded, forced or voided, or another agent left them behind.
func (l *loop) ensureSweep(ctx context.Context) {
	if l.sweep != nil || !slices.ContainsFunc(l.rec.Tests, l.rec.Stray) {
		return
	}
	var stray []deployment.Test
	for _, t := range l.rec.Tests {
		if l.rec.Stray(t) {
			stray = append(stray, t)
		}
	}
	l.sweep = l.start(ctx, func(ctx context.Context, w *work) {
		var over []deployment.Event
		for i := range stray {
			t := &stray[i]
			what := "the test job of gate " + t.Gate + ", " + t.Job + ","
			err := retry(ctx, l.log, "stop "+what, func(ctx context.Context) error { return finalUnlessAway(l.stopTest(ctx, *t)) })
			if ctx.Err() != nil || lost(err) {
				return
			}
			ev := deployment.Event{Kind: deployment.TestOver, At: time.Now(), By: self, Test: t, Reason: what + " is of no use any more and does not run"}
			if err != nil {
				ev.Reason = what + " could not be stopped and is forgotten: " + sentence(err)
			}
			over = append(over, ev)
		}
		l.report(w, over...)
	})
}

// stopTest stops a test, if there is one. What Nomad does not know yet may be on
// its way.
func (l *loop) stopTest(ctx context.Context, t deployment.Test) error {
	client := l.t.c.cfg.Nomad(t.Region)
	there, err := findTest(ctx, client, t)
	for began := time.Now(); err == nil && there == nil && time.Since(began) < mayAppear; there, err = findTest(ctx, client, t) {
		if !pause(ctx, retryMost) {
			return ctx.Err()
		}
	}
	if err != nil || there == nil || stopped(there) || value(there.Status) == "dead" {
		return err
	}
	return client.StopIf(ctx, value(there.Namespace), *there.ID, l.t.leads)
}
