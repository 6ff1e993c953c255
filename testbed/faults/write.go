package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
)

// Write is one request of an agent that changes something outside it.
type Write struct {
	Name   string // what is written, alike in every run of the same release
	Entry  string // kind/name of the config entry it writes, else empty
	Status int    // of the answer; known After
	Point  Point  // its place in the run, when somebody counts
}

// writeOf says whether a request writes. Whatever is no GET does, but for what
// the servers' documentation gives as a question with a body, and transactions
// that only read.
func writeOf(server, method string, at *url.URL, body []byte) (Write, bool) {
	if method == http.MethodGet || method == http.MethodHead {
		return Write{}, false
	}
	switch path := at.Path; {
	case path == "/v1/jobs/parse", path == "/v1/validate/job", strings.HasSuffix(path, "/plan"):
		return Write{}, false
	case path == "/v1/txn":
		ops, writes := operations(body)
		if !writes {
			return Write{}, false
		}
		return Write{Name: server + " txn " + masked(ops)}, true
	case path == "/v1/config":
		var entry struct{ Kind, Name string }
		_ = json.Unmarshal(body, &entry) // a strange one has no name
		return Write{Name: server + " " + method + " " + masked(path+" "+entry.Kind), Entry: entry.Kind + "/" + entry.Name}, true
	}
	asked := ""
	for _, word := range []string{"acquire", "cas"} {
		if at.Query().Has(word) {
			asked += "?" + word
		}
	}
	return Write{Name: server + " " + method + " " + masked(at.Path) + asked}, true
}

// operations are a transaction's, in words, and whether one of them writes.
func operations(body []byte) (words string, writes bool) {
	var ops []struct{ KV *struct{ Verb, Key string } }
	if err := json.Unmarshal(body, &ops); err != nil {
		return "that cannot be read", true
	}
	var all []string
	for _, op := range ops {
		if op.KV == nil {
			writes = true
			continue
		}
		switch op.KV.Verb {
		case "get", "get-tree", "get-or-empty", "check-index", "check-session", "check-not-exists":
		default:
			writes = true
			if op.KV.Verb == "delete" && strings.Contains(op.KV.Key, "/deployments/") {
				continue // an old record makes room, as soon as there are many
			}
			all = append(all, op.KV.Verb+" "+op.KV.Key)
		}
	}
	return strings.Join(all, ", "), writes
}

// What differs between runs of the same release: IDs, the site and service,
// and which colour is the idle one.
var masks = []struct {
	find *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "ID"},
	{regexp.MustCompile(`/deployments/[^ ,]+`), "/deployments/ID"},
	{regexp.MustCompile(`workers/[a-z]+/[^ ,]+`), "workers/ID"},
	{regexp.MustCompile(`agents/[^ ,]+`), "agents/NAME"},
	{regexp.MustCompile(`deregister/[^ ,]+`), "deregister/NAME"},
	{regexp.MustCompile(`\b(blue|green)\b`), "COLOUR"},
	{regexp.MustCompile(`teal-[a-z0-9-]+/`), ""},
	{regexp.MustCompile(`/job/[^ ,/]+`), "/job/NAME"},
	{regexp.MustCompile(`(services|commands|results)/[a-z0-9-]+/`), ""},
}

func masked(text string) string {
	for _, m := range masks {
		text = m.find.ReplaceAllString(text, m.with)
	}
	return strings.TrimSpace(text)
}

// Point is one write of a release: the how-manieth of its name.
type Point struct {
	Name string
	Nth  int
}

func (p Point) String() string {
	if p.Nth == 1 {
		return p.Name
	}
	return fmt.Sprintf("%s (%d)", p.Name, p.Nth)
}

// counter gives writes their place among those of their name.
type counter struct {
	mu   sync.Mutex
	seen map[string]int
	all  []Point
}

// count gives a write its point, at the first of its moments.
func (c *counter) count(w *Write, m Moment) {
	if m != Before {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[w.Name]++
	w.Point = Point{w.Name, c.seen[w.Name]}
	c.all = append(c.all, w.Point)
}

func (c *counter) points() []Point {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Point(nil), c.all...)
}
