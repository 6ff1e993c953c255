package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/load"
	"github.com/tealdeploy/teal/testbed/world"
)

// service is the example's.
const service = "api"

// patience bounds one step after the servers are there.
const patience = 90 * time.Second

// story is the demo from beginning to end.
type story struct {
	screen *screen
	dir    string
	rate   int
	faults int  // bad releases
	told   bool // to the end

	world    *world.World
	site     *world.Site
	traffic  *world.Traffic
	chapters []chapter
	began    time.Time // of the load
	took     time.Duration
	count    load.Count
	recovery world.Recovery
	last     string // of the bad versions
}

// chapter is one release, or the adoption.
type chapter struct {
	version string
	outcome string
	cutover *move
	back    *move
	detect  time.Duration // fault injected → decision; 0: a person decided
	bad     int           // bad answers that clients got
}

// move is a shift of traffic as it was decided, written, and seen.
type move struct {
	by      string
	written time.Duration // decision → Consul acknowledged the write
	arrived time.Duration // decision → route at the data plane
}

// tell runs the whole story; it stops at the first thing that is not as it
// should be.
func (s *story) tell(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.servers, s.plainJob, s.adopt, s.goodRelease, s.badReleases, s.manualRollback, s.end,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *story) servers(ctx context.Context) (err error) {
	s.screen.title("Consul, Nomad, Teal")
	s.screen.begin("starting the servers")
	s.world, err = world.Start(ctx, world.Options{
		Options:  cluster.Options{Dir: s.dir, Log: s.screen},
		Binaries: filepath.Join(s.dir, "bin-teal"),
	})
	if err != nil {
		return err
	}
	if s.site, err = s.world.NewSite(""); err != nil {
		return err
	}
	consul, nomad := s.world.Consul[0], s.world.Nomad
	s.screen.ok("Consul %s on %s, Nomad %s on %s", consul.Binary.Version, consul.HTTP, nomad.Binary.Version, nomad.HTTP)
	return nil
}

// plainJob is the world before Teal: an ordinary job that serves.
func (s *story) plainJob(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.screen.title("An ordinary service, as it runs today")
	s.screen.begin("nomad job run api.nomad.hcl")
	// It is a service of the mesh and speaks http: its operator has said so.
	_, _, err := s.world.ConsulClient().ConfigEntries().Set(&consulapi.ServiceConfigEntry{
		Kind: consulapi.ServiceDefaults, Name: service, Protocol: "http",
	}, (&consulapi.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return err
	}
	if err := s.site.RunPlain(ctx, world.Service{Name: service, Version: "1.0.0"}); err != nil {
		return err
	}
	s.screen.ok("%s 1.0.0 runs, 2 instances, without Teal", service)

	s.screen.begin("%d requests a second through a data plane that follows Consul's xDS stream", s.rate)
	s.traffic, err = s.world.NewTraffic(service, world.TrafficOptions{Rate: s.rate, Uncoloured: "blue"})
	if err != nil {
		return err
	}
	if err := s.traffic.Reachable(ctx); err != nil {
		return err
	}
	if err := s.traffic.Begin(ctx); err != nil {
		return err
	}
	s.began = time.Now()
	s.screen.show(newGauge(s.screen, s.traffic.Load).line)
	if err := s.answers(ctx, "1.0.0", s.rate); err != nil {
		return err
	}
	s.screen.ok("%d requests a second at %s", s.rate, s.traffic.Proxy.URL())
	return nil
}

// adopt starts the agent with a policy for what already runs.
func (s *story) adopt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s.screen.title("Teal takes it over")
	before, err := s.world.Running(ctx, service)
	if err != nil {
		return err
	}
	if err := s.writePolicy(); err != nil {
		return err
	}
	s.screen.begin("teal agent -config config.hcl, with one policy")
	agent, err := s.site.StartAgent(ctx, "demo", world.AgentOptions{
		LogLevel: "info", Env: []string{"TEAL_EXAMPLE_APP=" + s.world.App},
	})
	if err != nil {
		return err
	}
	rec, err := s.site.AwaitRecord(ctx, service, func(r deployment.Service) bool { return r.Managed && r.Route.Prepared })
	if err != nil {
		return fmt.Errorf("%w\n%s", err, agent.Tail(20))
	}
	if err := s.traffic.Serves(ctx, string(deployment.Blue), 2); err != nil {
		return err
	}
	if err := s.answers(ctx, "1.0.0", 2*s.rate); err != nil {
		return err
	}
	after, err := s.world.Running(ctx, service)
	if err != nil {
		return err
	}
	if !slices.Equal(before, after) {
		return fmt.Errorf("adopting restarted instances: %v became %v", before, after)
	}
	s.screen.ok("adopted as it runs: active is %s, nothing was restarted", rec.Active)
	s.chapters = append(s.chapters, chapter{version: "1.0.0", outcome: "adopted"})
	return nil
}

// writePolicy lays out examples/policies and examples/jobs beside each other
// as they are in the checkout, with times for a short visit.
func (s *story) writePolicy() error {
	jobspec, err := s.world.Example("jobs", "api.nomad.hcl")
	if err != nil {
		return err
	}
	policy, err := s.world.Example("policies", "api.hcl")
	if err != nil {
		return err
	}
	return errors.Join(
		s.site.WriteFile("jobs/api.nomad.hcl", jobspec),
		s.site.WriteFile("policies/api.hcl", policy),
		s.edit(`for = "15m"`, `for = "8s"`),
		s.edit(`for  = "24h"`, `for  = "3s"`),
	)
}

func (s *story) edit(old, with string) error { return s.site.Edit("policies/api.hcl", old, with) }

func (s *story) goodRelease(ctx context.Context) error {
	s.screen.title("Release 2.0.0: one line of the policy is edited")
	d, err := s.release(ctx, "2.0.0", func() error { return s.edit(`version = "1.0.0"`, `version = "2.0.0"`) })
	if err != nil {
		return err
	}
	if d.Outcome != deployment.Succeeded {
		return fmt.Errorf("2.0.0 ended %s: %s", d.Outcome, d.Reason)
	}
	s.screen.ok("2.0.0 is live on %s", d.To)
	return s.measure(ctx, d)
}

// manualRollback takes a good release back by a key in Consul.
func (s *story) manualRollback(ctx context.Context) error {
	s.screen.title("Release 4.0.0: good, but somebody wants it back")
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := s.releaseTo(ctx, "4.0.0", func(d deployment.Deployment) bool {
		return d.State == deployment.Soaking || d.Outcome != ""
	}, func() error { return s.edit(`for  = "3s"`, `for  = "30m"`) },
		func() error { return s.edit(fmt.Sprintf(`version = %q`, s.last), `version = "4.0.0"`) })
	if err != nil {
		return err
	}
	if err := s.answers(ctx, "4.0.0", 2*s.rate); err != nil {
		return err
	}
	s.screen.begin("consul kv put %s ''", s.site.Keys.Command(service, kv.Rollback))
	ran, err := s.site.ConsulCLI(ctx, "kv", "put", s.site.Keys.Command(service, kv.Rollback), "")
	if err != nil {
		return err
	}
	if ran.Code != 0 {
		return fmt.Errorf("%s", ran)
	}
	d, err := s.site.AwaitEnd(ctx, service, "4.0.0")
	if err != nil {
		return err
	}
	if d.Outcome != deployment.RolledBack {
		return fmt.Errorf("4.0.0 ended %s (%s), not rolled back", d.Outcome, d.Reason)
	}
	s.screen.ok("one key, one write: %s %s serves again", d.From, d.FromVersion)
	return s.measure(ctx, d)
}

// release edits the policy and follows the release to its end.
func (s *story) release(ctx context.Context, version string, edits ...func() error) (deployment.Deployment, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return s.releaseTo(ctx, version, func(d deployment.Deployment) bool { return d.Outcome != "" }, edits...)
}

func (s *story) releaseTo(ctx context.Context, version string, reached func(deployment.Deployment) bool, edits ...func() error) (deployment.Deployment, error) {
	s.screen.begin("%s", version)
	for _, edit := range edits {
		if err := edit(); err != nil {
			return deployment.Deployment{}, err
		}
	}
	told := 0
	d, err := s.site.AwaitRelease(ctx, service, version, func(d deployment.Deployment) bool {
		s.screen.say("%s", d.State)
		for ; told < len(d.Log); told++ {
			e := d.Log[told]
			s.screen.note("%s  %s", e.At.Local().Format("15:04:05"), cut(e.What, 120))
		}
		return reached(d)
	})
	if err != nil {
		err = fmt.Errorf("release of %s: %w", version, err)
	}
	return d, err
}

// measure takes the figures of a release that has ended, once the data plane
// has the route that it left.
func (s *story) measure(ctx context.Context, d deployment.Deployment) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	serves, version := d.To, d.Candidate.Version
	if d.Outcome == deployment.RolledBack {
		serves, version = d.From, d.FromVersion
	}
	if err := s.traffic.Serves(ctx, string(serves), 1); err != nil {
		return err
	}
	if err := s.answers(ctx, version, s.rate/2); err != nil {
		return err
	}
	c := chapter{version: d.Candidate.Version, outcome: string(d.Outcome), cutover: s.moved(d.Cutover), back: s.moved(d.Rollback)}
	s.chapters = append(s.chapters, c)
	return nil
}

func (s *story) moved(m *deployment.Move) *move {
	if m == nil || m.Written.IsZero() {
		return nil
	}
	out := &move{by: m.By, written: m.Written.Sub(m.Decided)}
	for _, r := range s.traffic.Routes() {
		if r.Subset == string(m.To) && r.At.After(m.Decided) {
			out.arrived = r.At.Sub(m.Decided)
			break
		}
	}
	return out
}

// answers waits until so many more answers of a version have come.
func (s *story) answers(ctx context.Context, version string, more int) error {
	before := s.traffic.Load.Tally().Versions[version]
	return s.traffic.AwaitCount(ctx, "answers of "+version, func(n load.Count) bool { return n.Versions[version] >= before+more })
}

// end takes the figures; the load goes on in case somebody wants to look.
func (s *story) end(context.Context) error {
	s.took = time.Since(s.began)
	s.count = s.traffic.Load.Count()
	return nil
}

// close stops everything, whatever state it is in.
func (s *story) close() error {
	var errs []error
	if s.site != nil {
		errs = append(errs, s.site.Close())
	}
	if s.traffic != nil {
		errs = append(errs, s.traffic.Close())
	}
	if s.world != nil {
		errs = append(errs, s.world.Stop())
	}
	return errors.Join(errs...)
}

// stay leaves everything running and says where to look.
func (s *story) stay(ctx context.Context) {
	var b strings.Builder
	fmt.Fprintf(&b, "\nEverything is still running, and so is the load. In another terminal:\n\n")
	for _, e := range s.site.Env() {
		fmt.Fprintf(&b, "  export %s\n", e)
	}
	fmt.Fprintf(&b, "  export PATH=%s:%s:$PATH\n\n", filepath.Dir(s.world.Teal), s.world.Bin())
	fmt.Fprintf(&b, "  teal status %s\n  teal history\n  consul kv get -recurse %s\n\n", service, s.site.Keys.Services())
	fmt.Fprintf(&b, "  %-10s http://%s/ui\n  %-10s http://%s/ui\n", "Consul", s.world.Consul[0].HTTP, "Nomad", s.world.Nomad.HTTP)
	for _, a := range s.site.Agents() {
		fmt.Fprintf(&b, "  %-10s http://%s/v1/health  /v1/status  /v1/metrics\n  %-10s %s\n", "Agent", a.HTTP, "", a.LogFile)
	}
	fmt.Fprintf(&b, "  %-10s %s\n", "Service", s.traffic.Proxy.URL())
	fmt.Fprintf(&b, "  %-10s %s: edit it and see\n", "Policy", filepath.Join(s.site.Policies, "api.hcl"))
	fmt.Fprintf(&b, "\nCtrl-C here stops it all.")
	s.screen.line(b.String())
	<-ctx.Done()
}
