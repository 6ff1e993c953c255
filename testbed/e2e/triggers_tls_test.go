package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
)

// Instances that tell their metrics over TLS only, and only to those whose certificate
// they know: by what they tell a gate passes, a version is kept and one is taken back.
// While the agent's key is away nothing is known, and it is known again when it is back.
func TestMetricsWithCertificatesOnBothSides(t *testing.T) {
	s := open(t, "t-mtls")
	s.agent("a")
	v := s.backend("t-mtls")
	ca, err := cluster.NewAuthority(s.Dir, "ca")
	s.must(err)
	cert, key, err := ca.Issue("instance", "api.internal")
	s.must(err)
	client, clientKey, err := ca.Issue("teal")
	s.must(err)
	env := map[string]string{"SPEAKS": "http", "CERT_FILE": cert, "KEY_FILE": key, "CLIENT_CA_FILE": ca.File}
	secure := fmt.Sprintf("scheme = \"https\"\ntls {\nca_file = %q\nserver_name = \"api.internal\"\ncert_file = %q\nkey_file = %q\n}\n", ca.File, client, clientKey)
	gate := "gate \"metrics\" \"told\" {\nmetric = \"http_requests_total\"\nlabels = { code = \"500\" }\nabove = 0\n" + secure + "}"
	s.releases(&v, "1.0.0", env, gate)
	s.says(gateOf(s.ends(v.Name, v.Version, deployment.Succeeded), "told").Reason, "metrics at /metrics: http_requests_total{code=\"500\"}", "is 0, and at most 0 is expected")

	v.KeepFailed = time.Hour
	v.Triggers = "trigger \"errors\" \"judged\" {\nabove = 0.05\nmin_requests = 20\n" + secure + "}"
	asker := s.known("api.internal", ca.File, client, clientKey)

	v.Watch = 5 * time.Second
	s.releases(&v, "2.0.0", env, "")
	end := s.asksAll(v.Name, asker, s.comes(v.Name, v.Version, deployment.Watching).To, "/")
	s.judged(s.ends(v.Name, v.Version, deployment.Succeeded), "judged", "2 of 2 instances read)")
	end()

	s.must(os.Rename(clientKey, clientKey+".away"))
	v.Watch = 20 * time.Second // for longer than files are used without a look at them
	s.releases(&v, "3.0.0", env, "")
	to := s.comes(v.Name, v.Version, deployment.Watching).To
	held := s.watchHeld(v, "trigger judged has not seen enough", "key_file: open "+clientKey)
	if held.Active != to {
		t.Errorf("%s serves, want %s", held.Active, to)
	}
	s.must(os.Rename(clientKey+".away", clientKey))
	end = s.asksAll(v.Name, asker, to, "/")
	s.says(evidence(s.ends(v.Name, v.Version, deployment.Succeeded)), "every trigger can tell again")
	end()

	v.Watch = time.Minute
	s.releases(&v, "4.0.0", env, "")
	end = s.asksAll(v.Name, asker, s.comes(v.Name, v.Version, deployment.Watching).To, "/fail")
	d := s.ends(v.Name, v.Version, deployment.RolledBack)
	end()
	s.says(d.Reason, "trigger judged: 100 % of requests failed", "up to 5 % is allowed")
	if d.From != to {
		t.Errorf("%s serves, want %s", d.From, to)
	}
}

// known is a client whose certificate an authority has signed, and who wants to see
// one of the same authority.
func (s *stage) known(server, ca, cert, key string) *http.Client {
	s.t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	s.must(err)
	pem, err := os.ReadFile(ca)
	s.must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: server}}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// asksAll asks all instances of a colour for a path, in turn, until end is called.
func (s *stage) asksAll(service string, client *http.Client, colour deployment.Colour, path string) (end func()) {
	s.t.Helper()
	all := s.coloured(service, string(colour))
	if len(all) == 0 {
		s.t.Fatalf("no instance of %s is %s", service, colour)
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+all[i%len(all)].Address+path, nil)
			if err != nil {
				s.t.Error(err)
				return
			}
			if response, err := client.Do(request); err == nil {
				_ = response.Body.Close()
			} else if ctx.Err() == nil {
				s.t.Error(err)
				return
			}
			select {
			case <-ctx.Done():
			case <-every.C:
			}
		}
	})
	return func() { cancel(); asking.Wait() }
}
