package agent

import (
	"context"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/settings"
)

// reloads reads the config again when it is edited, and config and policies
// when it is asked to.
func (a *Agent) reloads(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	edited := make(chan struct{}, 1)
	if a.options.Config != "" {
		g.Go(func() error {
			return watchFile(ctx, a.options.Config, a.config, a.log, func() {
				select {
				case edited <- struct{}{}:
				default:
				}
			})
		})
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-edited:
				a.reloadConfig()
			case <-a.options.Reload:
				a.log.Info("asked to read config and policies again")
				a.reloadConfig()
				a.policies.reload()
			}
		}
	})
	return g.Wait()
}

// reloadConfig takes over what can change while the agent runs: how much is
// logged, and where the policies are. A config with mistakes changes nothing.
func (a *Agent) reloadConfig() {
	s, err := a.options.load()
	if err != nil {
		wrong := mistakesIn(err)
		for _, mistake := range wrong {
			a.log.Error("mistake in the config; what was in force stays in force", "at", mistake)
		}
		a.facts.update(func(f *facts) { f.configErrors = wrong })
		a.metrics.Reload(false)
		return
	}
	a.facts.update(func(f *facts) { f.configErrors = nil })
	a.metrics.Reload(true)
	a.log.SetLevel(hclog.LevelFromString(s.Log.Level))
	a.policies.move(s.Policies)
	a.log.Info("config read", "log_level", s.Log.Level, "policies", s.Policies)
	for _, name := range needRestart(a.settings, *s) {
		a.log.Warn("a changed setting takes effect when the agent is restarted", "setting", name)
	}
}

// needRestart names the settings that differ and cannot change while the agent
// runs. It names no values: some are tokens.
func needRestart(old, now settings.Settings) (names []string) {
	for _, s := range []struct {
		name    string
		differs bool
	}{
		{"name", old.Name != now.Name},
		{"prefix", old.Prefix != now.Prefix},
		{"log.json", old.Log.JSON != now.Log.JSON},
		{"http", old.HTTP != now.HTTP},
		{"consul", old.Consul != now.Consul},
		{"nomad", old.Nomad != now.Nomad},
		{"lease", old.Lease != now.Lease},
		{"service", old.Service != now.Service},
		{"history", old.History != now.History},
		{"audit", old.Audit != now.Audit},
		{"notify", old.Notify.Text != now.Notify.Text},
	} {
		if s.differs {
			names = append(names, s.name)
		}
	}
	return names
}
