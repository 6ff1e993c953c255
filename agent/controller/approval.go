package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// ask is whose consent the candidate takes, nil where the policy names nobody.
// What the approvers' keys hold by now was given for something else.
func (j job) ask(ctx context.Context) (*deployment.Ask, error) {
	a := j.pol.Approval
	if len(a.Approvers) == 0 {
		return nil, nil
	}
	ask := &deployment.Ask{Quorum: a.Quorum, Approvers: a.Approvers}
	cfg := j.l.t.c.cfg
	return ask, retry(ctx, j.l.log, "see what approvals there are", func(ctx context.Context) error {
		var err error
		_, ask.After, err = cfg.Store.List(ctx, cfg.Keys.Approvals(), 0)
		return err
	})
}

// awaitApproval waits for people, up to the policy's deadline. A command arrives
// as one; what named approvers have to say is looked for meanwhile.
func (j job) awaitApproval(ctx context.Context) {
	until, cancel := context.WithCancel(ctx)
	if j.pol.Approval.Deadline > 0 {
		until, cancel = context.WithDeadline(ctx, begun(j.d.Since).Add(j.pol.Approval.Deadline))
	}
	defer cancel()
	if j.d.Ask != nil {
		j.l.t.consents.follow(until, j.l.t, j.l.svc)
	} else {
		<-until.Done()
	}
	if ctx.Err() != nil {
		return
	}
	why := fmt.Sprintf("nobody approved within %s", j.pol.Approval.Deadline)
	if now := j.now().Deployment; now.Ask != nil {
		why = fmt.Sprintf("not approved within %s: %s", j.pol.Approval.Deadline, now.Ask.Words())
	}
	if j.pol.Approval.Hold {
		j.say(deployment.Event{Kind: deployment.Hold, Reason: why + "; teal resume waits as long again, teal abort gives up"})
		return
	}
	j.say(deployment.Event{Kind: deployment.Expire, KeepUntil: j.keepUntil(), Reason: why})
}

// consentsSeen takes what the approvers' keys hold now. When the quorum has
// consented that is the approval, on condition that none of the keys it rests on
// was touched meanwhile: a withdrawal that came first wins.
func (l *loop) consentsSeen(ctx context.Context) error {
	found, waits := l.t.consents.of(l.svc)
	if !waits || l.rec.Deployment.Ask == nil {
		return nil // paused, held or over: work that waits again looks again
	}
	events, ask := heed(*l.rec.Deployment, found, time.Now())
	var checks consulapi.KVTxnOps
	if ask.Met() {
		counted := ask.Counted()
		for _, c := range counted {
			checks = append(checks, &consulapi.KVTxnOp{Verb: consulapi.KVCheckIndex, Key: l.t.c.cfg.Keys.Approval(c.By, l.svc), Index: c.Index})
		}
		events = append(events, deployment.Event{Kind: deployment.Approve, At: time.Now(), By: deployment.Givers(counted), Reason: ask.Words()})
	}
	if len(events) == 0 {
		return nil
	}
	err := l.apply(ctx, checks, events...)
	if err != nil && !lost(err) {
		// A key or the record was changed meanwhile, or Consul refused it: what is
		// there by then is looked at.
		time.AfterFunc(retryMost, func() { l.t.post(l.svc, consentsSeen{}) })
	}
	if errors.Is(err, consul.ErrConflict) {
		return nil
	}
	return err
}

// heed says what is new in the approvers' keys, and how far it has come with
// that.
func heed(d deployment.Deployment, found map[string]*consulapi.KVPair, now time.Time) (events []deployment.Event, ask deployment.Ask) {
	ask = *d.Ask
	for _, who := range ask.Approvers {
		pair := found[who]
		had, gave := ask.Of(who)
		ev := deployment.Event{At: now, By: who}
		switch {
		case pair == nil && !gave, pair != nil && gave && pair.ModifyIndex == had.Index:
			continue
		case pair == nil:
			ev.Kind, ask = deployment.Withdraw, ask.Without(who)
		default:
			c := consentIn(d, who, pair, now)
			ev.Kind, ev.Consent, ask = deployment.Consented, &c, ask.With(c)
		}
		ev.Reason = ask.Words()
		events = append(events, ev)
	}
	return events, ask
}

// consentIn is what one approver's key means for what waits.
func consentIn(d deployment.Deployment, who string, pair *consulapi.KVPair, now time.Time) deployment.Consent {
	c := deployment.Consent{By: who, At: now, Index: pair.ModifyIndex}
	said, err := kv.ParseConsent(pair.Value)
	c.Proof, c.Why = cut(said.Proof), cut(said.Why)
	switch proof := d.Candidate.Proof(); {
	case err != nil:
		c.Void = cut(err.Error())
	case said.Proof != proof:
		c.Void = fmt.Sprintf("it is for %s, and what waits is %s", c.Proof, proof)
	case pair.ModifyIndex <= d.Ask.After:
		c.Void = "it was given before this began to wait: take it back and give it again"
	}
	return c
}
