package agent

import (
	"context"
	"slices"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/policy"
)

// keeper keeps the policies of a path current; the path itself may change.
type keeper struct {
	log      hclog.Logger
	onChange func(set *policy.Set, diags hcl.Diagnostics) // set is nil: those in force stay
	read     chan struct{}                                // closed after the first reading

	mu      sync.Mutex
	path    string
	watcher *policy.Watcher
	moved   context.CancelFunc // ends the present watcher
}

func newKeeper(path string, log hclog.Logger, onChange func(*policy.Set, hcl.Diagnostics)) *keeper {
	return &keeper{log: log, onChange: onChange, path: path, read: make(chan struct{})}
}

// reload reads everything again. It does not wait.
func (k *keeper) reload() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.watcher != nil {
		k.watcher.Reload()
	}
}

// move takes the policies from another path. Those in force stay until the
// other path has no mistakes: it knows no last good ones to fall back to.
func (k *keeper) move(path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if path == k.path {
		return
	}
	k.path = path
	if k.moved != nil {
		k.moved()
	}
}

// run watches until ctx ends.
func (k *keeper) run(ctx context.Context) error {
	first := true
	for ctx.Err() == nil {
		watching, watcher := k.next(ctx)
		begins := !first
		err := watcher.Run(watching, func(set *policy.Set, diags hcl.Diagnostics) {
			if begins && diags.HasErrors() {
				set = nil
			} else {
				begins = false
			}
			k.onChange(set, diags)
			if first {
				first = false
				close(k.read)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *keeper) next(ctx context.Context) (context.Context, *policy.Watcher) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moved != nil {
		k.moved()
	}
	ctx, k.moved = context.WithCancel(ctx)
	k.watcher = policy.NewWatcher(k.path, k.log)
	return ctx, k.watcher
}

// policiesRead puts policies in force and tells everybody. Each mistake is
// logged once, for as long as it stays.
func (a *Agent) policiesRead(set *policy.Set, diags hcl.Diagnostics) {
	before, _ := a.facts.now()
	wrong := lines(diags)
	if set != nil {
		a.controller.SetPolicies(set)
	}
	a.facts.update(func(f *facts) {
		f.policyErrors = wrong
		if set != nil {
			f.policies, f.count = set.Digest, set.Len()
		}
	})
	now, _ := a.facts.now()
	a.metrics.Policies(now.count, len(wrong))
	a.metrics.Reload(len(wrong) == 0)

	log := a.log.Named("policies")
	for _, mistake := range wrong {
		if !slices.Contains(before.policyErrors, mistake) {
			log.Error("mistake in a policy; what was in force stays in force", "at", mistake)
		}
	}
	for _, diag := range diags {
		if diag.Severity == hcl.DiagWarning {
			log.Warn(line(diag))
		}
	}
	log.Info("policies read", "in_force", now.count, "mistakes", len(wrong), "digest", now.policies)
}
