package agent

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/audit"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/settings"
)

// newAudit makes the audit file's writer, nil where the settings name no file.
func newAudit(s *settings.Settings, m *api.Metrics, log hclog.Logger) *audit.Log {
	if s.Audit.Path == "" {
		return nil
	}
	return audit.New(audit.Config{Path: s.Audit.Path, Agent: s.Name, RotateAt: int64(s.Audit.RotateMiB) << 20, Meter: m, Log: log})
}

// chronicle writes down what the controller has saved.
type chronicle struct{ log *audit.Log }

// Saved implements controller.Chronicle.
func (c chronicle) Saved(after deployment.Service, ev deployment.Event, epoch uint64) {
	if e, ok := audit.Of(after, ev); ok {
		e.Epoch = epoch
		c.log.Append(e)
	}
}

// auditing writes the audit file until all work has ended, and notes its end in
// Consul.
func (a *Agent) auditing(ctx context.Context) error {
	if a.audit == nil {
		<-ctx.Done()
		return nil
	}
	noting, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g errgroup.Group
	g.Go(func() error { return a.noteHeads(noting) })
	err := a.audit.Run(ctx)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	stop()
	_ = g.Wait()
	head, trouble, _ := a.audit.Now()
	if err := a.noteHead(last, head, trouble); err != nil {
		a.log.Named("audit").Warn("end of the audit file not noted in Consul", "error", err)
	}
	return err
}

// noteEvery is how often at most the end of the file is noted.
const noteEvery = time.Second

// noteHeads puts the end of the file into Consul whenever it has moved, so that
// whoever writes the file anew has to write there, too.
func (a *Agent) noteHeads(ctx context.Context) error {
	c := &complaint{log: a.log.Named("audit"), what: "note the end of the audit file in Consul"}
	for ctx.Err() == nil {
		head, trouble, changed := a.audit.Now()
		var err error
		if head.Seq > 0 || trouble != "" {
			if err = a.noteHead(ctx, head, trouble); err != nil {
				c.about(err)
			} else {
				c.over()
			}
		}
		timer := time.NewTimer(noteEvery)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		if err == nil && !wait(ctx, changed) {
			return nil
		}
	}
	return nil
}

func (a *Agent) noteHead(ctx context.Context, head audit.Head, trouble string) error {
	value, err := json.Marshal(kv.AuditHead{
		Name: a.settings.Name, Path: a.settings.Audit.Path, Seq: head.Seq, Hash: head.Hash, At: time.Now().UTC(), Trouble: trouble,
	})
	if err != nil {
		return err
	}
	return a.consul.Put(ctx, a.keys.Audit(a.settings.Name), value)
}
