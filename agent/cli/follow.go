package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	consul "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// goal says whether a deployment has reached what a command waits for.
type goal func(deployment.Deployment) bool

// live is reached when the watch has passed: the version serves and only the
// soak remains.
func live(d deployment.Deployment) bool {
	switch d.State {
	case deployment.Soaking, deployment.Retiring:
		return true
	}
	return d.Outcome == deployment.Succeeded
}

// moved is reached when all traffic is there and that is verified.
func moved(d deployment.Deployment) bool {
	if d.State == deployment.RollingBack || d.Rollback != nil || d.Cutover == nil {
		return false
	}
	return !d.Cutover.Verified.IsZero() || live(d)
}

func finished(d deployment.Deployment) bool { return d.Outcome == deployment.Succeeded }

// back is reached when traffic is with the previous version again. The record
// says "rolling back" from the moment the command is accepted; a verified
// cutover is therefore that of a rollback after the soak, a move of its own.
func back(d deployment.Deployment) bool {
	return moved(d) || d.Outcome == deployment.RolledBack || (d.Rollback != nil && !d.Rollback.Verified.IsZero())
}

func aborted(d deployment.Deployment) bool { return d.Outcome == deployment.Aborted }

// view shows a release on its way.
type view interface {
	// show is called with every change; d is nil while the release is queued.
	show(rec deployment.Service, d *deployment.Deployment)
	trouble(err error)
	tick()
	end()
}

type news struct {
	pair *consul.KVPair
	err  error
}

// follow watches a service's record until the deployment reaches the goal or
// ends without it. An empty id follows what is queued. It changes nothing:
// when it is interrupted, the release goes on.
func (m *meta) follow(s *store, svc, id string, reached goal, v view) (*deployment.Deployment, error) {
	ctx, cancel := context.WithCancel(m.ctx)
	if m.wait > 0 {
		ctx, cancel = context.WithTimeout(m.ctx, m.wait)
	}
	updates := make(chan news)
	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	defer v.end()

	send := func(u news) {
		select {
		case updates <- u:
		case <-ctx.Done():
		}
	}
	ended := make(chan error, 1)
	watching.Go(func() {
		ended <- s.watch(ctx, s.keys.State(svc), func(p *consul.KVPair) bool {
			send(news{pair: p})
			return false
		}, func(err error) { send(news{err: err}) })
	})

	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	f := following{svc: svc, id: id}
	for {
		select {
		case <-ctx.Done():
			return f.last, m.stopped(svc)
		case err := <-ended:
			if ctx.Err() != nil {
				err = m.stopped(svc)
			}
			return f.last, err
		case <-ticker.C:
			v.tick()
		case u := <-updates:
			if u.err != nil {
				v.trouble(u.err)
				continue
			}
			rec, d, err := f.read(ctx, s, u.pair)
			if err != nil {
				if ctx.Err() != nil {
					err = m.stopped(svc)
				}
				return f.last, err
			}
			v.show(rec, d)
			switch {
			case d == nil && f.queue == "":
				return nil, nil
			case d == nil:
			case reached(*d):
				return d, nil
			case d.State == deployment.Done:
				return d, outcome{epitaph(rec, *d), exitFailed}
			}
		}
	}
}

// stopped is said when the following ends before the release does.
func (m *meta) stopped(svc string) error {
	why := "stopped following"
	if m.ctx.Err() == nil {
		why = fmt.Sprintf("stopped following after %s", m.wait)
	}
	return outcome{fmt.Sprintf("%s; the release goes on. 'teal status %s -watch' follows it again.", why, svc), exitUnknown}
}

// following is which deployment is followed.
type following struct {
	svc, id string
	queue   string // proof of the queued candidate, while id is not known
	last    *deployment.Deployment
}

// read finds the followed deployment in the record, or among the finished.
func (f *following) read(ctx context.Context, s *store, p *consul.KVPair) (deployment.Service, *deployment.Deployment, error) {
	if p == nil {
		return deployment.Service{}, nil, outcome{fmt.Sprintf("the record of %s is gone from Consul KV.", f.svc), exitError}
	}
	rec, err := deployment.Decode(f.svc, p.Value)
	if err != nil {
		return rec, nil, err
	}
	if f.id == "" {
		if err := f.dequeue(rec); err != nil || f.id == "" {
			return rec, nil, err
		}
	}
	if d := rec.Deployment; d != nil && d.ID == f.id {
		f.last = d
		return rec, d, nil
	}
	d, err := s.deployment(ctx, f.svc, f.id)
	if err == nil && d == nil {
		err = outcome{fmt.Sprintf("deployment %s of %s is neither in flight nor among the finished ones. 'teal history %s' lists those.", f.id, f.svc, f.svc), exitUnknown}
	}
	f.last = d
	return rec, d, err
}

// dequeue learns the ID of the queued candidate once its turn has come.
func (f *following) dequeue(rec deployment.Service) error {
	switch {
	case rec.Queued != nil && f.queue == "":
		f.queue = rec.Queued.Proof()
	case rec.Queued != nil && rec.Queued.Proof() != f.queue:
		return outcome{fmt.Sprintf("superseded: %s took its place in the queue of %s.", safe(version(*rec.Queued)), f.svc), exitFailed}
	case rec.Queued != nil, f.queue == "":
	case rec.Deployment != nil && rec.Deployment.Candidate.Proof() == f.queue:
		f.id = rec.Deployment.ID
	default:
		return outcome{fmt.Sprintf("the version is no longer queued. 'teal history %s' shows what became of it.", f.svc), exitUnknown}
	}
	return nil
}

// deployment reads a finished deployment, nil when there is none. It waits
// while Consul is away.
func (s *store) deployment(ctx context.Context, svc, id string) (*deployment.Deployment, error) {
	var d *deployment.Deployment
	var bad error
	err := s.watch(ctx, s.keys.Deployment(svc, id), func(p *consul.KVPair) bool {
		if p != nil {
			d = &deployment.Deployment{}
			if err := json.Unmarshal(p.Value, d); err != nil {
				bad = fmt.Errorf("the record of deployment %s of %s is not readable: %w", id, svc, err)
			}
		}
		return true
	}, func(error) {})
	if bad != nil {
		return nil, bad
	}
	return d, err
}

// epitaph is how a release that did not reach its goal ended, in a sentence.
func epitaph(rec deployment.Service, d deployment.Deployment) string {
	how := map[deployment.Outcome]string{
		deployment.RolledBack: "was rolled back",
		deployment.Failed:     "failed and never served",
		deployment.Aborted:    "was aborted and never served",
		deployment.Superseded: "was superseded and never served",
		deployment.Succeeded:  "had already ended well",
	}[d.Outcome]
	if how == "" {
		how = "ended"
	}
	text := fmt.Sprintf("%s %s %s", safe(d.Service), safe(version(d.Candidate)), how)
	if d.Reason != "" {
		text += ": " + strings.TrimSuffix(safe(d.Reason), ".")
	}
	text += "."
	if rec.Active.Valid() {
		text += fmt.Sprintf(" %s", strings.TrimSpace(fmt.Sprintf("%s %s", rec.Active, safe(rec.Slots[rec.Active].Version)))) + " serves."
	} else {
		text += " Nothing serves: there was no version before it."
	}
	return text
}
