package e2e

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
	"github.com/tealdeploy/teal/testbed/world"
)

// A service that does not speak http is not routed by a service-router, and
// Teal does not guess: it says what is missing and touches nothing.
func TestProtocolIsNotGuessed(t *testing.T) {
	s := open(t, "proto")
	s.agent("a")
	v := world.Service{Name: "proto", Version: "1.0.0"}
	s.must(s.RunPlain(s.soon(), v))
	text := v.Policy(s.App)
	jobspec, err := s.APIJobspec("proto")
	s.must(err)
	s.must(s.WriteFile("policies/proto.nomad.hcl", jobspec))
	s.must(s.WriteFile("policies/proto.hcl", without(text, `protocol = "http"`)))
	rec := s.record("proto", "what is wrong", func(r deployment.Service) bool { return r.Problem != nil || r.Held != nil })
	reason := ""
	if rec.Problem != nil {
		reason = rec.Problem.Reason
	} else {
		reason = rec.Held.Reason
	}
	s.says(reason, "tcp", "http", "protocol")
	for _, kind := range []string{consulapi.ServiceRouter, consulapi.ServiceResolver, consulapi.ServiceDefaults} {
		if entry, _, err := s.ConsulClient().ConfigEntries().Get(kind, "proto", nil); err == nil {
			t.Errorf("written all the same: %+v", entry)
		}
	}
	// Said in the policy, it is written and the service is taken over.
	s.must(s.WriteFile("policies/proto.hcl", text))
	s.record("proto", "that it is adopted", func(r deployment.Service) bool { return r.Managed && r.Route.Prepared && r.Problem == nil })
}

// A tcp service moves by the resolver's default subset.
func TestTCPThroughTheResolver(t *testing.T) {
	s := open(t, "tcp")
	s.agent("a")
	v := world.Service{Name: "tcp", Version: "1.0.0"}
	tcp := func() string {
		return replaced(v.Policy(s.App), `protocol = "http"`, "protocol = \"tcp\"\nrouter = \"service-resolver\"")
	}
	jobspec, err := s.APIJobspec("tcp")
	s.must(err)
	s.must(s.WriteFile("policies/tcp.nomad.hcl", jobspec))
	v.Watch, v.Soak = -1, -1
	s.must(s.WriteFile("policies/tcp.hcl", tcp()))
	s.ends("tcp", "1.0.0", deployment.Succeeded)
	c := s.calls("tcp", world.TrafficOptions{})
	c.answers("1.0.0", 20)

	v.Version, v.Watch, v.Soak = "2.0.0", 2*time.Second, time.Hour
	s.must(s.WriteFile("policies/tcp.hcl", tcp()))
	s.comes("tcp", "2.0.0", deployment.Soaking)
	c.answers("2.0.0", 20)
	s.teal(0, "rollback", "tcp")
	s.ends("tcp", "2.0.0", deployment.RolledBack)
	c.answers("1.0.0", 20)
	c.unharmed()
}

// A gate may look through the entry point: the preview header leads to the
// candidate while everybody else gets what serves.
func TestGateThroughThePreviewRoute(t *testing.T) {
	s := open(t, "preview")
	s.agent("a")
	v := world.Service{Name: "preview", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("preview", world.TrafficOptions{})
	v.Version = "2.0.0"
	v.Gates = `gate "http" "preview" {
	  every = "preview"
	  url   = "` + c.Proxy.URL() + `"
	  path  = "/version"
	  json  = { version = "{version}", colour = "{colour}" }
	}`
	s.write(v)
	d := s.ends("preview", "2.0.0", deployment.Succeeded)
	if len(d.Gates) != 2 || d.Gates[1].Verdict != "pass" {
		t.Errorf("gates on record: %+v", d.Gates)
	}
	c.serves(d.To)
	c.answers("2.0.0", 20)

	// An entry point that drops the header leads to what serves, which is told: the
	// candidate is neither passed nor failed by it.
	entry, err := url.Parse(c.Proxy.URL())
	s.must(err)
	deaf := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(entry)
		r.Out.Header.Del(gates.PreviewHeader)
	}})
	t.Cleanup(deaf.Close)
	v.Version, v.Gates = "3.0.0", strings.Replace(v.Gates, c.Proxy.URL(), deaf.URL, 1)
	v.Gates = strings.Replace(v.Gates, "every =", "timeout = \"1s\"\n  deadline = \"2s\"\n  every =", 1)
	s.write(v)
	rec := s.record(v.Name, "that the gate holds it", func(r deployment.Service) bool {
		return r.Held != nil && r.InFlight() && r.Deployment.Candidate.Version == v.Version
	})
	s.says(rec.Held.Reason, "was answered by "+string(d.To)+" (2.0.0), which serves: the entry point does not know the header X-Teal-Colour")
	s.teal(0, "abort", v.Name)
	s.ends(v.Name, v.Version, deployment.Aborted)
	if n := c.unharmed(); n.Versions["3.0.0"] != 0 {
		t.Errorf("a version served that nobody asked: %s", n)
	}
}

// The probe asks a real entry point after the write: a wrong answer takes
// traffic back, the right one lets the release go on.
func TestProbeThroughTheEntryPoint(t *testing.T) {
	s := open(t, "probe")
	s.agent("a")
	v := world.Service{Name: "probe", Version: "1.0.0"}
	s.begin(v)
	c := s.calls("probe", world.TrafficOptions{})
	probe := func(expect string) string {
		return "timeout = \"3s\"\nprobe {\n  url = \"" + c.Proxy.URL() + "/version\"\n  expect = \"" + expect + "\"\n}"
	}
	v.Version, v.Cutover = "2.0.0", probe("3.0.0")
	s.write(v)
	d := s.ends("probe", "2.0.0", deployment.RolledBack)
	s.says(d.Reason, "probe", "3.0.0")
	c.serves(d.From)
	v.Version = "3.0.0"
	s.write(v)
	d = s.ends("probe", "3.0.0", deployment.Succeeded)
	c.serves(d.To)
	c.answers("3.0.0", 20)
	c.unharmed()
}

// A router that another installation of Teal has written is that one's: nothing
// is done to it, and the refusal names the other one.
func TestRouterOfSomebodyElse(t *testing.T) {
	s := open(t, "owned")
	s.http("owned")
	theirs := &consulapi.ServiceRouterConfigEntry{
		Kind: consulapi.ServiceRouter, Name: "owned",
		Meta: map[string]string{"teal_owner": "elsewhere/", "teal_epoch": "7"},
	}
	_, _, err := s.ConsulClient().ConfigEntries().Set(theirs, nil)
	s.must(err)
	before := s.router("owned")
	s.agent("a")
	v := world.Service{Name: "owned", Version: "1.0.0"}
	s.must(s.RunPlain(s.soon(), v))
	s.write(v)
	rec := s.record("owned", "what is wrong", func(r deployment.Service) bool { return r.Problem != nil || r.Held != nil })
	reason := ""
	if rec.Problem != nil {
		reason = rec.Problem.Reason
	} else {
		reason = rec.Held.Reason
	}
	s.says(reason, "service-router", "elsewhere/")
	if after := s.router("owned"); after.ModifyIndex != before.ModifyIndex {
		t.Errorf("written all the same: %+v", after)
	}
	if _, _, err := s.ConsulClient().ConfigEntries().Get(consulapi.ServiceResolver, "owned", nil); err == nil {
		t.Error("a resolver was written")
	}
}
