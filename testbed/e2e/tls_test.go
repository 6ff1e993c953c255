package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// tlsVariables are what the environment says of how the servers are reached.
var tlsVariables = []string{
	"CONSUL_HTTP_ADDR", "CONSUL_CACERT", "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY",
	"NOMAD_ADDR", "NOMAD_CACERT", "NOMAD_CLIENT_CERT", "NOMAD_CLIENT_KEY",
}

// Where both servers speak TLS only, and only with clients that they know, an
// agent takes a service over, releases a version and takes it back, whether
// the environment tells it how to reach them or its config file.
func TestTLS(t *testing.T) {
	s := openAlone(t, "tls", cluster.Options{TLS: true})
	connection := func(address string) string {
		return fmt.Sprintf("address = %q\nca_file = %q\ncert_file = %q\nkey_file = %q\n", address, s.TLS.File, s.TLS.Cert, s.TLS.Key)
	}
	s.must(s.WriteFile("tls.hcl", "policies = env(\"TEAL_POLICIES\", \"policies\")\nconsul {\n"+connection(s.URL(s.Consul[0]))+"}\nnomad {\n"+connection(s.URL(s.Nomad))+"}\n"))
	var nothing []string
	for _, name := range tlsVariables {
		nothing = append(nothing, name+"=")
	}
	for name, o := range map[string]world.AgentOptions{
		"env":  {},
		"file": {Config: s.Dir + "/tls.hcl", Env: nothing},
	} {
		o.Policies = s.Dir + "/policies-" + name
		s.must(os.MkdirAll(o.Policies, 0o755))
		v := world.Service{Name: "tls-" + name, Version: "1.0.0", Watch: -1, Soak: patience}
		s.must(s.RunPlain(s.soon(), v))
		s.http(v.Name)
		c := s.calls(v.Name, world.TrafficOptions{Uncoloured: "blue"})
		policy := func() {
			jobspec, err := s.APIJobspec(v.Name)
			s.must(err)
			s.must(s.WriteFile("policies-"+name+"/"+v.Name+".nomad.hcl", jobspec))
			s.must(s.WriteFile("policies-"+name+"/"+v.Name+".hcl", v.Policy(s.App)))
		}
		policy()
		a := s.agentWith(name, o)
		s.record(v.Name, "that it is adopted", func(r deployment.Service) bool { return r.Managed && r.Route.Prepared })
		v.Version = "2.0.0"
		policy()
		s.comes(v.Name, "2.0.0", deployment.Soaking)
		c.serves(deployment.Green)
		c.answers("2.0.0", 20)
		s.teal(0, "rollback", v.Name)
		s.ends(v.Name, "2.0.0", deployment.RolledBack)
		c.serves(deployment.Blue)
		c.answers("1.0.0", 20)
		c.unharmed()
		if _, err := a.Terminate(s.soon()); err != nil {
			t.Fatal(err)
		}
	}
}

// What is wrong with the settings of TLS is said, by the agent and by the
// commands, and which setting it is.
func TestTLSMistakesAreNamed(t *testing.T) {
	s := openAlone(t, "tlsbad", cluster.Options{TLS: true})
	stranger, err := cluster.NewAuthority(s.Dir, "stranger")
	s.must(err)
	cert, key, err := stranger.Issue("stranger")
	s.must(err)
	for name, c := range map[string]struct {
		env   []string
		words []string // for Consul; those for Nomad have its name instead
	}{
		"ca":       {[]string{"CACERT=" + stranger.File}, []string{"CONSUL_CACERT", "signed by nobody who is trusted here"}},
		"name":     {[]string{"TLS_SERVER_NAME=elsewhere.example"}, []string{"CONSUL_TLS_SERVER_NAME", "elsewhere.example"}},
		"none":     {[]string{"CLIENT_CERT=", "CLIENT_KEY="}, []string{"CONSUL_CLIENT_CERT", "wants to see a certificate of the client"}},
		"stranger": {[]string{"CLIENT_CERT=" + cert, "CLIENT_KEY=" + key}, []string{"CONSUL_CLIENT_CERT", "does not accept the client's certificate"}},
		"plain":    {nil, []string{"CONSUL_HTTP_ADDR", "https://"}},
	} {
		var env []string
		for _, pair := range c.env {
			env = append(env, "CONSUL_"+pair, "NOMAD_"+pair)
		}
		if c.env == nil {
			env = []string{"CONSUL_HTTP_ADDR=" + s.Consul[0].HTTP, "NOMAD_ADDR=http://" + s.Nomad.HTTP}
		}
		ofNomad := strings.NewReplacer("CONSUL_HTTP_ADDR", "NOMAD_ADDR", "CONSUL", "NOMAD")
		says := func(what, text string, replace *strings.Replacer) error {
			for _, w := range c.words {
				if w = replace.Replace(w); !strings.Contains(text, w) {
					return fmt.Errorf("%s, %s: %q is not said in:\n%s", name, what, w, text)
				}
			}
			return nil
		}
		asIs := strings.NewReplacer()
		run := func(args ...string) string {
			ran, err := s.CLIWith(s.soon(), env, args...)
			s.must(err)
			if ran.Code == 0 {
				t.Errorf("%s: %s", name, ran)
			}
			return ran.Err
		}
		s.must(says("status", run("status"), asIs))
		s.must(says("approve", run("approve", "tlsbad"), asIs))
		s.must(says("init", run("init", "tlsbad"), ofNomad))

		a := s.agentWith(name, world.AgentOptions{Env: env, LogLevel: "info"})
		s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
			status, h, err := a.Health(ctx)
			if err == nil && status != 503 {
				err = fmt.Errorf("%s: health answers %d: %+v", name, status, h)
			}
			return errors.Join(err, says("health of Consul", h.Consul, asIs), says("health of Nomad", h.Nomad, ofNomad))
		}))
		s.must(cluster.Await(s.soon(), func(context.Context) error {
			log := a.Tail(20)
			return errors.Join(says("the log", log, asIs), says("the log", log, ofNomad))
		}))
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}
