package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/world"
)

// kind is one way to a cutover or back. prepare brings its service to the
// point where only the decision is missing; sample makes it come about and
// gives the time from the decision to the route at the data plane.
type kind struct {
	name    string
	prepare func(context.Context) error
	sample  func(context.Context) (time.Duration, error)
}

// measure takes n samples of each kind. One sample is taken at a time, each
// after one of the floor, so that what disturbs the machine disturbs both;
// while one is taken, others are prepared.
func (b *bench) measure(ctx context.Context, n int) error {
	kinds := []kind{
		{"kv_cutover", none, b.swap.byKey},
		{"rollback", b.back.toGreen, b.back.byCommand},
		{"health_rollback", b.ill.toGreenHealthy, b.ill.byHealth},
		{"cutover", b.gated.toGate, b.gated.byGate},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prepared := make([]chan error, len(kinds))
	begin := func(i int) {
		prepared[i] = make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			prepared[i] <- kinds[i].prepare(ctx)
		}()
	}
	for i := range kinds {
		begin(i)
	}
	// Whatever happens, nothing is being prepared any more on return.
	defer func() {
		cancel()
		for _, p := range prepared {
			<-p
		}
	}()
	began := time.Now()
	for round := range n {
		for i, k := range kinds {
			if err := b.one(ctx, k, prepared[i]); err != nil {
				prepared[i] <- nil // for the deferred wait
				return fmt.Errorf("%s, sample %d: %w", k.name, round+1, err)
			}
			begin(i)
		}
		if round == 0 || (round+1)%10 == 0 {
			fmt.Fprintf(b.log, "%d of %d samples of each kind, %s\n", round+1, n, time.Since(began).Round(time.Second))
		}
	}
	return nil
}

func none(context.Context) error { return nil }

func (b *bench) one(ctx context.Context, k kind, prepared chan error) error {
	if err := <-prepared; err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	bare, err := b.floor.Sample(ctx)
	if err != nil {
		return err
	}
	took, err := k.sample(ctx)
	if err != nil {
		return err
	}
	b.add("floor", bare)
	b.add(k.name, took)
	return nil
}

func (b *bench) add(kind string, d time.Duration) {
	b.figures[kind] = append(b.figures[kind], float64(d.Microseconds())/1000)
}

// byKey is `consul kv put teal/commands/<svc>/cutover <colour>`: from the
// beginning of the put.
func (s *subject) byKey(ctx context.Context) (time.Duration, error) {
	to := s.serving().Other()
	began := time.Now()
	if err := s.site.Put(ctx, s.site.Keys.Command(s.service.Name, kv.Cutover), string(to)); err != nil {
		return 0, err
	}
	at, err := s.arrival(ctx, to, began)
	if err != nil {
		answer, _ := s.site.Value(context.WithoutCancel(ctx), s.site.Keys.Result(s.service.Name, kv.Cutover))
		return 0, fmt.Errorf("%w; the command was answered %s", err, answer)
	}
	return at.Sub(began), s.settled(ctx, to)
}

// settled waits until a colour is active and nothing is in flight.
func (s *subject) settled(ctx context.Context, active deployment.Colour) error {
	_, err := s.site.AwaitRecord(ctx, s.service.Name, func(r deployment.Service) bool { return r.Active == active && !r.InFlight() })
	return err
}

// toGreen moves traffic to the second colour and stays in the watch.
func (s *subject) toGreen(ctx context.Context) error {
	return s.watched(ctx, "green")
}

func (s *subject) watched(ctx context.Context, command string) error {
	if s.serving() == deployment.Green {
		return nil
	}
	result, err := s.site.Order(ctx, s.service.Name, kv.Cutover, command)
	if err == nil && !result.Accepted {
		err = fmt.Errorf("cutover refused: %s", result.Reason)
	}
	if err != nil {
		return err
	}
	if err := s.Serves(ctx, string(deployment.Green), 1); err != nil {
		return err
	}
	_, err = s.site.AwaitRecord(ctx, s.service.Name, func(r deployment.Service) bool {
		return r.Deployment != nil && r.Deployment.State == deployment.Watching
	})
	return err
}

// byCommand is a rollback that an operator asks for: from Teal's decision.
func (s *subject) byCommand(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	result, err := s.site.Order(ctx, s.service.Name, kv.Rollback, "")
	if err == nil && !result.Accepted {
		err = fmt.Errorf("rollback refused: %s", result.Reason)
	}
	if err != nil {
		return 0, err
	}
	at, err := s.arrival(ctx, deployment.Blue, began)
	if err != nil {
		return 0, err
	}
	if err := s.settled(ctx, deployment.Blue); err != nil {
		return 0, err
	}
	d, err := s.latest(ctx)
	if err != nil {
		return 0, err
	}
	return at.Sub(d.Rollback.Decided), nil
}

// toGreenHealthy makes the second colour healthy again and moves traffic there.
func (s *subject) toGreenHealthy(ctx context.Context) error {
	if err := s.site.Fault(ctx, s.service.Name, "green", "none"); err != nil {
		return err
	}
	err := s.site.AwaitInstances(ctx, s.service.Name, func(all []world.Instance) bool { return world.Passing(all, "green") == s.service.Count })
	if err != nil {
		return err
	}
	// What a trigger took back gets traffic again only by force.
	return s.watched(ctx, `{"arg": "green", "force": true, "why": "bench"}`)
}

// byHealth makes the active colour ill: from the moment that Consul says so.
func (s *subject) byHealth(ctx context.Context) (time.Duration, error) {
	if err := s.site.Fault(ctx, s.service.Name, "green", "unhealthy"); err != nil {
		return 0, err
	}
	err := s.site.AwaitInstances(ctx, s.service.Name, func(all []world.Instance) bool { return world.Passing(all, "green") == 0 })
	if err != nil {
		return 0, err
	}
	critical := time.Now()
	if err := s.Serves(ctx, string(deployment.Blue), 1); err != nil {
		return 0, err
	}
	routes := s.Routes()
	took := routes[len(routes)-1].At.Sub(critical)
	return took, s.settled(ctx, deployment.Blue)
}

// toGate releases a version whose gate cannot pass yet.
func (s *subject) toGate(ctx context.Context) error {
	s.next()
	s.service.Vars["fault"] = `"errors"`
	s.service.Gates = `gate "http" "smoke" {
  path     = "/version"
  attempts = 10000
  interval = "100ms"
  deadline = "10m"
}`
	if err := s.site.Write(s.service); err != nil {
		return err
	}
	_, err := s.site.AwaitRelease(ctx, s.service.Name, s.service.Version, func(d deployment.Deployment) bool {
		return d.State == deployment.Gating && len(d.Gates) == 2 && d.Gates[0].Verdict == "pass" && d.Gates[1].Attempts > 0
	})
	return err
}

// byGate lets the gate pass: from the decision that this brings about.
func (s *subject) byGate(ctx context.Context) (time.Duration, error) {
	to := s.serving().Other()
	began := time.Now()
	if err := s.site.Fault(ctx, s.service.Name, string(to), "none"); err != nil {
		return 0, err
	}
	at, err := s.arrival(ctx, to, began)
	if err != nil {
		return 0, err
	}
	if err := s.settled(ctx, to); err != nil {
		return 0, err
	}
	d, err := s.latest(ctx)
	if err != nil {
		return 0, err
	}
	if d.Candidate.Version != s.service.Version || d.Cutover == nil {
		return 0, fmt.Errorf("the newest release is of %s, not %s", d.Candidate.Version, s.service.Version)
	}
	return at.Sub(d.Cutover.Decided), nil
}
