package cli

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/worker"
)

func TestOrdersPutTheirVerb(t *testing.T) {
	for line, want := range map[string]struct {
		verb kv.Verb
		c    kv.Command
	}{
		"pause api -why lunch":                    {kv.Pause, kv.Command{Why: "lunch"}},
		"resume api":                              {kv.Resume, kv.Command{}},
		"release api":                             {kv.Release, kv.Command{}},
		"rollback -detach api -why slow":          {kv.Rollback, kv.Command{Why: "slow"}},
		"abort -detach api":                       {kv.Abort, kv.Command{}},
		"cutover -detach api blue":                {kv.Cutover, kv.Command{Arg: "blue"}},
		"cutover -detach api green -force -why x": {kv.Cutover, kv.Command{Arg: "green", Force: true, Why: "x"}},
	} {
		t.Run(line, func(t *testing.T) {
			f := newFakeConsul(t)
			var verb kv.Verb
			var c kv.Command
			f.agent = func(f *fakeConsul, svc string, v kv.Verb, got kv.Command, index uint64) {
				verb, c = v, got
				f.answer(svc, v, kv.Result{Index: index, Accepted: true, Reason: "so be it"})
			}
			teal(t, strings.Fields(line)...).want(t, exitOK, "so be it\n", "")
			c.By = ""
			if verb != want.verb || c.Arg != want.c.Arg || c.Force != want.c.Force || c.Why != want.c.Why {
				t.Errorf("%s %+v", verb, c)
			}
		})
	}
}

func TestRollbackFollowsUntilTrafficIsBack(t *testing.T) {
	f := newFakeConsul(t)
	going := played()[5]
	d := *going.Deployment
	d.State, d.Rollback = deployment.RollingBack, &deployment.Move{To: deployment.Blue, By: "alice@laptop", Reason: "checkout is slow", Decided: at(70)}
	going.Deployment = &d
	gone := going
	d2 := d
	d2.Rollback = &deployment.Move{To: deployment.Blue, By: "alice@laptop", Reason: "checkout is slow", Decided: at(70), Written: at(70.003), Verified: at(70.2)}
	gone.Deployment, gone.Active = &d2, deployment.Blue
	f.agent = plays("d7", going, gone)
	r := teal(t, "rollback", "api", "-why", "checkout is slow")
	r.want(t, exitOK, "rollback to blue written in 3.0 ms, verified after 200.0 ms: checkout is slow", "")
	r.want(t, exitOK, "api is back on blue 1.2.0.", "")
}

func TestCutoverFollowsUntilVerifiedOrFails(t *testing.T) {
	f := newFakeConsul(t)
	f.agent = plays("d7", played()[4], played()[5])
	teal(t, "cutover", "api", "green").want(t, exitOK, "All traffic of api goes to green.", "")

	f = newFakeConsul(t)
	back := played()[5]
	d := *back.Deployment
	d.State, d.Outcome, d.Reason = deployment.Done, deployment.RolledBack, "the probe still saw 1.2.0"
	d.Rollback = &deployment.Move{To: deployment.Blue, Decided: at(40), Written: at(40.1)}
	back.Deployment, back.Active = &d, deployment.Blue
	f.agent = plays("d7", played()[4], back)
	teal(t, "cutover", "api", "green").want(t, exitFailed, "", "was rolled back: the probe still saw 1.2.0. blue 1.2.0 serves.")
}

func TestPlanPrintsWhatTheAgentFound(t *testing.T) {
	f := newFakeConsul(t)
	f.agent = func(f *fakeConsul, svc string, v kv.Verb, c kv.Command, index uint64) {
		r := kv.Result{Index: index, Accepted: c.Vars["version"] == "1.3.0", Reason: "Nomad cannot place 3 instances", Output: "+ job api-green\n  + count = 3\n"}
		f.answer(svc, v, r)
	}
	r := teal(t, "plan", "api", "-var", "version=1.3.0")
	r.want(t, exitOK, "+ job api-green\n  + count = 3\n", "")
	teal(t, "plan", "api").want(t, exitRefused, "+ job api-green", "Nomad cannot place 3 instances")
	teal(t, "plan", "api", "-json", "-var=version=1.3.0").want(t, exitOK, `"output": "+ job api-green\n`, "")
}

func TestAgentAndWorkGetTheirOptions(t *testing.T) {
	wasAgent, wasWorker := runAgent, runWorker
	t.Cleanup(func() { runAgent, runWorker = wasAgent, wasWorker })
	var a agent.Options
	runAgent = func(_ context.Context, o agent.Options) error { a = o; return nil }
	teal(t, "agent", "-config", "c.hcl", "-policies=p", "-log-level", "debug", "-log-json", "-prefix", "x/").want(t, exitOK, "", "")
	if a.Config != "c.hcl" || a.Policies != "p" || a.LogLevel != "debug" || !a.LogJSON || a.Prefix != "x/" || a.Reload == nil || a.Stderr == nil {
		t.Errorf("%+v", a)
	}
	runAgent = func(context.Context, agent.Options) error { return errors.New("config.hcl:3: wrong address") }
	teal(t, "agent").want(t, exitError, "", "config.hcl:3: wrong address")
	runAgent = func(ctx context.Context, _ agent.Options) error { return context.Canceled }
	teal(t, "agent").want(t, exitOK, "", "")

	var w worker.Config
	var at string
	runWorker = func(_ context.Context, cfg worker.Config, access agent.ConsulAccess) (int, error) {
		w, at = cfg, access.Config().Address
		return 7, nil
	}
	t.Setenv("ENVIRONMENT_NAME", "green")
	r := teal(t, "work", "-service", "api", "-http-addr", "consul:8500", "-prefix=x", "-kill-timeout=5s", "bin/worker", "-service", "mail", "--", "x")
	r.want(t, 7, "", "")
	if w.Service != "api" || w.Colour != deployment.Green || w.KillTimeout != 5*time.Second || at != "consul:8500" || w.Keys.Prefix() != "x/" || w.Log == nil || strings.Join(w.Command, " ") != "bin/worker -service mail -- x" {
		t.Errorf("%+v", w)
	}
	for _, args := range [][]string{{"-auth-method=workers"}, {"-jwt-file=jwt"}, {"-auth-method=workers", "-jwt-file=jwt", "-token=x"}, {"-auth-method=workers", "-jwt-file=jwt", "-token-file=x"}} {
		teal(t, slices.Concat([]string{"work", "-service=api"}, args, []string{"--", "true"})...).want(t, exitError, "", "-auth-method")
	}
	teal(t, "work", "-service=api", "-colour=blue", "--", "sh", "-h").want(t, 7, "", "")
	if w.Colour != deployment.Blue || strings.Join(w.Command, " ") != "sh -h" {
		t.Errorf("%+v", w)
	}
}

func TestCompletionKnowsServicesAndColours(t *testing.T) {
	f := newFakeConsul(t)
	f.record(running())
	all := commands(t.Context(), newTerminal(&buffer{}, &buffer{}))
	made, _ := all["cutover"]()
	args := made.(interface{ AutocompleteArgs() complete.Predictor }).AutocompleteArgs()
	if got := args.Predict(complete.Args{}); !slices.Equal(got, []string{"api"}) {
		t.Errorf("services: %v", got)
	}
	if got := args.Predict(complete.Args{Completed: []string{"-force", "api"}}); !slices.Equal(got, []string{"blue", "green"}) {
		t.Errorf("colours: %v", got)
	}
	made, _ = all["deploy"]()
	flags := made.(interface{ AutocompleteFlags() complete.Flags }).AutocompleteFlags()
	for _, name := range []string{"-var", "-detach", "-token-file", "-prefix"} {
		if flags[name] == nil && name != "-var" && name != "-detach" && name != "-prefix" {
			t.Errorf("no completion of %s", name)
		}
		if _, ok := flags[name]; !ok {
			t.Errorf("%s is not completed", name)
		}
	}
	t.Setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
	if got := args.Predict(complete.Args{}); got != nil {
		t.Errorf("without Consul: %v", got)
	}
}

// Whoever may write keys below Teal's prefix may call a service, a release and an
// approver what they like; a shell would show it, and put it into the command line.
func TestCompletionOffersNothingThatAShellActsUpon(t *testing.T) {
	const hostile = "a\x1b[2J$(id)"
	f := newFakeConsul(t)
	s := releasing(deployment.Approving, 100)
	s.Deployment.Ask = &deployment.Ask{Quorum: 1, Approvers: []string{hostile, "b`id`", "c;id", "bob@ops"}}
	s.Finished = []string{hostile, "20261124-2", "-rf"}
	f.record(s)
	s.Name = hostile
	f.record(s)
	all := commands(t.Context(), newTerminal(&buffer{}, &buffer{}))
	args := func(verb string, typed ...string) []string {
		made, _ := all[verb]()
		return made.(interface{ AutocompleteArgs() complete.Predictor }).AutocompleteArgs().Predict(complete.Args{Completed: typed})
	}
	made, _ := all["approve"]()
	as := made.(interface{ AutocompleteFlags() complete.Flags }).AutocompleteFlags()["-as"].Predict(complete.Args{})
	for what, c := range map[string]struct{ got, want []string }{
		"services":          {args("cutover"), []string{"api"}},
		"releases":          {args("report", "api"), []string{s.Deployment.ID, "20261124-2"}},
		"approvers":         {as, []string{"bob@ops"}},
		"after such a name": {args("cutover", hostile), []string{"blue", "green"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", what, c.got, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	teal(t, "validate", dir).want(t, exitOK, "There is no policy in", "")
	write("api.nomad.hcl", "job \"api\" {}\n")
	good := write("api.hcl", "service \"api\" {\n  job = \"api.nomad.hcl\"\n}\n")
	teal(t, "validate", dir).want(t, exitOK, "1 policy is valid.", "")
	teal(t, "validate", good, "-json").want(t, exitOK, `"valid": true`, "")
	bad := write("bad.hcl", "service \"web\" {\n  job = \"missing.nomad.hcl\"\n  sokk { }\n}\n")
	r := teal(t, "validate", bad)
	r.want(t, exitError, "", "bad.hcl line 3")
	r.want(t, exitError, "", "mistakes in "+bad)
	r = teal(t, "validate", "-json", dir)
	r.want(t, exitError, `"valid": false`, "")
	teal(t, "validate", filepath.Join(dir, "nothing.hcl")).want(t, exitError, "", "nothing.hcl")
}

// An agent's config is checked as policies are, alone or with them.
func TestValidateConfig(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.hcl")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("notify \"webhook\" \"hook\" { url = \"http://h/\" }")
	teal(t, "validate", "-config", path).want(t, exitOK, "The config in "+path+" is valid.", "")
	policies := filepath.Join(dir, "policies")
	if err := os.Mkdir(policies, 0o755); err != nil {
		t.Fatal(err)
	}
	teal(t, "validate", "-config", path, policies).want(t, exitOK, "There is no policy in "+policies, "")
	write("lease {\n  ttl = \"1s\"\n}\nnotify \"webhoook\" \"hook\" {\n  url = \"http://PLANTED@h/\"\n}")
	r := teal(t, "validate", "-config", path, policies)
	r.want(t, exitError, "", "2 mistakes in "+policies+" and "+path)
	for _, want := range []string{path + " line 2", path + " line 4", `Did you mean "webhook"?`} {
		if !strings.Contains(r.err, want) {
			t.Errorf("%q is not said:\n%s", want, r.err)
		}
	}
	r = teal(t, "validate", "-json", "-config", path)
	if !json.Valid([]byte(r.out)) || r.code != exitError || strings.Contains(r.out, "PLANTED") {
		t.Errorf("%d %s", r.code, r.out)
	}
}
