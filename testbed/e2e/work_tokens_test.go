package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
)

// A worker goes on when its token is replaced and the old one is deleted: by
// another in its file, or because it logs in again by the identity that is there
// then. One that has a token in its environment ends its command, says why, and
// waits.
func TestAWorkerOutlivesItsToken(t *testing.T) {
	s := openAlone(t, "heir", cluster.Options{ACL: true, WithoutNomad: true})
	s.must(s.Put(s.soon(), s.Keys.JobProcessor("heir"), "blue"))
	rules := strings.ReplaceAll(s.documented("Worker", "heir"), "/reports/", "/heir/")
	acl := s.ConsulClient().ACL()
	file := func(name string) string { return filepath.Join(s.Dir, name) }
	// forget deletes the tokens that a policy or an auth method has given.
	forget := func(by string) {
		t.Helper()
		tokens, _, err := acl.TokenList(nil)
		s.must(err)
		n := 0
		for _, token := range tokens {
			if token.AuthMethod == by || len(token.Policies) == 1 && token.Policies[0].Name == by && token.AuthMethod == "" {
				_, err := acl.TokenDelete(token.AccessorID, nil)
				s.must(err)
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d tokens of %s were deleted, want one", n, by)
		}
	}
	identity := s.signer("workers", rules)
	s.must(s.WriteFile("token", s.token("first", rules)))
	second := s.token("second", rules)
	s.must(s.WriteFile("jwt", identity("one")))
	ways := []struct {
		name   string
		args   []string
		token  string
		rotate func()
		goesOn bool
	}{
		{"file", []string{"-token-file", file("token")}, "", func() {
			s.must(s.WriteFile("token", second))
			forget("first")
		}, true},
		{"login", []string{"-auth-method", "workers", "-jwt-file", file("jwt")}, "", func() {
			s.must(s.WriteFile("jwt", identity("two")))
			forget("workers")
		}, true},
		{"environment", nil, s.token("fixed", rules), func() { forget("fixed") }, false},
	}
	for _, way := range ways {
		j := s.journal(way.name + "-journal")
		s.must(s.WriteFile(way.name+".sh", fmt.Sprintf(`trap 'stop=1' TERM
echo "$ENVIRONMENT_NAME begins" >> %[1]s
while [ -z "$stop" ]; do echo "$ENVIRONMENT_NAME works" >> %[1]s; sleep 0.2; done
echo "$ENVIRONMENT_NAME ends" >> %[1]s
`, j.path)))
		w := s.Program(cluster.Program{
			Name: "worker-by-" + way.name, Path: s.World.Teal,
			Args:  append(append([]string{"work", "-service", "heir", "-colour", "blue"}, way.args...), "--", "/bin/sh", file(way.name+".sh")),
			Env:   append(s.Env(), "ENVIRONMENT_NAME=blue", "CONSUL_HTTP_TOKEN="+way.token),
			Ready: func(context.Context) error { return nil },
		})
		t.Cleanup(func() {
			if t.Failed() {
				fmt.Fprintf(t.Output(), "--- worker by %s\n%s\n", way.name, w.Tail(40))
			}
		})
		s.must(w.Start(s.soon()))
		j.reaches(deployment.Blue, "works", 1)
		way.rotate()
		if !way.goesOn {
			j.reaches(deployment.Blue, "ends", 1)
			s.must(cluster.Await(s.soon(), func(context.Context) error {
				if said := w.Tail(50); !strings.Contains(said, "permission denied by Consul's ACLs") || !strings.Contains(said, "ACL not found") {
					return fmt.Errorf("it does not say why:\n%s", said)
				}
				return nil
			}))
			if !w.Running() {
				t.Errorf("the worker itself has ended:\n%s", w.Tail(20))
			}
		} else {
			// The command has not begun anew when the jobs go, and comes back with them.
			s.must(s.Put(s.soon(), s.Keys.JobProcessor("heir"), "none"))
			j.reaches(deployment.Blue, "ends", 1)
			if n := count(j.lines(), "blue begins"); n != 1 {
				t.Errorf("by %s the command was begun %d times", way.name, n)
			}
			s.must(s.Put(s.soon(), s.Keys.JobProcessor("heir"), "blue"))
			j.reaches(deployment.Blue, "begins", 2)
		}
		if code, err := w.Terminate(s.soon()); err != nil || code != 0 {
			t.Errorf("by %s it ended with %d, %v:\n%s", way.name, code, err, w.Tail(20))
		}
	}
	s.must(cluster.Await(s.soon(), func(context.Context) error {
		tokens, _, err := acl.TokenList(nil)
		for _, token := range tokens {
			if token.AuthMethod != "" {
				return errors.New("it has not logged out")
			}
		}
		return err
	}))
}

// signer sets up an auth method whose tokens have these rules. What it gives
// makes the identities that are taken there.
func (s *stage) signer(method, rules string) func(who string) string {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	s.must(err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	s.must(err)
	acl := s.ConsulClient().ACL()
	_, _, err = acl.PolicyCreate(&consulapi.ACLPolicy{Name: method, Rules: rules}, nil)
	s.must(err)
	_, _, err = acl.AuthMethodCreate(&consulapi.ACLAuthMethod{Name: method, Type: "jwt", TokenLocality: "local", MaxTokenTTL: time.Hour, Config: map[string]any{
		"JWTSupportedAlgs":     []string{"ES256"},
		"JWTValidationPubKeys": []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))},
		"BoundAudiences":       []string{"consul.io"},
	}}, nil)
	s.must(err)
	_, _, err = acl.BindingRuleCreate(&consulapi.ACLBindingRule{AuthMethod: method, BindType: "policy", BindName: method}, nil)
	s.must(err)
	return func(who string) string {
		s.t.Helper()
		now, encoded := time.Now(), base64.RawURLEncoding.EncodeToString
		text := encoded([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." +
			encoded(fmt.Appendf(nil, `{"sub":%q,"aud":"consul.io","iat":%d,"exp":%d}`, who, now.Unix(), now.Add(time.Hour).Unix()))
		sum := sha256.Sum256([]byte(text))
		r, v, err := ecdsa.Sign(rand.Reader, key, sum[:])
		s.must(err)
		return text + "." + encoded(append(r.FillBytes(make([]byte, 32)), v.FillBytes(make([]byte, 32))...))
	}
}
