package joblock

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// FuzzWorker: whatever a worker's key holds, it counts as a worker, nobody is
// made to wait for it longer than is documented, and what is written of it is
// read the same.
func FuzzWorker(f *testing.F) {
	for _, seed := range []string{"", "null", "{}", "x", `{"host":"a","pid":1,"token":7,"since":"2026-11-25T00:00:00Z","lease":"15s"}`,
		`{"lease":"-1s"}`, `{"lease":"2540400h"}`, `{"lease":15}`, `{"lease":"1s","stop":true}`, `{"pid":-9223372036854775808}`, `{"token":-1}`, `{"since":"9999-12-31T23:59:59Z"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		before := bytes.Clone(value)
		w := ParseWorker(value)
		if !bytes.Equal(before, value) {
			t.Fatal("the value was changed in place")
		}
		if l := w.lease(); l <= 0 || l > MaxLease {
			t.Fatalf("%q is waited for %s", value, l)
		}
		text := w.Value()
		if again := ParseWorker(text); !bytes.Equal(again.Value(), text) {
			t.Fatalf("%s is read as %s", text, again.Value())
		}
		if !json.Valid(value) && w.Stop {
			t.Fatalf("%q is no JSON and stops a worker", value)
		}
	})
}

// FuzzKey: whatever the key holds, nobody owns the jobs but the colour that is
// written there, and anything else is told of.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{"blue", " green\n", "none", "", "Blue", "blue green", "\x00blue", "\ufeffblue", "{\"owner\":\"blue\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		k := Parse(&api.KVPair{Value: value, ModifyIndex: 3})
		switch written := strings.TrimSpace(string(value)); {
		case k.Index != 3:
			t.Fatalf("%q: index %d", value, k.Index)
		case k.Owner.Valid() && (written != string(k.Owner) || k.Garbled != ""):
			t.Fatalf("%q gives the jobs to %s, garbled %q", value, k.Owner, k.Garbled)
		case !k.Owner.Valid() && k.Owner != deployment.None:
			t.Fatalf("%q gives the jobs to %q", value, k.Owner)
		case k.Owner == deployment.None && (k.Garbled == "") != (written == string(deployment.None)):
			t.Fatalf("%q: garbled %q", value, k.Garbled)
		}
	})
}
