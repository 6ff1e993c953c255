package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// The system job holds no token: set up as docs/acl.md says, by its very
// commands, it shows Consul and Nomad its workload identity, gets the documented
// rules and releases with them. When its first identities have ended, Nomad's
// tokens with them, and somebody deletes those of Consul, the same process logs
// in by the identities that Nomad has written since, and releases again.
func TestSystemJobByWorkloadIdentity(t *testing.T) {
	s := openAlone(t, "ident", cluster.Options{ACL: true, NomadACL: true})
	defer func() {
		if t.Failed() {
			s.taskLogs("teal")
		}
	}()
	v := world.Service{Name: "ident", Version: "1.0.0", Watch: -1, Soak: -1}
	s.write(v)
	port, err := s.Port()
	s.must(err)
	s.setUpIdentities(fmt.Sprintf(`-detach -var teal=%s -var policies=%s -var consul=%s -var prefix=%s -var port=%d -var identity_ttl=20s %s`,
		s.World.Teal, s.Policies, s.Consul[0].HTTP, s.Keys.Prefix(), port, filepath.Join(s.Root, "examples", "teal.nomad.hcl")))
	agent := &world.Agent{HTTP: fmt.Sprintf("127.0.0.1:%d", port)}
	leads := func() {
		t.Helper()
		s.must(cluster.Await(s.soon(), func(ctx context.Context) error {
			status, h, err := agent.Health(ctx)
			if err == nil && (status != 200 || !h.Leading || h.Nomad != api.OK) {
				err = fmt.Errorf("health answers %d: %+v", status, h)
			}
			return err
		}))
	}
	leads()
	s.ends("ident", "1.0.0", deployment.Succeeded)
	c := s.calls("ident", world.TrafficOptions{})
	first := s.identities()
	if tokens := s.loggedIn(); len(tokens) != 1 {
		t.Errorf("%d tokens of Consul's were got by logging in, want one", len(tokens))
	}
	run := s.tealTask()

	s.must(cluster.Await(s.soon(), func(context.Context) error {
		for name, jwt := range first {
			if end := s.expires(jwt); time.Now().Before(end) {
				return fmt.Errorf("%s is good until %s", name, end)
			}
		}
		if now := s.identities(); now["consul"] == first["consul"] || now["nomad"] == first["nomad"] {
			return errors.New("Nomad has not written new identities")
		}
		return nil
	}))
	if token, _, err := s.ConsulClient().ACL().Login(&consulapi.ACLLoginParams{AuthMethod: "teal", BearerToken: first["consul"]}, nil); err == nil {
		t.Fatalf("Consul takes an identity that has ended: %s", token.AccessorID)
	}
	secrets := s.secretsOf("teal")
	for _, jwt := range s.identities() {
		secrets = append(secrets, jwt)
	}
	before := s.loggedIn()
	for _, accessor := range before {
		_, err := s.ConsulClient().ACL().TokenDelete(accessor, nil)
		s.must(err)
	}
	tokens, _, err := s.NomadClient().ACLTokens().List(nil)
	s.must(err)
	for _, token := range tokens {
		if token.Type == "client" {
			_, err := s.NomadClient().ACLTokens().Delete(token.AccessorID, nil)
			s.must(err)
		}
	}
	v.Version = "2.0.0"
	s.write(v)
	d := s.ends("ident", "2.0.0", deployment.Succeeded)
	leads()
	c.serves(d.To)
	c.answers("2.0.0", 20)
	c.unharmed()
	if now := s.loggedIn(); len(now) != 1 || slices.Contains(before, now[0]) {
		t.Errorf("Consul's tokens are %v, they were %v", now, before)
	}
	if now := s.tealTask(); now != run {
		t.Errorf("another process: %s, it was %s", now, run)
	}

	logs, err := filepath.Glob(filepath.Join(s.World.Dir, "nomad-1", "alloc", "*", "alloc", "logs", "teal.std*"))
	s.must(err)
	if len(logs) == 0 {
		t.Error("the system job has no log")
	}
	for _, path := range logs {
		text, err := os.ReadFile(path)
		s.must(err)
		for _, secret := range append(secrets, s.secretsOf("teal")...) {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds a secret", path)
			}
		}
	}

	_, _, err = s.NomadClient().Jobs().Deregister("teal", false, nil)
	s.must(err)
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		if left := s.loggedIn(); len(left) > 0 {
			return fmt.Errorf("it has not logged out: %v", left)
		}
		return nil
	}))
}

// setUpIdentities does what docs/acl.md says of the system job, and runs the job
// in another way than it says.
func (s *stage) setUpIdentities(run string) {
	s.t.Helper()
	const heading = "The system job"
	files, script := s.blocks(heading, "json"), strings.Join(s.blocks(heading, "sh"), "\n")
	const asDocumented = "-var folder=examples examples/teal.nomad.hcl"
	if len(files) != 2 || !strings.Contains(script, asDocumented) {
		s.t.Fatalf("docs/acl.md has %d files for the system job, and these commands:\n%s", len(files), script)
	}
	// Both servers would go on taking an identity for a minute after its end.
	local := strings.NewReplacer("http://127.0.0.1:4646/", s.URL(s.Nomad)+"/", "{\n  \"JWKSURL\"", "{\n  \"ClockSkewLeeway\": -1,\n  \"JWKSURL\"")
	s.must(s.WriteFile("consul-auth.json", local.Replace(files[0])))
	s.must(s.WriteFile("nomad-auth.json", local.Replace(files[1])))
	s.must(s.WriteFile("agent.hcl", s.documented("Agent, in Consul", "ident")))
	s.must(s.WriteFile("agent.nomad.hcl", s.documented("Agent, in Nomad", "ident")))
	ttl := "-max-token-ttl 1h -config @nomad-auth.json"
	script = strings.NewReplacer(asDocumented, run, ttl, strings.Replace(ttl, "1h", "24s", 1)).Replace(script)
	ran, err := s.Shell(s.soon(), script)
	s.must(err)
	if ran.Code != 0 {
		s.t.Fatal(ran)
	}
}

// identities are the JWTs that Nomad has written for the system job, by the
// server that each is for.
func (s *stage) identities() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, server := range []string{"consul", "nomad"} {
		paths, err := filepath.Glob(filepath.Join(s.World.Dir, "nomad-1", "alloc", "*", "teal", "secrets", "nomad_teal_"+server+".jwt"))
		s.must(err)
		if len(paths) != 1 {
			s.t.Fatalf("files with identities for %s: %v", server, paths)
		}
		text, err := os.ReadFile(paths[0])
		s.must(err)
		all[server] = string(text)
	}
	return all
}

// expires is when a JWT ends.
func (s *stage) expires(jwt string) time.Time {
	s.t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		s.t.Fatalf("a JWT of %d parts", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	s.must(err)
	var claims struct{ Exp int64 }
	s.must(json.Unmarshal(text, &claims))
	return time.Unix(claims.Exp, 0)
}

// loggedIn are the accessors of the tokens that Consul's auth method has given.
func (s *stage) loggedIn() (accessors []string) {
	s.t.Helper()
	tokens, _, err := s.ConsulClient().ACL().TokenList(nil)
	s.must(err)
	for _, token := range tokens {
		if token.AuthMethod == "teal" {
			accessors = append(accessors, token.AccessorID)
		}
	}
	return accessors
}

// secretsOf are the tokens that Consul's auth method has given.
func (s *stage) secretsOf(method string) (secrets []string) {
	s.t.Helper()
	tokens, _, err := s.ConsulClient().ACL().TokenList(nil)
	s.must(err)
	for _, token := range tokens {
		if token.AuthMethod == method {
			secrets = append(secrets, token.SecretID)
		}
	}
	if len(secrets) == 0 || secrets[0] == "" {
		s.t.Fatal("Consul does not tell the tokens")
	}
	return secrets
}

// tealTask tells one process of the system job from every other.
func (s *stage) tealTask() string {
	s.t.Helper()
	allocs, _, err := s.NomadClient().Jobs().Allocations("teal", false, nil)
	s.must(err)
	running := slices.DeleteFunc(allocs, func(a *nomadapi.AllocationListStub) bool { return a.ClientStatus != "running" })
	if len(running) != 1 {
		s.t.Fatalf("%d allocations of the system job run", len(running))
	}
	task := running[0].TaskStates["teal"]
	return fmt.Sprintf("allocation %s, begun %s, restarted %d times", running[0].ID, task.StartedAt, task.Restarts)
}
