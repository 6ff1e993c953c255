package cli

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/notify"
)

// TestContractIsDocumented holds docs/kv.md against the code: every key, verb,
// field, state, outcome and exit code is in it.
func TestContractIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/kv.md")
	if err != nil {
		t.Fatal(err)
	}
	has := func(what, name string) {
		t.Helper()
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("docs/kv.md lacks the %s `%s`", what, name)
		}
	}
	k := kv.NewKeys("")
	for _, key := range []string{
		k.Leader(), k.Agent("<name>"), k.Audit("<name>"), k.Notice("<service>", "<id>"), k.Active("<service>"), k.State("<service>"), k.Deployment("<service>", "<id>"),
		k.JobProcessor("<service>"), k.Workers("<service>", deployment.None) + "<colour>/<id>",
		k.Command("<service>", "<verb>"), k.Result("<service>", "<verb>"),
	} {
		has("key", key)
	}
	for _, v := range kv.Verbs {
		has("verb", string(v))
	}
	for _, s := range deployment.States {
		has("state", string(s))
	}
	for _, o := range []deployment.Outcome{deployment.Succeeded, deployment.RolledBack, deployment.Failed, deployment.Aborted, deployment.Superseded} {
		has("outcome", string(o))
	}
	seen := map[reflect.Type]bool{}
	for _, v := range []any{deployment.Service{}, kv.Command{}, kv.Result{}, kv.AgentInfo{}, kv.AuditHead{}, notify.Notice{}} {
		fields(reflect.TypeOf(v), seen, func(owner, name string) { has("field of "+owner, name) })
	}
	if len(seen) < 12 {
		t.Errorf("only %d types were looked at", len(seen))
	}
	for _, line := range strings.Split(exitCodes, "\n") {
		if f := strings.Fields(line); len(f) > 1 && len(f[0]) == 1 {
			if !strings.Contains(string(text), "| "+f[0]+" | "+f[1]) {
				t.Errorf("docs/kv.md lacks exit code %s", line)
			}
		}
	}
}

// fields visits the JSON names of a struct and of the structs in it.
func fields(t reflect.Type, seen map[reflect.Type]bool, visit func(owner, name string)) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		fields(t.Elem(), seen, visit)
		return
	case reflect.Struct:
	default:
		return
	}
	if t == reflect.TypeFor[time.Time]() || seen[t] {
		return
	}
	seen[t] = true
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			visit(t.Name(), name)
		}
		fields(t.Field(i).Type, seen, visit)
	}
}
