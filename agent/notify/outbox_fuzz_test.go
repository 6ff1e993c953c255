package notify

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/redact"
)

// unmetered counts nothing.
type unmetered struct{}

func (unmetered) Notice(string, string) {}
func (unmetered) NoticesWaiting(int)    {}

// FuzzNotice: whatever stands in a notice's key, it is told of the service and under
// the ID that the key has, or left alone; it is written down again as it was read; it
// does not wait for ever; and its title is one line, its text printable.
func FuzzNotice(f *testing.F) {
	good := `{"id":"d.held.1","at":"2026-11-25T10:00:00Z","event":"held","severity":"warning","service":"api","version":"2","reason":"r","figures":{"a":"b"},"incident":"hold","owed_to":["chat","hook"]}`
	for _, seed := range []string{good, "", "null", "{}", "[]", `{"id":"d.held.1","service":"api","owed_to":["chat","chat",""]}`,
		strings.Replace(good, `"held"`, `"%s%d\r\nBcc: x"`, 1), strings.Replace(good, `"2"`, `"\u001b[2J\r\nBcc: x@y"`, 1), strings.Replace(good, "2026-11", "9999-11", 1),
		strings.Replace(good, `"service":"api"`, `"service":"other"`, 1), strings.Replace(good, `"r"`, `"`+strings.Repeat("é\\n", 2000)+`"`, 1),
		strings.Replace(good, `"hold"`, `"what"`, 1), good + good} {
		f.Add("teal/notices/api/d.held.1", []byte(seed))
	}
	f.Add("teal/notices/api/", []byte(good))
	keys := kv.NewKeys("")
	f.Fuzz(func(t *testing.T, key string, value []byte) {
		o := New(Config{Keys: keys, Meter: unmetered{}, Log: hclog.New(&hclog.LoggerOptions{Output: io.Discard})})
		before := string(value)
		o.take(key, value, true)
		if string(value) != before {
			t.Fatal("the value was changed in place")
		}
		w := o.owed[key]
		if w == nil {
			if len(o.owed) > 0 {
				t.Fatalf("%q is owed at another key: %v", key, o.owed)
			}
			return
		}
		if keys.Notice(w.Service, w.ID) != key {
			t.Fatalf("the key %q tells of %q, %q", key, w.Service, w.ID)
		}
		if w.since.After(time.Now()) {
			t.Fatalf("it is owed from %s on, and not given up before", w.since)
		}
		for _, to := range w.To {
			if k, n, since, ok := o.next(to); !ok || k != key || n.ID != w.ID || since != w.since {
				t.Fatalf("%q is owed %q %+v", to, k, n)
			}
		}
		if title := w.Title(); title != redact.Line(title) {
			t.Fatalf("title %q", title)
		}
		for _, part := range strings.Split(w.Text(), "\n") {
			if part != redact.Line(part) {
				t.Fatalf("text %q", part)
			}
		}
		written, err := json.Marshal(w)
		if err != nil {
			return // a moment that RFC 3339 cannot tell
		}
		again := New(o.cfg)
		again.take(key, written, true)
		back, ok := again.owed[key]
		if !ok || !slices.Equal(back.To, w.To) {
			t.Fatalf("%s was read, and is not again", written)
		}
		if twice, _ := json.Marshal(back); string(twice) != string(written) {
			t.Fatalf("%s\nis read as\n%s", written, twice)
		}
	})
}
