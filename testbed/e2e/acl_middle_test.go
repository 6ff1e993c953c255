package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// Each rule of an agent is taken away again and again while it works, from the
// adoption of a running job to giving it back: before the adoption, before a
// cutover, before the previous version is stopped, before a rollback, and
// before the service is given back. Either what was to be done comes to its end,
// because it does not need the rule, or the rule is named and traffic stays where
// the record says. With the rule back it comes to its end in any case, and no
// request is lost in all of it.
func TestARuleTakenInTheMiddleHalvesNothing(t *testing.T) {
	all := openAlone(t, "half", cluster.Options{ACL: true, NomadACL: true})
	n, places := 0, make(chan struct{}, 3) // at a time, for small machines
	for _, heading := range []string{"Agent, in Consul", "Agent, in Nomad"} {
		for _, r := range all.rulesOf(all.documented(heading, "half")) {
			if r.resource == "service_prefix" || r.name == verdicts || r.name == "*" {
				continue // no release of this kind needs them: TestEveryRuleOfTheAgentIsNamed
			}
			n++
			name := fmt.Sprintf("half%d", n)
			t.Run(strings.NewReplacer(" ", "-", "/", "-").Replace(r.resource+" "+r.name+" "+r.capability), func(t *testing.T) {
				t.Parallel()
				places <- struct{}{}
				defer func() { <-places }()
				s := openOn(t, all.World, name)
				for _, own := range s.rulesOf(s.documented(heading, name)) { // as this site has it
					if own.resource == r.resource && own.capability == r.capability && (own.name == r.name || r.name != "teal" && own.name != "teal") {
						s.halves(own)
						return
					}
				}
				t.Fatalf("%s is not among its rules", r)
			})
		}
	}
}

// halves takes one rule away, at every stage of a service's life.
func (s *stage) halves(r rule) {
	t, name := s.t, s.Name
	inConsul, inNomad := s.documented("Agent, in Consul", name), s.documented("Agent, in Nomad", name)
	token := s.token(name, inConsul)
	s.nomadRules(name, inNomad)
	message := `needs the rule key "` + s.Keys.Prefix() // some key below it, which depends on when
	if r.resource != "key_prefix" {
		message = s.named(r)
	}
	with := func(change func(string, rule) string) {
		t.Helper()
		if r.capability != "" {
			s.nomadRules(name, change(inNomad, r))
		} else {
			s.rules(name, change(inConsul, r))
		}
	}
	all := func(policy string, _ rule) string { return policy }

	v := world.Service{Name: name, Version: "1.0.0", Count: 1}
	s.must(s.RunPlain(s.soon(), v))
	s.http(name)
	c := s.calls(name, world.TrafficOptions{Uncoloured: "blue"})
	var a *world.Agent
	missed := 0
	through := func(what string, verb kv.Verb, begin func(), over func(deployment.Service) error) {
		t.Helper()
		with(lacking)
		began, read := time.Now(), s.read(a)
		begin()
		answers := make(chan kv.Result, 1)
		ask := func() {
			result, err := s.Order(s.soon(), name, verb, "")
			if err != nil {
				result.Reason = err.Error()
			}
			answers <- result
		}
		var answer *kv.Result
		if verb != "" {
			go ask()
		}
		state := func(ctx context.Context) (deployment.Service, error) {
			select {
			case result := <-answers:
				answer = &result
			default:
			}
			rec, err := s.Record(ctx, name)
			if err != nil {
				return rec, err
			}
			return rec, over(rec)
		}
		s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
			rec, open := state(ctx)
			if open == nil {
				return nil
			}
			said := unquoted(s.read(a)[len(read):]) + since(rec, began)
			if answer != nil {
				said += answer.Reason
			}
			if !strings.Contains(said, message) {
				return fmt.Errorf("%s without %s: %w, and nothing says %q:\n%s", what, r, open, message, said)
			}
			missed++
			t.Logf("%s without %s: %v", what, r, open)
			return nil
		}))
		s.must(s.agree(s.soon()))
		with(all)
		// A person looks at it, and says that it may go on.
		s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
			rec, open := state(ctx)
			d := rec.Deployment
			switch {
			case open == nil:
			case answer != nil && (!answer.Accepted || verb == kv.Approve && d.State == deployment.Approving): // refused, or void
				answer = nil
				go ask()
			default:
				s.nudged(ctx, rec)
			}
			if open != nil {
				open = fmt.Errorf("%s, with all rules again: %w", what, open)
			}
			return open
		}))
		s.must(s.agree(s.soon()))
	}
	ended := func(want deployment.Outcome) func(deployment.Service) error {
		return func(rec deployment.Service) error {
			switch d := rec.Deployment; {
			case d == nil || d.Candidate.Version != v.Version:
				return fmt.Errorf("the release of %s has not begun", v.Version)
			case d.Outcome != want:
				return fmt.Errorf("the release of %s is %s %s %s", v.Version, d.State, d.Outcome, d.Reason)
			}
			return nil
		}
	}

	// Whoever looks for an instance and may not see it takes as long as a launch may.
	v.Version, v.Approval, v.Watch, v.Then, v.Deadline = "2.0.0", "required = true", time.Second, "stop", 25*time.Second
	through("an adoption", "", func() {
		s.write(v)
		a = s.agentWith("a", world.AgentOptions{LogLevel: "info", Env: []string{"CONSUL_HTTP_TOKEN=" + token, "NOMAD_TOKEN=" + s.nomadToken(name)}})
	}, func(rec deployment.Service) error {
		if d := rec.Deployment; d == nil || d.State != deployment.Approving {
			return errors.New("nothing waits for an approval")
		}
		return nil
	})
	c.answers("1.0.0", 5)
	through("a cutover", kv.Approve, func() {}, ended(deployment.Succeeded))
	c.serves(deployment.Green)

	comes := func(state deployment.State) {
		t.Helper()
		s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
			rec, err := s.Record(ctx, name)
			if d := rec.Deployment; err == nil && (d == nil || d.Candidate.Version != v.Version || d.State != state && d.Outcome != deployment.Succeeded) {
				s.nudged(ctx, rec)
				err = fmt.Errorf("the release of %s does not come to %s: %+v", v.Version, state, d)
			}
			return err
		}))
	}
	v.Version, v.Approval, v.Watch, v.Soak = "3.0.0", "", -1, 4*time.Second
	s.write(v)
	comes(deployment.Soaking)
	through("the end of a soak", "", func() {}, ended(deployment.Succeeded))
	c.serves(deployment.Blue)
	if job, err := s.Job(s.soon(), name+"-green"); err != nil || job == nil || !*job.Stop {
		t.Errorf("the previous version is not stopped after its soak: %v", err)
	}

	v.Version, v.Watch = "4.0.0", time.Hour
	s.write(v)
	comes(deployment.Watching)
	through("a rollback", kv.Rollback, func() {}, ended(deployment.RolledBack))
	c.serves(deployment.Blue)
	c.answers("3.0.0", 5)

	through("giving back", kv.Release, func() {}, func(rec deployment.Service) error {
		if rec.Managed {
			return errors.New("it is managed")
		}
		return nil
	})
	c.unharmed()
	if missed == 0 {
		t.Errorf("nobody ever missed %s: docs/acl.md need not have it", r)
	}
}

// read is an agent's log, empty where there is none yet.
func (s *stage) read(a *world.Agent) string {
	s.t.Helper()
	if a == nil {
		return ""
	}
	text, err := os.ReadFile(a.LogFile)
	s.must(err)
	return string(text)
}

// since is what a record says of the time after a moment.
func since(rec deployment.Service, moment time.Time) (said string) {
	for _, flag := range []*deployment.Flag{rec.Problem, rec.Held} {
		if flag != nil && flag.At.After(moment) {
			said += flag.Reason + "\n"
		}
	}
	if d := rec.Deployment; d != nil {
		if d.Ended.After(moment) {
			said += d.Reason + "\n"
		}
		for _, e := range d.Log {
			if e.At.After(moment) {
				said += fmt.Sprintf("%s %v\n", e.What, e.Figures)
			}
		}
	}
	return said
}

// agree waits until the record, the key for scripts and the router name one
// colour, where there are all three.
func (s *stage) agree(ctx context.Context) error {
	return cluster.Await(ctx, func(ctx context.Context) error {
		rec, err := s.Record(ctx, s.Name)
		if err != nil || !rec.Managed {
			return nil // not yet, or not any more
		}
		active, err := s.Value(ctx, s.Keys.Active(s.Name))
		if err != nil {
			return err
		}
		entry, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceRouter, s.Name, (&consulapi.QueryOptions{}).WithContext(ctx))
		if err != nil {
			return err
		}
		routes := entry.(*consulapi.ServiceRouterConfigEntry).Routes
		if routed := routes[len(routes)-1].Destination.ServiceSubset; active != string(rec.Active) || routed != active {
			return fmt.Errorf("the record says %s, the key %s, the router %s", rec.Active, active, routed)
		}
		return nil
	})
}
