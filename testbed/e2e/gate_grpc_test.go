package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/product"
	"github.com/tealdeploy/teal/testbed/world"
)

var backend struct {
	sync.Once
	binary string
	err    error
}

// backend is a service of instances that speak what the example app does not.
func (s *stage) backend(name string) world.Service {
	s.t.Helper()
	backend.Do(func() { // beside the others, which are removed at the end
		backend.binary, backend.err = product.Backend(context.Background(), filepath.Dir(s.App))
	})
	s.must(backend.err)
	return world.Service{Name: name, Jobspec: fmt.Sprintf(backendJob, name, backend.binary), Watch: -1, Soak: -1}
}

const backendJob = `
variable "version" { type = string }
variable "app" { type = string }
variable "env" {
  type    = map(string)
  default = {}
}

job %[1]q {
  update {
    min_healthy_time  = "0s"
    healthy_deadline  = "1m"
    progress_deadline = "2m"
  }
  group %[1]q {
    count = 2
    network {
      mode = "host"
      port "http" {}
    }
    service {
      name = %[1]q
      port = "http"
      connect { native = true }
      check {
        type     = "tcp"
        interval = "1s"
        timeout  = "1s"
      }
    }
    task %[1]q {
      driver = "raw_exec"
      config { command = %[2]q }
      env = merge(var.env, { APP_VERSION = var.version })
      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
`

// releases writes a version of a backend with an environment and a gate.
func (s *stage) releases(v *world.Service, version string, env map[string]string, gate string) {
	s.t.Helper()
	var pairs []string
	for name, value := range env {
		pairs = append(pairs, fmt.Sprintf("%s = %q", name, value))
	}
	v.Version, v.Gates = version, gate
	v.Vars = map[string]string{"env": "{\n" + strings.Join(pairs, "\n") + "\n}"}
	s.write(*v)
}

// The standard health check of gRPC: what serves passes, what says that it does
// not fails, and what does not know its health, or has none, holds.
func TestGRPCGate(t *testing.T) {
	s := open(t, "g-grpc")
	s.agent("a")
	v := s.backend("g-grpc")
	speaks := func(health string) map[string]string { return map[string]string{"SPEAKS": "grpc", "HEALTH": health} }
	asked := func(more string) string { return "gate \"grpc\" \"health\" {\ninterval = \"200ms\"\n" + more + "\n}" }

	s.releases(&v, "1.0.0", speaks("SERVING"), asked(""))
	s.says(gateOf(s.ends(v.Name, "1.0.0", deployment.Succeeded), "health").Reason, "health of the gRPC server: 2 of 2 instances answered as expected")

	s.releases(&v, "2.0.0", speaks("NOT_SERVING"), asked(""))
	d := s.ends(v.Name, "2.0.0", deployment.Failed)
	s.says(d.Reason, "2 of 2 instances did not pass", "answered NOT_SERVING")
	if g := gateOf(d, "health"); g.Verdict != "fail" || g.Figures["health"] != "NOT_SERVING" {
		t.Errorf("the evidence is %+v", g)
	}

	s.releases(&v, "3.0.0", speaks("SERVING"), asked(`service = "shop.v1.Orders"`))
	s.says(s.ends(v.Name, "3.0.0", deployment.Failed).Reason, `does not know the service "shop.v1.Orders"`)

	for version, c := range map[string][2]string{"4.0.0": {"UNKNOWN", "answered UNKNOWN"}, "5.0.0": {"none", "does not implement grpc.health.v1.Health"}} {
		s.releases(&v, version, speaks(c[0]), asked("timeout = \"1s\"\ndeadline = \"2s\""))
		rec := s.record(v.Name, "that the gate holds it", func(r deployment.Service) bool {
			return r.Held != nil && r.InFlight() && r.Deployment.Candidate.Version == version
		})
		s.says(rec.Held.Reason, "2 of 2 instances do not say", c[1])
		if rec.Slots[rec.Active].Version != "1.0.0" {
			t.Errorf("%s serves", rec.Slots[rec.Active].Version)
		}
		s.teal(0, "abort", v.Name)
		s.ends(v.Name, version, deployment.Aborted)
	}
}

// Instances that speak TLS, and only with those whose certificate they know: a
// gate that shows one passes, by http and by gRPC, one that shows none or a
// stranger's fails, and one that has lost its file holds.
func TestGatesWithCertificatesOnBothSides(t *testing.T) {
	for _, kind := range []string{"http", "grpc"} {
		t.Run(kind, func(t *testing.T) {
			s := open(t, "g-mtls-"+kind)
			s.agent("a")
			v := s.backend("g-mtls-" + kind)
			ca, err := cluster.NewAuthority(s.Dir, "ca")
			s.must(err)
			other, err := cluster.NewAuthority(s.Dir, "stranger")
			s.must(err)
			cert, key, err := ca.Issue("instance", "api.internal")
			s.must(err)
			client, clientKey, err := ca.Issue("teal")
			s.must(err)
			strange, strangeKey, err := other.Issue("other")
			s.must(err)
			env := map[string]string{"SPEAKS": kind, "HEALTH": "SERVING", "CERT_FILE": cert, "KEY_FILE": key, "CLIENT_CA_FILE": ca.File}
			asked := func(more, tls string) string {
				scheme := ""
				if kind == "http" {
					scheme = "scheme = \"https\"\n"
				}
				return fmt.Sprintf("gate %q \"secure\" {\ninterval = \"200ms\"\n%s%s\ntls {\nca_file = %q\nserver_name = \"api.internal\"\n%s\n}\n}", kind, scheme, more, ca.File, tls)
			}
			shows := func(cert, key string) string { return fmt.Sprintf("cert_file = %q\nkey_file = %q", cert, key) }

			s.releases(&v, "1.0.0", env, asked("", shows(client, clientKey)))
			s.says(gateOf(s.ends(v.Name, "1.0.0", deployment.Succeeded), "secure").Reason, "2 of 2 instances answered as expected")

			s.releases(&v, "2.0.0", env, asked("", ""))
			s.says(s.ends(v.Name, "2.0.0", deployment.Failed).Reason, "cert_file and key_file of tls give it")

			s.releases(&v, "3.0.0", env, asked("", shows(strange, strangeKey)))
			s.says(s.ends(v.Name, "3.0.0", deployment.Failed).Reason, "does not accept the client's certificate")

			s.must(os.Remove(clientKey))
			s.releases(&v, "4.0.0", env, asked("timeout = \"1s\"\ndeadline = \"2s\"", shows(client, clientKey)))
			rec := s.record(v.Name, "that the gate holds it", func(r deployment.Service) bool {
				return r.Held != nil && r.InFlight() && r.Deployment.Candidate.Version == "4.0.0"
			})
			s.says(rec.Held.Reason, "key_file: open "+filepath.Clean(clientKey))
		})
	}
}
