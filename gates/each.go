package gates

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/measure"
)

// maxConcurrent is how many instances are asked at a time.
const maxConcurrent = 8

// each asks the candidate's instances, for the kinds of gates whose question
// each of them answers for itself.
type each struct {
	every  string // EveryInstance or EveryAny
	what   string // is asked, as evidence has it
	port   int    // 0: the instance's own
	secure bool   // over TLS
	tls    *measure.TLS
	ask    func(ctx context.Context, host string) answer
}

// unready says why nobody can be asked yet, or nothing.
func unready(target Target, every string) string {
	serving := 0
	for _, instance := range target.Instances {
		if instance.Serving() {
			serving++
		}
	}
	need := 1
	if every == EveryInstance {
		need = max(1, target.Expected)
	}
	if serving >= need {
		return ""
	}
	return fmt.Sprintf("%d of %d instances of %s %s are ready to be asked", serving, max(need, target.Expected), target.Service, target.Colour)
}

// judge asks all that Consul would route to, a few at a time. One whose turn
// comes so late that the look ends before it could answer was not asked: that
// there are many instances is no fault of theirs.
func (e each) judge(ctx context.Context, target Target) (Finding, error) {
	var late time.Time // who is asked after it has too little time
	if deadline, ok := ctx.Deadline(); ok {
		late = deadline.Add(-time.Until(deadline) / 2)
	}
	var asked []deployment.Instance
	for _, instance := range target.Instances {
		if instance.Serving() {
			asked = append(asked, instance)
		}
	}
	answers := make([]answer, len(asked))
	slots := make(chan struct{}, maxConcurrent)
	var wg sync.WaitGroup
	for i, instance := range asked {
		slots <- struct{}{} // held at most for the look's timeout
		wg.Go(func() {
			defer func() { <-slots }()
			answers[i] = e.instance(ctx, target, instance, late)
		})
	}
	wg.Wait()
	if errors.Is(ctx.Err(), context.Canceled) {
		return Finding{}, ctx.Err()
	}

	var passed int
	var wrong, unknown, unasked []string
	var shown answer // the evidence: the first failure, else the slowest answer
	for i, a := range answers {
		name := fmt.Sprintf("%s (%s)", asked[i].ID, asked[i].HostPort())
		switch {
		case a.err != nil:
			unasked = append(unasked, fmt.Sprintf("%s: %s", name, a.err))
			continue
		case a.unknown != "":
			unknown = append(unknown, fmt.Sprintf("%s %s", name, a.unknown))
		case a.wrong != "":
			if len(wrong) == 0 {
				shown = a
			}
			wrong = append(wrong, fmt.Sprintf("%s %s", name, a.wrong))
			continue
		default:
			passed++
		}
		if len(wrong) == 0 && a.took >= shown.took {
			shown = a
		}
	}
	finding := Finding{Figures: shown.figures()}
	finding.Figures["asked"] = strconv.Itoa(len(asked))
	finding.Figures["passed"] = strconv.Itoa(passed)
	decided := len(wrong) > 0 && e.every != EveryAny // whatever the others say
	switch {
	case passed == len(asked) || passed > 0 && e.every == EveryAny:
		finding.Verdict = Pass
		finding.Reason = fmt.Sprintf("%s: %d of %d instances answered as expected", e.what, passed, len(asked))
	case len(unasked) > 0 && !decided:
		return finding, fmt.Errorf("%s: %s", e.what, listed(unasked))
	case len(unknown) > 0 && !decided:
		finding.Reason = fmt.Sprintf("%s: %d of %d instances do not say: %s", e.what, len(unknown), len(asked), listed(unknown))
	default:
		finding.Verdict = Fail
		finding.Reason = fmt.Sprintf("%s: %d of %d instances did not pass: %s", e.what, len(wrong), len(asked), listed(wrong))
	}
	return finding, nil
}

// instance asks one instance. That it cannot be reached is its failure, unless
// the fault is on our side.
func (e each) instance(ctx context.Context, target Target, instance deployment.Instance, late time.Time) answer {
	host, err := target.at(instance, e.port)
	if err != nil {
		return answer{err: err}
	}
	began := time.Now()
	a := e.ask(ctx, host)
	switch {
	case a.err == nil:
	case errors.Is(a.err, context.DeadlineExceeded) && !late.IsZero() && began.After(late):
		a = answer{err: errors.New("the look's timeout left it too little time; a longer timeout lets all be asked")}
	case ours(a.err):
		a.err = fmt.Errorf("%s%w", a.at(), a.err)
	default:
		a.wrong, a.err = a.at()+"did not answer: "+advised(a.err, "the instance", e.secure, e.tls), nil
	}
	return a
}
