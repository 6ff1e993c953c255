package rollback_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// FuzzDecode: whatever a trigger's block holds, it is refused with a reason or
// can be used and identified.
func FuzzDecode(f *testing.F) {
	f.Add("errors", "above = 0.05\nmin_requests = 50")
	f.Add("errors", "metric = \"x_total\"\nlabel = \"status\"\nbad = \"5..|4..\"\nwindow = \"1m\"\npath = \"/m?x=y\"\nport = 9100")
	f.Add("errors", "bad = \"a)(b\"\nport = \"metrics\"")
	f.Add("consul-health", "min_passing = 0.7\nfor = \"0s\"")
	f.Add("consul-health", "min_passing = 1/0")
	f.Add("latency", "quantile = 0.5\nabove = \"1s\"\nunit = \"ms\"")
	f.Add("volume", "below = 1\nabove = 2\nwhere = { a = \"{colour}\" }\ncallers = [\"web\"]\nport = 1")
	f.Add("prometheus", "url = \"http://p\"\nquery = \"up\"\nratio = 2\nrange = \"1m\"")
	f.Add("http-json", "url = \"https://p\"\npath = \"a.*\"\nabove = 1\nheader_files = { A = \"/b\" }")
	f.Add("kv", "key = \"a/{version}\"")
	f.Add("nomad", "restarts = 0")
	f.Fuzz(func(t *testing.T, kind, body string) {
		if strings.ContainsAny(kind, "\"\\$%\n") {
			return
		}
		named, diags := decode("trigger \"" + kind + "\" \"n\" {\n" + body + "\n}")
		if diags.HasErrors() || len(named) != 1 {
			return
		}
		text, err := json.Marshal(named[0])
		if err != nil || !json.Valid(text) {
			t.Fatalf("%s: %v", text, err)
		}
		trigger := named[0].Trigger
		if len(trigger.Sources()) != len(trigger.Families()) {
			t.Fatalf("families %v of sources %v", trigger.Families(), trigger.Sources())
		}
		if d := rollback.NewWatch(named).Observe(rollback.Observation{At: began}); d.Verdict == rollback.Bad && !strings.Contains(body, "for") {
			t.Fatalf("bad, having seen nothing: %+v", d)
		}
	})
}

// FuzzObserve: whatever is seen of a colour, and in whatever order, there is
// no verdict without evidence, figures are figures, and the same again decides
// the same again.
func FuzzObserve(f *testing.F) {
	f.Add([]byte("\x05\x00\x01\x02\x03\x04\x05\x06\x07"), false)
	f.Add([]byte(strings.Repeat("\x11\x40\x80\xc0\xff\x03", 20)), false)
	f.Add([]byte(strings.Repeat("\xff\x01\x02\x70", 20)), true)
	f.Add([]byte(strings.Repeat("\x18\x01\x16\xf0\x01\x00\x60\x20\x00", 30)), false)
	f.Fuzz(func(t *testing.T, in []byte, blind bool) {
		run := func() []rollback.Decision {
			w := rollback.NewWatch(triggers(t, "trigger \"errors\" \"e\" {\nmin_requests = 3\n}"))
			r := reader{in: in}
			at, everServed := began, false
			var out []rollback.Decision
			for len(r.in) > 0 && len(out) < 200 {
				at = at.Add(time.Duration(r.next()-20) * time.Second / 4)
				o := r.observation(at, blind)
				if at.Second()%7 == 0 {
					w.Prepare(o)
				}
				d := w.Observe(o)
				for key, value := range d.Figures {
					if math.IsNaN(value) || math.IsInf(value, 0) || value < 0 {
						t.Fatalf("%s is %v: %+v", key, value, d)
					}
					if strings.HasSuffix(key, "rate") && value > 1 {
						t.Fatalf("%s is %v: %+v", key, value, d)
					}
				}
				if d.Reason == "" {
					t.Fatalf("no reason: %+v", d)
				}
				if blind && (d.Verdict == rollback.Fine || d.Trigger == "e") {
					t.Fatalf("without a metric ever read: %+v", d)
				}
				if o.HealthErr != nil && d.Trigger == rollback.HealthKind {
					t.Fatalf("without Consul: %+v", d)
				}
				serving := 0
				for _, i := range o.Active {
					if i.Serving() {
						serving++
					}
				}
				if everServed && serving == 0 && o.HealthErr == nil && len(o.Active) == 0 && d.Verdict != rollback.Bad {
					t.Fatalf("everybody gone and %s: %+v", d.Verdict, d)
				}
				everServed = everServed || serving > 0 && o.HealthErr == nil
				out = append(out, d)
			}
			return out
		}
		if first, again := run(), run(); !reflect.DeepEqual(first, again) {
			t.Fatalf("first %+v\nthen %+v", first, again)
		}
	})
}

// reader makes observations of bytes.
type reader struct{ in []byte }

func (r *reader) next() int {
	if len(r.in) == 0 {
		return 0
	}
	b := r.in[0]
	r.in = r.in[1:]
	return int(b)
}

func (r *reader) observation(at time.Time, blind bool) rollback.Observation {
	o := rollback.Observation{At: at, Expected: r.next() % 5}
	how := r.next()
	if how&1 != 0 {
		o.HealthErr = errors.New("away")
	}
	if how&2 != 0 {
		o.Scrapes = map[string][]rollback.Scrape{"/metrics": {}}
	}
	if how&4 != 0 {
		o.Previous = []deployment.Instance{{ID: "z", Health: deployment.Passing}}
		o.PreviousScrapes = map[string][]rollback.Scrape{"/metrics": {{Instance: "z", At: at, Families: map[string]rollback.Family{
			"http_requests_total": {series(r.value(), "code", "200"), series(r.value(), "code", "500")}}}}}
	}
	for range how >> 4 % 5 {
		b := r.next()
		id := string(rune('a' + b%4))
		o.Active = append(o.Active, deployment.Instance{ID: id, Health: []deployment.Health{deployment.Passing, deployment.Critical, deployment.Warning, ""}[b>>2%4]})
		s := rollback.Scrape{Instance: id, At: at.Add(-time.Duration(b>>6) * time.Second)}
		if blind || b&16 != 0 {
			s.Err = errors.New("away")
		} else {
			s.Families = map[string]rollback.Family{"http_requests_total": {series(r.value(), "code", "200"), series(r.value(), "code", "500"), series(r.value(), "x", "y")}}
		}
		if o.Scrapes != nil {
			o.Scrapes["/metrics"] = append(o.Scrapes["/metrics"], s)
		}
	}
	return o
}

func (r *reader) value() float64 {
	switch b := r.next(); b {
	case 255:
		return math.NaN()
	case 254:
		return math.Inf(1)
	case 253:
		return math.Inf(-1)
	case 252:
		return math.MaxFloat64
	case 251:
		return -1
	case 250:
		return 1 << 53
	default:
		return float64(b)
	}
}
