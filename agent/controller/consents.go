package controller

import (
	"context"
	"maps"
	"sync"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
)

// consents are what the approvers' keys hold. One blocking query covers all
// services, and it is held only while one of them waits for named approvers: a
// key of theirs stays when the release has long ended, and nobody has to hear
// of all of them when nobody asks.
type consents struct {
	mu      sync.Mutex
	waiting map[string]bool
	end     context.CancelFunc // of the query; nil: nobody waits
	known   bool
	found   map[string]map[string]*consulapi.KVPair // by service and approver
}

// follow posts to a service's loop whenever its approvers' keys have changed,
// and first what they hold now, until ctx ends.
func (b *consents) follow(ctx context.Context, t *tenure, svc string) {
	b.mu.Lock()
	if b.waiting == nil {
		b.waiting = map[string]bool{}
	}
	b.waiting[svc] = true
	if b.end == nil {
		asking, end := context.WithCancel(t.ctx)
		b.end, b.known, b.found = end, false, nil
		t.g.Go(func() error { return b.watch(asking, t) })
	}
	b.mu.Unlock()
	t.post(svc, consentsSeen{}) // another may have asked already

	<-ctx.Done()
	b.mu.Lock()
	defer b.mu.Unlock()
	if delete(b.waiting, svc); len(b.waiting) == 0 {
		b.end()
		b.end, b.known, b.found = nil, false, nil
	}
}

// of is what the approvers' keys of a service hold. It waits: follow runs for
// it, and Consul has answered.
func (b *consents) of(svc string) (found map[string]*consulapi.KVPair, waits bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.found[svc], b.known && b.waiting[svc]
}

// watch always ends without an error: that would be the end of the term.
func (b *consents) watch(ctx context.Context, t *tenure) error {
	cfg := t.c.cfg
	_ = consul.Watch(ctx, func(ctx context.Context, index uint64) (uint64, error) {
		pairs, next, err := cfg.Store.List(ctx, cfg.Keys.Approvals(), index)
		if err != nil {
			if ctx.Err() == nil {
				cfg.Log.Warn("approvals cannot be read, trying again", "error", err)
			}
			return 0, err
		}
		found := map[string]map[string]*consulapi.KVPair{}
		for _, p := range pairs {
			who, svc, ok := cfg.Keys.SplitApproval(p.Key)
			if !ok {
				continue
			}
			if found[svc] == nil {
				found[svc] = map[string]*consulapi.KVPair{}
			}
			found[svc][who] = p
		}
		for _, svc := range b.news(ctx, found) {
			t.post(svc, consentsSeen{})
		}
		return next, nil
	})
	return nil
}

// news keeps what was found and names those who wait and have not seen it yet.
func (b *consents) news(ctx context.Context, found map[string]map[string]*consulapi.KVPair) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil {
		return nil // another query may have begun
	}
	var out []string
	for svc := range b.waiting {
		if !b.known || !maps.EqualFunc(b.found[svc], found[svc], func(x, y *consulapi.KVPair) bool { return x.ModifyIndex == y.ModifyIndex }) {
			out = append(out, svc)
		}
	}
	b.known, b.found = true, found
	return out
}
