package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// consents writes an approver's own key, or deletes it, and waits until the
// leading agent has noted it. Consul's ACLs decide who may.
func (c *approveCommand) consents(s *store, rec deployment.Service) int {
	d := rec.Deployment
	if err := c.mayConsent(rec); err != nil {
		return c.report(ordered{}, err)
	}
	ctx, cancel := context.WithTimeout(c.ctx, c.timeout)
	defer cancel()
	g := given{svc: rec.Name, who: c.as, id: d.ID, proof: d.Candidate.Proof(), back: c.withdraw}
	key := s.keys.Approval(c.as, rec.Name)
	var err error
	if g.back {
		g.index, err = c.takeBack(ctx, s, key)
	} else {
		g.index, err = c.give(ctx, s, key, *d)
	}
	if err != nil {
		return c.report(ordered{}, err)
	}
	said, now, err := c.noted(ctx, s, key, g)
	if err != nil {
		return c.report(ordered{Deployment: now}, err)
	}
	if !c.json {
		c.term.print("%s", safe(said))
	}
	return c.report(ordered{Result: kv.Result{Index: g.index, Accepted: true, Reason: said, At: time.Now().UTC(), By: c.as, Deployment: g.id}, Deployment: now}, nil)
}

// mayConsent refuses what would come to nothing, before anything is written.
func (c *approveCommand) mayConsent(rec deployment.Service) error {
	no := func(format string, args ...any) error {
		return outcome{"refused: " + fmt.Sprintf(format, args...), exitRefused}
	}
	ask := rec.Deployment.Ask
	switch {
	case ask == nil:
		return no("the policy of %s names no approvers: teal approve %s", rec.Name, rec.Name)
	case !slices.Contains(ask.Approvers, c.as):
		return no("%s is no approver of %s: it takes %s", c.as, rec.Name, safe(ask.Wanted()))
	case rec.Blocked() != nil && !c.withdraw:
		b := rec.Blocked()
		return no("%s is stopped by %s (%s): teal resume %s, then approve", rec.Name, safe(b.By), safe(b.Reason), rec.Name)
	}
	return nil
}

// give writes the key, over whatever this approver had there, and returns its
// index: one that counts already is left as it is.
func (c *approveCommand) give(ctx context.Context, s *store, key string, d deployment.Deployment) (uint64, error) {
	value, err := json.Marshal(kv.Consent{Proof: d.Candidate.Proof(), Why: c.why, By: whoami(), At: time.Now().UTC().Format(time.RFC3339Nano)})
	if err != nil {
		return 0, err
	}
	for {
		p, err := s.own(ctx, key)
		if err != nil {
			return 0, err
		}
		var at uint64
		if p != nil {
			at = p.ModifyIndex
			if had, ok := d.Ask.Of(c.as); ok && had.Void == "" && had.Index == at {
				return at, nil
			}
		}
		if index, done, err := s.replace(ctx, key, value, at); done || err != nil {
			return index, err
		}
	}
}

// takeBack deletes the key and returns the index that it had.
func (c *approveCommand) takeBack(ctx context.Context, s *store, key string) (uint64, error) {
	for {
		p, err := s.own(ctx, key)
		switch {
		case err != nil:
			return 0, err
		case p == nil:
			return 0, outcome{fmt.Sprintf("refused: there is nothing to take back: %s has given no approval, so %s does not exist.", c.as, key), exitRefused}
		}
		if done, err := s.withdraw(ctx, key, p.ModifyIndex); done || err != nil {
			return p.ModifyIndex, err
		}
	}
}

// own reads a key that is then to be written: who may not read it may not do
// that either, and needs the rule for both.
func (s *store) own(ctx context.Context, key string) (*api.KVPair, error) {
	p, _, err := s.get(ctx, key, 0)
	var no denied
	if errors.As(err, &no) {
		err = s.deny("write", key)
	}
	return p, err
}

// noted waits until the record says what became of it.
func (c *approveCommand) noted(ctx context.Context, s *store, key string, g given) (said string, d *deployment.Deployment, err error) {
	look := func(p *api.KVPair) (over bool) {
		said, d, over, err = g.read(p)
		return over
	}
	over := false
	waited := s.watch(ctx, s.keys.State(g.svc), func(p *api.KVPair) bool { over = look(p); return over }, func(error) {})
	if over {
		return said, d, err
	}
	if ctx.Err() == nil {
		return "", d, fmt.Errorf("%w\n\nThe key itself was written, and an agent will see it", waited)
	}
	after, stop := context.WithTimeout(context.WithoutCancel(c.ctx), withdrawWithin)
	defer stop()
	if g.back {
		return "", d, outcome{fmt.Sprintf("the approval was taken back, and no agent has noted that yet. 'teal status %s' shows what it does.", g.svc), exitUnknown}
	}
	// It must not be counted when nobody thinks of it any more.
	if _, err := s.withdraw(after, key, g.index); err != nil {
		return "", d, fmt.Errorf("the approval may still be at %s, waiting for an agent: %w", key, err)
	}
	if p, _, err := s.get(after, s.keys.State(g.svc), 0); err == nil && look(p) { // counted at the last moment
		return said, d, err
	}
	if c.ctx.Err() != nil {
		return "", d, outcome{"interrupted; no agent had noted the approval, and it was withdrawn.", exitUnknown}
	}
	return "", d, c.nobody(after, s)
}

// given is a consent that was written, or taken back.
type given struct {
	svc, who, id, proof string
	index               uint64 // of the key
	back                bool
}

// read finds in a record what became of it; over is false while it is not known.
func (g given) read(p *api.KVPair) (said string, d *deployment.Deployment, over bool, err error) {
	no := func(format string, args ...any) (string, *deployment.Deployment, bool, error) {
		return "", d, true, outcome{"refused: " + fmt.Sprintf(format, args...), exitRefused}
	}
	if p == nil {
		return no("the record of %s is gone from Consul KV.", g.svc)
	}
	rec, err := deployment.Decode(g.svc, p.Value)
	if err != nil {
		return "", nil, true, err
	}
	if d = rec.Deployment; d == nil || d.ID != g.id {
		return no("another release has taken the place of the one that waited; 'teal history %s' shows what became of that.", g.svc)
	}
	if a := d.Approval; a != nil {
		counted := slices.ContainsFunc(a.Consents, func(c deployment.Consent) bool { return c.By == g.who && c.Index == g.index })
		switch {
		case counted && g.back:
			return no("it was approved already, by %s; teal rollback %s takes the traffic back.", safe(a.By), g.svc)
		case counted || g.back:
			return fmt.Sprintf("%s %s is approved by %s.", g.svc, version(d.Candidate), a.By), d, true, nil
		}
		return no("it was approved already, by %s.", safe(a.By))
	}
	switch {
	case d.State != deployment.Approving || d.Ask == nil:
		return no("it does not wait for approval any more: it is %s%s.", d.State, because(d.Reason))
	case d.Candidate.Proof() != g.proof:
		return no("the jobspec or the policy was edited meanwhile: what waits now is %s (%s); look at it again, then approve that.", brief(d.Candidate.Hash), safe(version(d.Candidate)))
	}
	had, ok := d.Ask.Of(g.who)
	switch {
	case g.back && (!ok || had.Index > g.index), !g.back && ok && had.Index >= g.index && had.Void == "":
		return d.Ask.Words() + ".", d, true, nil
	case !g.back && ok && had.Index >= g.index:
		return no("%s", safe(had.Void))
	}
	return "", d, false, nil
}
