package nomadtest

import (
	"reflect"
	"testing"

	"github.com/tealdeploy/teal/agent/nomad"
)

func TestFake(t *testing.T) {
	Contract(t, func(t *testing.T) Subject { return Subject{Client: New().Client("agent")} })
}

// What the client can ask of Nomad, and no contract knows, is tested on the fake
// alone, which may be wrong.
func TestTheContractNamesEveryMethod(t *testing.T) {
	contract, real := reflect.TypeFor[API](), reflect.TypeFor[*nomad.Client]()
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
