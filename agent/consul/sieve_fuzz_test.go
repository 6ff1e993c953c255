package consul

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/hashicorp/consul/api"
)

// FuzzSieve: of whatever Consul, or who is in its place, answers for a list of entries,
// those are seen that the api package would see, in order, each under the name and
// index by which it was asked whether it is known; anything but one list is an error,
// and nothing is seen of what is no list.
func FuzzSieve(f *testing.F) {
	a, b := router("a", 61), router("b", 62)
	for _, seed := range []string{"[" + a + "," + b + "]\n", "[]", "null", "", "{}", a, "5", `"x"` + a, "[" + a, "[" + a + "," + b + "}", "[" + a + "]]", "[" + a + "][" + b + "]",
		"[null," + a + "]", "[5]", `[{"Name":"a","ModifyIndex":-1}]`, `[{"Kind":"service-router","Name":"a","Name":"b"}]`, `[{"Kind":"what","Name":"a"}]`,
		`[{"kind":"service-router","name":"\u001b","Routes":[null,{"Match":{"HTTP":null}}]}]`, "[" + a + ",,]", `[{"Kind":"service-resolver","Subsets":{"x":null},"Failover":{"*":{"Targets":[null]}}}]`} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, body []byte, slowly bool) {
		type asked struct {
			name     string
			modified uint64
		}
		var heads []asked
		var seen []api.ConfigEntry
		s := sieve{
			known: func(name string, modified uint64) bool {
				heads = append(heads, asked{name, modified})
				return name == "known"
			},
			see: func(e api.ConfigEntry) { seen = append(seen, e) },
		}
		from := iotest.DataErrReader(bytes.NewReader(body))
		if slowly {
			from = iotest.OneByteReader(bytes.NewReader(body))
		}
		err := s.all(from)

		var list []json.RawMessage
		whole := json.Unmarshal(body, &list) == nil
		if err == nil && !whole {
			t.Fatalf("%q is taken for a list", body)
		}
		if begin := bytes.TrimLeft(body, " \t\r\n"); len(seen) > 0 && (len(begin) == 0 || begin[0] != '[') {
			t.Fatalf("of %q is seen %v", body, seen)
		}
		if err != nil || !whole {
			return
		}
		if len(heads) != len(list) {
			t.Fatalf("asked for %d of %d", len(heads), len(list))
		}
		for i, text := range list {
			if heads[i].name == "known" {
				continue
			}
			want, err := api.DecodeConfigEntryFromJSON(text)
			if err != nil || len(seen) == 0 {
				t.Fatalf("%s: %v, and %d seen", text, err, len(seen))
			}
			got := seen[0]
			seen = seen[1:]
			if x, y := encoded(t, got), encoded(t, want); x != y {
				t.Fatalf("saw %s, want %s", x, y)
			}
			once := strings.Count(strings.ToLower(string(text)), `"name"`) == 1 && strings.Count(strings.ToLower(string(text)), `"modifyindex"`) <= 1 && !bytes.Contains(text, []byte(`\u`))
			if once && (got.GetName() != heads[i].name && strings.Contains(string(text), `"Name"`) || got.GetModifyIndex() != heads[i].modified && strings.Contains(string(text), `"ModifyIndex"`)) {
				t.Fatalf("asked for %+v, saw %s", heads[i], encoded(t, got))
			}
		}
		if len(seen) > 0 {
			t.Fatalf("saw %d more", len(seen))
		}
	})
}

func encoded(t *testing.T, e api.ConfigEntry) string {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// A list that Consul sends is one list and nothing else.
func TestWhatIsNoListOfEntries(t *testing.T) {
	for _, body := range []string{`"x"` + router("a", 61), "5 " + router("a", 61), "[" + router("a", 61) + "]]", "{}", ""} {
		err := sieve{func(string, uint64) bool { return true }, nil}.all(strings.NewReader(body))
		if err == nil {
			t.Errorf("%s is taken for a list", body)
		}
	}
}
