package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/nomad"
	"github.com/tealdeploy/teal/agent/policy"
	"github.com/tealdeploy/teal/agent/traffic"
)

// cutOver checks the precondition from what is already known, makes the one
// write, and only then verifies it. The record says "cutting-over" and the
// jobs key says none before this runs.
func (j job) cutOver(ctx context.Context) {
	written, at, err := j.shift(ctx, traffic.Move{To: j.d.To, Deployment: j.d.ID, Nonce: "cutover"})
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		// Nothing was written: not ready, an edit, a refusal or missing rights.
		j.sayAll(deployment.Event{Kind: deployment.Unready, Reason: sentence(err)},
			deployment.Event{Kind: deployment.Hold, Reason: "cutover to " + string(j.d.To) + " not made: " + sentence(err)})
		return
	}
	j.settle(ctx, traffic.Move{To: j.d.To, Deployment: j.d.ID, Nonce: "cutover"})
	events := []deployment.Event{{Kind: deployment.Routed, Digest: written.Route.Digest, Written: at,
		Reason: fmt.Sprintf("all traffic goes to %s (%s)", j.d.To, named(j.d.Candidate))}}
	if j.pol != nil && j.pol.Cutover.Probe != nil {
		events = append(events, j.probe(ctx, *j.pol.Cutover.Probe)...)
	}
	if ctx.Err() == nil {
		j.sayAll(events...)
	}
}

// ready says why the cutover must not be made now, at each try: the last one may
// have been minutes ago, with Consul away since. Where traffic has gone there
// already, by a try whose answer was lost or under an earlier leader, it is too
// late to say so: then the watch that follows takes it back.
func (j job) ready(ctx context.Context) error {
	if v, _ := j.feed.now(); v.known && v.err != nil {
		return finalUnlessAway(v.err)
	}
	why := j.unready()
	if why == "" {
		return nil
	}
	o, err := j.router().Observe(ctx, j.l.trafficTarget(j.rec.Route))
	if err != nil {
		return finalUnlessAway(err)
	}
	if o.Colour == j.d.To {
		return nil
	}
	if err := j.refuseLate(ctx, o); err != nil {
		return finalUnlessAway(err)
	}
	return final(errors.New(why))
}

// refuseLate writes the route as it is, under a new index: a try of this cutover
// whose answer never came may still be on its way, and must not arrive after it
// was given up.
func (j job) refuseLate(ctx context.Context, o traffic.Observed) error {
	if !o.Exists || !o.Colour.Valid() {
		return nil // the entry that it was made for is no more
	}
	_, err := j.router().Shift(ctx, j.l.trafficTarget(j.rec.Route),
		traffic.Move{To: o.Colour, Deployment: j.d.ID, Nonce: "given-up", Rollback: true})
	return err
}

// unready says why the candidate must not get traffic at this moment, from the
// warm view of Consul's health.
func (j job) unready() string {
	v, _ := j.feed.now()
	want := j.rec.Slots[j.d.To].Expected
	have := passing(v.of(j.d.To, j.rec.Route.Loose))
	switch {
	case !v.known:
		// After a restart in the middle of a cutover, or a manual one: the
		// first answer is on its way.
		waiting, cancel := context.WithTimeout(context.Background(), firstView)
		defer cancel()
		if _, err := j.feed.await(waiting, func(view) bool { return true }); err != nil {
			return "Consul has not said which instances are healthy"
		}
		return j.unready()
	case have == 0:
		return fmt.Sprintf("%s has no passing instance; its traffic would get 503", j.d.To)
	case have < want:
		return fmt.Sprintf("%d of %d instances of %s pass their checks", have, want, j.d.To)
	}
	return ""
}

// firstView bounds the wait for Consul's first answer on health.
const firstView = 3 * time.Second

// shift makes the route write, trying again until Consul has answered. Giving
// the same move again is safe: the router recognises its own.
func (j job) shift(ctx context.Context, m traffic.Move) (written traffic.Written, at time.Time, err error) {
	err = retry(ctx, j.l.log, "move traffic to "+string(m.To), func(ctx context.Context) error {
		if err := j.l.t.term.Check(); err != nil {
			return err
		}
		if !m.Rollback && j.d.Forced == nil {
			if err := j.ready(ctx); err != nil {
				return err
			}
		}
		written, err = j.router().Shift(ctx, j.l.trafficTarget(j.rec.Route), m)
		at = time.Now()
		return finalUnlessAway(err)
	})
	return written, at, err
}

// settle waits until Consul itself says what was written. It never gives up:
// the write was acknowledged, so this is a matter of time, and triggers are
// not waiting for it.
func (j job) settle(ctx context.Context, m traffic.Move) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	err := retry(ctx, j.l.log, "verify the route", func(ctx context.Context) error {
		return finalUnlessAway(j.router().Verify(ctx, j.l.trafficTarget(j.rec.Route), m))
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		j.say(deployment.Event{Kind: deployment.Note, Reason: "the route was written but not verified: " + err.Error()})
	}
}

const settleWithin = 10 * time.Second

// probe asks a real entry point which version answers. A wrong answer takes
// traffic back; no answer at all is not known, and holds the release where it
// is, watched. Proxies learn of the route a moment after it was written, hence
// the looks until the deadline.
func (j job) probe(ctx context.Context, p policy.Probe) []deployment.Event {
	ctx, cancel := context.WithTimeout(ctx, j.pol.Cutover.Timeout)
	defer cancel()
	if strings.Contains(p.Expect, "{version}") && j.d.Candidate.Version == "" {
		return []deployment.Event{{Kind: deployment.Hold, Reason: "probe " + p.URL +
			" expects {version}, and the version is not known: no variable of the policy names it; triggers go on watching, teal resume accepts"}}
	}
	expect := strings.NewReplacer("{version}", j.d.Candidate.Version, "{colour}", string(j.d.To), "{service}", j.l.svc).Replace(p.Expect)
	look := traffic.Probe{URL: p.URL, Expect: expect, Header: p.Header}
	var answered, unasked error
	for ctx.Err() == nil {
		err := look.Check(ctx)
		switch {
		case err == nil:
			return []deployment.Event{{Kind: deployment.Note, Reason: fmt.Sprintf("probe %s sees %q", p.URL, expect)}}
		case errors.Is(err, traffic.ErrWrongAnswer):
			answered = err
		case ctx.Err() == nil:
			unasked = err
		}
		pause(ctx, probeEvery)
	}
	if answered != nil && !j.d.From.Valid() {
		return []deployment.Event{{Kind: deployment.Hold, Reason: fmt.Sprintf("probe %s never saw %q within %s: %s; %s",
			p.URL, expect, j.pol.Cutover.Timeout, answered, deployment.ErrNoWayBack)}}
	}
	if answered != nil {
		return []deployment.Event{{Kind: deployment.Trigger, KeepUntil: j.keepUntil(), Detected: time.Now(),
			Reason: fmt.Sprintf("probe %s never saw %q within %s: %s", p.URL, expect, j.pol.Cutover.Timeout, answered)}}
	}
	return []deployment.Event{{Kind: deployment.Hold, Reason: fmt.Sprintf(
		"probe %s could not be asked within %s: %v; triggers go on watching, teal resume accepts", p.URL, j.pol.Cutover.Timeout, unasked)}}
}

// probeEvery is how often a probe looks: half of what Consul itself takes to
// tell the proxies.
const probeEvery = 100 * time.Millisecond

// rollBack takes traffic back by one write. It needs no policy, no gate, no
// Nomad and no healthy candidate.
func (j job) rollBack(ctx context.Context) {
	m := traffic.Move{To: j.d.From, Deployment: j.d.ID, Nonce: "rollback", Rollback: true}
	var said told
	written, at, err := j.shift(ctx, m)
	for ; err != nil; written, at, err = j.shift(ctx, m) {
		if ctx.Err() != nil || lost(err) {
			return
		}
		// A token may be on its way to be replaced, a rule to be given: whoever
		// waits for traffic to go back must not have to ask for it twice.
		if said.anew(err.Error(), j.now().Held != nil) {
			j.say(deployment.Event{Kind: deployment.Hold, Reason: "ROLLBACK NOT MADE, trying again: " + sentence(err)})
		}
		if !pause(ctx, retryMost) {
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	for _, edit := range written.Kept {
		j.say(deployment.Event{Kind: deployment.Note, Reason: "kept somebody's edit of the router: " + edit})
	}
	j.settle(ctx, m)
	if ctx.Err() == nil {
		j.say(deployment.Event{Kind: deployment.RoutedBack, Digest: written.Route.Digest, Written: at, KeepUntil: j.keepUntil()})
	}
}

// router is the one this service was prepared with.
func (j job) router() traffic.Router { return j.l.t.c.cfg.Routers[j.rec.Route.Router] }

// trafficTarget names the service to a router, under this term.
func (l *loop) trafficTarget(r deployment.Route) traffic.Target {
	return traffic.Target{Service: l.svc, Route: r, Owner: l.t.c.cfg.Keys.Prefix(), Epoch: l.t.term.Epoch}
}

// setup is how the service's entries are written anew when somebody else edited
// or deleted them. What it speaks stands in the policy.
func (l *loop) setup() traffic.Setup {
	s := traffic.Setup{Target: l.trafficTarget(l.rec.Route), Serve: serving(l.rec.Active), Loose: l.rec.Route.Loose}
	if p := l.policy(); p != nil {
		s.Protocol = p.Cutover.Protocol
	}
	return s
}

// takeOffice marks the entries of a release in flight with this term's epoch
// before anything else, so that no write of an earlier leader can follow.
func (l *loop) takeOffice(ctx context.Context) error {
	if !l.rec.InFlight() || !l.rec.Route.Prepared {
		return nil
	}
	return retry(ctx, l.log, "claim the route", func(ctx context.Context) error {
		err := l.router().Claim(ctx, l.trafficTarget(l.rec.Route))
		if err == nil || errors.Is(err, traffic.ErrDeposed) || isAway(err) {
			return finalUnlessAway(err)
		}
		// An edited or missing entry must not keep the service from being
		// looked after; the shift itself is still compare-and-set.
		l.log.Warn("route not claimed", "error", err)
		return nil
	})
}

// isAway says whether trying again later can help.
func isAway(err error) bool {
	return errors.Is(err, consul.ErrUnavailable) || errors.Is(err, nomad.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, consul.ErrConflict) || errors.Is(err, nomad.ErrConflict) ||
		errors.Is(err, traffic.ErrUnsettled)
}

// finalUnlessAway marks every error final but those that time may mend, and
// gives the routers' and the store's deposition one name.
func finalUnlessAway(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, traffic.ErrDeposed):
		return fmt.Errorf("%w: %w", consul.ErrDeposed, err)
	case isAway(err), lost(err):
		return err
	}
	return final(err)
}

// callersFollow is how long callers are given to follow traffic that has moved,
// before what served until then is told to stop. Consul has sent the new route to
// their proxies by then; one that is busy takes it up some time later, and would
// find nobody where it sends requests meanwhile.
const callersFollow = 2 * time.Second

// followed waits until callers have had that time, whatever the policy says of watch
// and soak; false when ctx ended first.
func followed(ctx context.Context, rec deployment.Service) bool {
	return pause(ctx, time.Until(begun(rec.Slots[rec.Active].Serves).Add(callersFollow)))
}

// sentence is an error as an operator reads it.
func sentence(err error) string { return err.Error() }
