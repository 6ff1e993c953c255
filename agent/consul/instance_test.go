package consul

import (
	"reflect"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

func entry(node, id string, s api.AgentService, statuses ...string) *api.ServiceEntry {
	s.ID = id
	e := &api.ServiceEntry{Node: &api.Node{Node: node, Address: "10.0.0.1"}, Service: &s}
	for _, status := range statuses {
		check := &api.HealthCheck{CheckID: "c", Status: status}
		if status == api.HealthMaint {
			check.CheckID = api.NodeMaint
		}
		e.Checks = append(e.Checks, check)
	}
	return e
}

// Health and colour are what the proxies see, the address is the
// application's.
func TestASidecarStandsForItsApplication(t *testing.T) {
	sidecar := func(of, colour string) api.AgentService {
		return api.AgentService{Kind: api.ServiceKindConnectProxy, Service: "api-sidecar-proxy", Port: 21000, Meta: map[string]string{ColourMeta: colour},
			Proxy: &api.AgentServiceConnectProxyConfig{DestinationServiceID: of}}
	}
	got := fold([]*api.ServiceEntry{
		entry("n2", "api-1-proxy", sidecar("api-1", "green"), api.HealthPassing),
		entry("n1", "api-1-proxy", sidecar("api-1", "blue"), api.HealthPassing, api.HealthCritical),
		entry("n1", "lone-proxy", sidecar("gone", "blue"), api.HealthWarning),
		entry("n1", "native", api.AgentService{Port: 9000, Address: "10.9.9.9"}, api.HealthMaint),
	}, []*api.ServiceEntry{
		entry("n1", "api-1", api.AgentService{Port: 8001, Address: "10.1.1.1", Meta: map[string]string{ColourMeta: "green"}}, api.HealthPassing),
		entry("n2", "api-1", api.AgentService{Port: 8002}, api.HealthCritical),
	})
	want := []deployment.Instance{
		{ID: "api-1", Node: "n1", Address: "10.1.1.1", Port: 8001, Colour: deployment.Blue, Health: deployment.Critical, Meta: map[string]string{ColourMeta: "blue"}},
		{ID: "lone-proxy", Node: "n1", Address: "10.0.0.1", Port: 21000, Colour: deployment.Blue, Health: deployment.Warning, Meta: map[string]string{ColourMeta: "blue"}},
		{ID: "native", Node: "n1", Address: "10.9.9.9", Port: 9000, Colour: deployment.None, Health: deployment.Critical},
		{ID: "api-1", Node: "n2", Address: "10.0.0.1", Port: 8002, Colour: deployment.Green, Health: deployment.Passing, Meta: map[string]string{ColourMeta: "green"}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}
