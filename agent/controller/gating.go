package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// gate runs the policy's gates against the candidate, Consul's health first.
// The verdicts are bound to the exact hash they were given for.
func (j job) gate(ctx context.Context) {
	proof := j.d.Candidate.Proof()
	list := append([]gates.Named{gates.AlwaysHealth(j.pol.Launch.Deadline)}, j.pol.Gates...)
	records := make([]deployment.GateRecord, len(list))
	for i, g := range list {
		records[i] = deployment.GateRecord{Kind: g.Kind, Name: g.Name, Verdict: gates.Hold.String(), Proof: proof}
	}
	progress := func(i int, p gates.Progress) {
		before := records[i]
		records[i] = deployment.GateRecord{
			Kind: list[i].Kind, Name: list[i].Name, Verdict: p.Verdict.String(), Reason: p.Reason,
			Figures: p.Figures, Attempts: p.Attempts, At: p.At, Proof: proof,
		}
		if before.Verdict == records[i].Verdict && before.Reason == records[i].Reason {
			return // no news: not worth a write
		}
		if p.Verdict == gates.Pass && !slices.ContainsFunc(records, func(r deployment.GateRecord) bool { return r.Verdict != gates.Pass.String() }) {
			return // the decision itself carries it
		}
		j.say(deployment.Event{Kind: deployment.Progress, Gates: slices.Clone(records)})
	}
	jobs := j.testJobs(ctx)
	target := func(context.Context) (gates.Target, error) {
		t, err := j.target()
		t.Jobs, t.MayExec, t.Read, t.Peer = jobs, j.l.t.c.cfg.MayExec, j.read, j.peer
		return t, err
	}
	out, err := gates.Run(ctx, list, target, progress)
	if ctx.Err() != nil {
		return
	}
	switch {
	case err != nil:
		j.say(deployment.Event{Kind: deployment.Hold, Reason: "gates could not be run: " + err.Error()})
	case out.Verdict == gates.Pass && j.pol.Approval.Required:
		ask, err := j.ask(ctx)
		if err != nil {
			return // ctx has ended
		}
		why := "all gates passed; waiting for approval of " + proof
		if ask != nil {
			why += " by " + ask.Wanted()
		}
		j.say(deployment.Event{Kind: deployment.NeedConsent, Gates: slices.Clone(records), Ask: ask, Reason: why})
	case out.Verdict == gates.Pass:
		j.say(deployment.Event{Kind: deployment.GatesPass, Gates: slices.Clone(records),
			Reason: fmt.Sprintf("%d gates passed for %s", len(list), proof)})
	case out.Verdict == gates.Fail:
		j.say(deployment.Event{Kind: deployment.GateFail, Gates: slices.Clone(records), KeepUntil: j.keepUntil(),
			Reason: out.Reason})
	default:
		// Unknown is neither pass nor fail: say so, and ask again on resume.
		j.say(deployment.Event{Kind: deployment.Hold, Reason: out.Reason + "; teal resume asks again, teal abort gives up"})
	}
}

// read gives the value of a key in Consul, nil when there is none.
func (j job) read(ctx context.Context, key string) ([]byte, error) {
	pair, _, err := j.l.t.c.cfg.Store.Get(ctx, key, 0)
	if err != nil || pair == nil {
		return nil, err
	}
	if pair.Value == nil {
		return []byte{}, nil
	}
	return pair.Value, nil
}

// target is the candidate as it is now.
func (j job) target() (gates.Target, error) {
	v, _ := j.feed.now()
	if v.err != nil {
		return gates.Target{}, fmt.Errorf("Consul cannot be asked for the instances: %w", v.err)
	}
	if !v.known {
		return gates.Target{}, errors.New("Consul has not yet told of any instances")
	}
	instances := v.of(j.d.To, j.rec.Route.Loose)
	for i := range instances {
		instances[i].Colour = j.d.To // those of an adopted job carry none
	}
	var others []deployment.Instance
	if j.d.From.Valid() {
		others = v.of(j.d.From, j.rec.Route.Loose)
	}
	return gates.Target{
		Service: j.l.svc, Namespace: j.pol.Namespace, Colour: j.d.To, Version: j.d.Candidate.Version,
		Serving: j.d.From, ServingVersion: j.d.FromVersion, Others: others,
		Hash: j.d.Candidate.Proof(), Instances: instances, Expected: j.now().Slots[j.d.To].Expected,
	}, nil
}
