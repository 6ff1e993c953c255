package consultest

import (
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/deployment"
)

var (
	_ API = (*consul.Client)(nil)
	_ API = (*Client)(nil)
)

func TestFakeKeepsTheContract(t *testing.T) {
	Contract(t, func(t *testing.T, clause func(t *testing.T, s Subject)) {
		synctest.Test(t, func(t *testing.T) { clause(t, subject(New())) })
	})
}

func subject(s *Server) Subject {
	s.SetWait(Wait)
	return Subject{
		API: s.Client("agent"), Prefix: "t-", Node: "agent",
		SetInstance:    func(service string, i deployment.Instance) error { s.SetInstance(service, i); return nil },
		RemoveInstance: func(service, node, id string) error { s.RemoveInstance(service, node, id); return nil },
		SetCheck:       func(node, check, status string) error { s.SetCheck(node, check, status); return nil },
	}
}

// Nothing that the adapter asks of Consul is beyond the contract.
func TestTheContractNamesEveryMethod(t *testing.T) {
	contract, real := reflect.TypeFor[API](), reflect.TypeFor[*consul.Client]()
	for i := range real.NumMethod() {
		m := real.Method(i)
		if m.Type.NumOut() == 1 && m.Type.Out(0) == real {
			continue // asks nothing: another client
		}
		if _, ok := contract.MethodByName(m.Name); !ok {
			t.Errorf("%s is not in API", m.Name)
		}
	}
}
