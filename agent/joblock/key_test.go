package joblock

import (
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

func TestParse(t *testing.T) {
	for value, want := range map[string]Key{
		"blue":      {Owner: deployment.Blue},
		" green\n":  {Owner: deployment.Green},
		"none":      {Owner: deployment.None},
		"":          {Owner: deployment.None, Garbled: "(empty)"},
		"Blue":      {Owner: deployment.None, Garbled: "Blue"},
		"blue none": {Owner: deployment.None, Garbled: "blue none"},
	} {
		want.Index = 7
		if got := Parse(&api.KVPair{Value: []byte(value), ModifyIndex: 7}); got != want {
			t.Errorf("%q: %+v, want %+v", value, got, want)
		}
	}
	if got := Parse(nil); got.Owner != deployment.None || got.Index != 0 || got.Garbled != "" {
		t.Errorf("missing: %+v", got)
	}
}

func TestOps(t *testing.T) {
	keys := kv.NewKeys("")
	for _, c := range []struct {
		is   Key
		to   deployment.Colour
		verb api.KVOp // empty: refused
	}{
		{Key{Owner: deployment.Blue, Index: 3}, deployment.Green, ""},
		{Key{Owner: deployment.Green, Index: 3}, deployment.Blue, ""},
		{Key{Owner: deployment.Blue, Index: 3}, deployment.None, api.KVCAS},
		{Key{Owner: deployment.None, Index: 3}, deployment.Green, api.KVCAS},
		{Key{Owner: deployment.None}, deployment.None, api.KVCAS},
		{Key{Owner: deployment.None, Index: 3, Garbled: "x"}, deployment.None, api.KVCAS},
		// What is there already is not written: that would be a new token.
		{Key{Owner: deployment.Blue, Index: 3}, deployment.Blue, api.KVCheckIndex},
		{Key{Owner: deployment.None, Index: 3}, deployment.None, api.KVCheckIndex},
	} {
		ops, err := c.is.Ops(keys, "api", c.to)
		if c.verb == "" {
			if err == nil {
				t.Errorf("%+v to %s is not refused", c.is, c.to)
			}
			continue
		}
		if err != nil || len(ops) != 1 || ops[0].Verb != c.verb || ops[0].Index != c.is.Index || ops[0].Key != "teal/services/api/job-processor-leader" {
			t.Errorf("%+v to %s: %v %v", c.is, c.to, ops, err)
		}
		if c.verb == api.KVCAS && string(ops[0].Value) != c.to.String() {
			t.Errorf("%+v to %s writes %q", c.is, c.to, ops[0].Value)
		}
	}
}

func TestEdited(t *testing.T) {
	for _, c := range []struct {
		is    Key
		wrote deployment.Colour
		want  bool
	}{
		{Key{Owner: deployment.Blue, Index: 1}, deployment.Blue, false},
		{Key{Owner: deployment.None, Index: 1}, deployment.None, false},
		{Key{Owner: deployment.None, Index: 1}, "", false},
		{Key{Owner: deployment.None}, deployment.None, false},
		{Key{Owner: deployment.None}, deployment.Blue, true},
		{Key{Owner: deployment.Green, Index: 1}, deployment.Blue, true},
		{Key{Owner: deployment.None, Index: 1, Garbled: "x"}, deployment.None, true},
	} {
		if got := c.is.Edited(c.wrote); (got != "") != c.want {
			t.Errorf("%+v after writing %s: %q", c.is, c.wrote, got)
		}
	}
}

func TestAForeignWorkersLeaseIsBounded(t *testing.T) {
	for value, want := range map[string]string{
		`{"lease":"30s"}`: "30s", `{"lease":"9h"}`: "1m0s", `{"lease":"-1s"}`: "10s", `{}`: "10s", `garbage`: "10s", ``: "10s",
	} {
		if got := ParseWorker([]byte(value)).lease().String(); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
}
