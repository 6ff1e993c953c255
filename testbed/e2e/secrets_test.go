package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// No token and no other secret that an agent or a command is given comes out
// anywhere: planted ones are looked for in everything that is written, said
// and shown, while all goes well, while it does not, and in a crash.
func TestSecretsStayWhereTheyAre(t *testing.T) {
	s := openAlone(t, "hush", cluster.Options{ACL: true, NomadACL: true})
	audited := s.audited()
	plant := func(what string) string {
		var b [8]byte
		_, _ = rand.Read(b[:]) // documented never to fail
		return what + "-" + hex.EncodeToString(b[:])
	}
	s.nomadRules("agent", s.documented("Agent, in Nomad", "hush"))
	consul, nomad := s.token("agent", s.documented("Agent, in Consul", "hush")), s.nomadToken("agent")
	header, basic, userinfo := plant("header"), plant("basic"), plant("userinfo")
	query, body := plant("query"), plant("body")
	unknownConsul, unknownNomad := "c0ffee00-0000-4000-8000-0000c0ffee01", "c0ffee00-0000-4000-8000-0000c0ffee02"
	secrets := map[string]string{
		"Consul's token": consul, "Nomad's token": nomad, "a token Consul does not know": unknownConsul, "one Nomad does not know": unknownNomad,
		"the header from a file": header, "basic auth": basic, "the URL's userinfo": userinfo,
		"a query's value": query, "a request's body": body,
	}
	searched := 0
	clean := func(where, text string) {
		t.Helper()
		searched++
		for what, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s is in %s: …%s…", what, where, text[max(0, at-200):at+len(secret)])
			}
		}
	}
	surface := func(a *world.Agent) {
		t.Helper()
		for _, path := range []string{"/v1/health", "/v1/status", "/v1/metrics", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/vars"} {
			response, err := http.Get("http://" + a.HTTP + path)
			s.must(err)
			text, err := io.ReadAll(response.Body)
			response.Body.Close()
			s.must(err)
			clean(a.Name+path, string(text))
			if strings.HasPrefix(path, "/debug") && response.StatusCode != http.StatusNotFound {
				t.Errorf("%s answers %d", path, response.StatusCode)
			}
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", a.PID()))
		s.must(err)
		clean("the command line of "+a.Name, string(line))
	}
	run := func(env []string, args ...string) {
		t.Helper()
		ran, err := s.CLIWith(s.soon(), env, args...)
		s.must(err)
		clean(ran.Command, ran.Out+ran.Err)
	}

	// A release that passes its gate, one whose gate fails, and one that is
	// refused because of its policy. The secrets are in files beside it.
	s.must(s.WriteFile("consul.token", consul+"\n"))
	s.must(s.WriteFile("policies/header.txt", header))
	s.must(s.WriteFile("policies/body.txt", body))
	gate := func(expect string) string {
		return fmt.Sprintf(`gate "http" "secret" {
  path    = "/?key=%s"
  method  = "POST"
  headers = { Authorization = "Bearer ${file("header.txt")}", X-Key = file("header.txt") }
  body    = file("body.txt")
  status  = 405 # the example takes GET only
  %s
}`, query, expect)
	}
	s.must(s.Edit("config.hcl", "token_file      = null  # CONSUL", fmt.Sprintf("token_file      = %q  # CONSUL", s.Dir+"/consul.token")))
	a := s.agentWith("a", world.AgentOptions{LogLevel: "trace", Env: []string{"CONSUL_HTTP_TOKEN=", "CONSUL_HTTP_AUTH=teal:" + basic, "NOMAD_TOKEN=" + nomad}})
	v := world.Service{Name: "hush", Version: "1.0.0", Watch: -1, Soak: -1}
	s.begin(v)
	v.Version, v.Gates = "2.0.0", gate("")
	s.write(v)
	s.ends("hush", "2.0.0", deployment.Succeeded)
	v.Version, v.Gates = "3.0.0", gate("body_contains = \"never said\"\n  attempts = 2")
	s.write(v)
	s.ends("hush", "3.0.0", deployment.Failed)
	surface(a)
	v.Version, v.Gates = "4.0.0", fmt.Sprintf(`gate "http" "secret" {
  every = "preview"
  url   = "http://teal:%s@127.0.0.1:1"
  headers = { X-Key = "${file("header.txt")}\u0001" }
}`, userinfo)
	s.write(v)
	s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
		_, h, err := a.Health(ctx)
		if err == nil && len(h.PolicyErrors) == 0 {
			err = errors.New("no mistake is seen in the policy")
		}
		return err
	}))
	surface(a)
	for _, args := range [][]string{
		{"status"}, {"status", "hush"}, {"status", "-json", "hush"}, {"history", "hush"}, {"history", "-json", "hush"},
		{"report", "hush"}, {"report", "-format", "markdown", "hush"}, {"report", "-format", "json", "hush"},
		{"validate", s.Policies}, {"plan", "hush"}, {"deploy", "-detach", "hush"},
	} {
		run(nil, args...)
	}

	// A worker that is given its token on the command line.
	w := s.Program(cluster.Program{
		Name: "worker", Path: s.World.Teal,
		Args:  []string{"work", "-token", consul, "-service", "hush", "--", "/bin/sleep", "1000"},
		Env:   append(s.Env(), "ENVIRONMENT_NAME=blue", "CONSUL_HTTP_TOKEN="),
		Ready: func(context.Context) error { return nil },
	})
	s.must(w.Start(s.soon()))
	var shown []byte
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		var err error
		if shown, err = os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", w.PID())); err == nil && !strings.Contains(string(shown), "xxxx") {
			err = errors.New("its token is not hidden")
		}
		return err
	}))
	clean("the command line of teal work", string(shown))

	// An agent and commands whose tokens are not known, and whose addresses
	// hold a password.
	wrong := []string{"CONSUL_HTTP_TOKEN=" + unknownConsul, "NOMAD_TOKEN=" + unknownNomad, "CONSUL_HTTP_AUTH=teal:" + basic}
	b := s.agentWith("b", world.AgentOptions{LogLevel: "trace", Env: wrong})
	at := func(host string) string { return "http://teal:" + userinfo + "@" + host }
	addressed := []string{"CONSUL_HTTP_ADDR=" + at(s.Consul[0].HTTP), "NOMAD_ADDR=" + at(s.Nomad.HTTP)}
	nowhere := []string{"CONSUL_HTTP_ADDR=127.0.0.1:1", "NOMAD_ADDR=http://127.0.0.1:1", "CONSUL_HTTP_TOKEN=" + unknownConsul, "NOMAD_TOKEN=" + unknownNomad}
	strange := []string{"CONSUL_HTTP_ADDR=http://teal:" + userinfo + "@%zz", "NOMAD_ADDR=http://teal:" + userinfo + "@%zz"}
	c := s.agentWith("c", world.AgentOptions{LogLevel: "trace", Env: nowhere})
	for name, env := range map[string][]string{"d": strange, "e": addressed} {
		refused, err := s.NewAgent(name, world.AgentOptions{LogLevel: "trace", Env: env})
		s.must(err)
		if err := refused.Start(s.soon()); err == nil {
			t.Errorf("an agent starts with credentials in the addresses: %s", env)
		}
		s.says(refused.Tail(20), "holds credentials", "CONSUL_HTTP_AUTH")
	}
	s.must(s.WriteFile("strange.hcl", fmt.Sprintf("consul {\n  address = \"ftp://teal:%[1]s@host\"\n  token = [%[2]q]\n}\nnomad {\n  address = \"http://teal:%[1]s@\"\n  token = %[2]q\n token_file = %[2]q\n}\n", userinfo, consul)))
	f, err := s.NewAgent("f", world.AgentOptions{Config: s.Dir + "/strange.hcl"})
	s.must(err)
	if err := f.Start(s.soon()); err == nil {
		t.Error("an agent starts with such a config")
	}
	for _, env := range [][]string{wrong, addressed, nowhere, strange} {
		run(env, "status")
		run(env, "deploy", "-detach", "hush")
		run(env, "init", "hush")
	}
	surface(b)
	surface(c)

	// What is left behind: the audit file, a crash with all stacks, the logs, the
	// keys, the entries and the jobs.
	if all := s.lines(audited); len(all) < 20 {
		t.Errorf("only %d lines in the audit file", len(all))
	}
	text, err := os.ReadFile(audited)
	s.must(err)
	clean("the audit file", string(text))
	s.must(a.Signal(syscall.SIGQUIT))
	if code, err := a.Wait(s.soon()); err != nil || code == 0 {
		t.Fatalf("SIGQUIT: code %d, %v", code, err)
	}
	if log := a.Tail(100000); !strings.Contains(log, "goroutine ") {
		t.Error("no stacks in the log of the crash")
	}
	for _, each := range s.Agents() {
		clean("the log of "+each.Name, each.Tail(1000000))
	}
	clean("the log of teal work", w.Tail(1000000))
	pairs, _, err := s.ConsulClient().KV().List(s.Keys.Prefix(), nil)
	s.must(err)
	if len(pairs) < 5 {
		t.Errorf("only %d keys", len(pairs))
	}
	for _, p := range pairs {
		clean("key "+p.Key, string(p.Value))
	}
	entry, err := json.Marshal(s.router("hush"))
	s.must(err)
	clean("the router", string(entry))
	jobs, _, err := s.NomadClient().Jobs().List(nil)
	s.must(err)
	for _, stub := range jobs {
		job, _, err := s.NomadClient().Jobs().Info(stub.ID, nil)
		s.must(err)
		text, err := json.Marshal(job)
		s.must(err)
		clean("job "+stub.ID, string(text))
	}
	services, err := s.ConsulClient().Agent().Services()
	s.must(err)
	text, err = json.Marshal(services)
	s.must(err)
	clean("the services", string(text))
	t.Logf("%d texts searched for %d secrets", searched, len(secrets))
	for _, each := range []*world.Agent{b, c} {
		if each.Running() {
			s.must(each.Kill())
		}
	}
}
