package rollback_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

var update = flag.Bool("update", false, "write the decisions into the incidents")

// Incidents are files under testdata/incidents: what happened, and behind the
// dashes what was decided. The head is the watch block's triggers and how many
// instances are expected; then each line is one look, or one a second:
//
//	3s       a=passing,+97,+3  b=critical
//	4s..44s  a=passing,!       b=passing,!
//
// An instance has its health, then by how much its counters of good and bad
// requests have grown (without a plus: where they stand), "!" when its metrics
// could not be read, or nothing when nobody asked for metrics. An instance that
// is not named is not in the catalog. "consul-away" stands for Consul. Looks before
// 0s, the cutover, are at the previous colour: "-30s..-1s p=passing,+97,+3".
func TestIncidents(t *testing.T) {
	paths, err := filepath.Glob("testdata/incidents/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no incidents: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { incident(t, path) })
	}
}

// peers are what others do with metrics that are away, empty or zero: by the incident
// that it is, where it was seen.
var peers = map[string]string{
	"peers-metrics-away-40s":       "Argo Rollouts",
	"peers-idle-service":           "Flagger #1035",
	"peers-zero-baseline":          "spinnaker #5622",
	"peers-zero-baseline-by-ratio": "spinnaker #5622",
}

// Each of their failures is an incident here, which names it and is decided the other
// way.
func TestPeersFailuresAreIncidents(t *testing.T) {
	paths, err := filepath.Glob("testdata/incidents/peers-*.txt")
	if err != nil || len(paths) != len(peers) {
		t.Errorf("%d incidents of peers, and %d are listed: %v", len(paths), len(peers), err)
	}
	for name, seen := range peers {
		text, err := os.ReadFile(filepath.Join("testdata/incidents", name+".txt"))
		if err != nil {
			t.Error(err)
			continue
		}
		story, decided, _ := strings.Cut(string(text), "\n----\n")
		if !strings.Contains(story, "# PEERS: ") || !strings.Contains(story, seen) {
			t.Errorf("%s does not say that it was seen in %s", name, seen)
		}
		if back := strings.Contains(decided, " bad "); back != strings.HasPrefix(name, "peers-zero-baseline") {
			t.Errorf("%s: it is taken back: %t", name, back)
		}
	}
}

func incident(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	story, want, ok := strings.Cut(string(raw), "\n----\n")
	if !ok {
		t.Fatal("no dashes")
	}
	s := stage{t: t, counters: map[string][2]float64{}}
	var head []string
	var w *rollback.Watch
	var out strings.Builder
	last := ""
	for line := range strings.Lines(story) {
		line = strings.TrimSpace(line)
		fields := strings.Fields(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case fields[0] == "expected":
			s.expected = s.number(fields[1])
			w = rollback.NewWatch(triggers(t, strings.Join(head, "\n")))
			continue
		case w == nil:
			head = append(head, line)
			continue
		}
		from, to, many := strings.Cut(fields[0], "..")
		first := s.duration(from)
		end := first
		if many {
			end = s.duration(to)
		}
		for at := first; at <= end; at += time.Second {
			if at < 0 {
				w.Prepare(s.before(at, fields[1:]))
				continue
			}
			d := w.Observe(s.look(at, fields[1:]))
			if now := d.Verdict.String() + d.Trigger; now != last {
				last = now
				fmt.Fprintf(&out, "%s %s %s%s\n", at, d.Verdict, map[bool]string{true: d.Trigger + ": "}[d.Trigger != ""], d.Reason)
			}
			s.end = d
		}
	}
	fmt.Fprintf(&out, "end: %s %s\n", s.end.Verdict, s.end.Reason)
	for _, u := range w.Unable() {
		fmt.Fprintf(&out, "cannot tell: %s\n", unable(u))
	}
	if *update {
		if err := os.WriteFile(path, []byte(story+"\n----\n"+out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if out.String() != want {
		t.Errorf("decided:\n%s\nwant:\n%s", out.String(), want)
	}
}

// stage is what instances have counted so far.
type stage struct {
	t        *testing.T
	expected int
	counters map[string][2]float64
	previous []deployment.Instance // as they were last
	end      rollback.Decision
}

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// before is a look at the previous colour, while it serves.
func (s *stage) before(at time.Duration, fields []string) rollback.Observation {
	s.t.Helper()
	o := s.look(at, fields)
	s.previous = o.Active
	return rollback.Observation{At: o.At, Previous: o.Active, PreviousScrapes: o.Scrapes}
}

func (s *stage) look(at time.Duration, fields []string) rollback.Observation {
	s.t.Helper()
	o := rollback.Observation{At: began.Add(at), Expected: s.expected, Previous: s.previous}
	for _, field := range fields {
		if field == "consul-away" {
			o.HealthErr = errors.New("no cluster leader")
			continue
		}
		id, rest, _ := strings.Cut(field, "=")
		parts := strings.Split(rest, ",")
		o.Active = append(o.Active, deployment.Instance{ID: id, Node: "n" + id, Health: deployment.Health(parts[0])})
		if len(parts) == 1 {
			continue
		}
		scrape := rollback.Scrape{Instance: id, At: o.At}
		if parts[1] == "!" {
			scrape.Err = errors.New("no whole answer within 1s")
		} else {
			scrape.Families = map[string]rollback.Family{"http_requests_total": s.count(id, parts[1], parts[2])}
		}
		if o.Scrapes == nil {
			o.Scrapes = map[string][]rollback.Scrape{}
		}
		o.Scrapes["/metrics"] = append(o.Scrapes["/metrics"], scrape)
	}
	return o
}

// count makes the two series; "-" leaves one out.
func (s *stage) count(id string, texts ...string) rollback.Family {
	s.t.Helper()
	var family rollback.Family
	values := s.counters[id]
	for i, code := range []string{"200", "500"} {
		text := texts[i]
		if text == "-" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			s.t.Fatal(err)
		}
		if strings.HasPrefix(text, "+") {
			n += values[i]
		}
		family = append(family, rollback.Series{Labels: map[string]string{"code": code, "method": "GET"}, Value: n})
		if n == n {
			values[i] = n
		}
	}
	s.counters[id] = values
	return family
}

func (s *stage) duration(text string) time.Duration {
	s.t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s *stage) number(text string) int {
	s.t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// decode reads a watch block's triggers.
func decode(src string) ([]rollback.Named, hcl.Diagnostics) {
	file, diags := hclsyntax.ParseConfig([]byte(src), "watch.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		return nil, diags
	}
	content, diags := file.Body.Content(&hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "trigger", LabelNames: []string{"kind", "name"}}}})
	var out []rollback.Named
	for _, block := range content.Blocks {
		named, more := rollback.DecodeNamed(block, nil)
		out, diags = append(out, named), append(diags, more...)
	}
	return slices.Clip(out), diags
}

func triggers(t *testing.T, src string) []rollback.Named {
	t.Helper()
	out, diags := decode(src)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return out
}
