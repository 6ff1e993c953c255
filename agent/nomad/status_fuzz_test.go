package nomad

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/redact"
)

// FuzzEvent: whatever comes down Nomad's event stream, it is about one job, by its own
// name or by the event's, or about none.
func FuzzEvent(f *testing.F) {
	for _, seed := range []string{
		`{"Topic":"Job","Type":"JobRegistered","Key":"api","FilterKeys":["default"],"Index":9,"Payload":{"Job":{"ID":"api","Namespace":"default","Version":3}}}`,
		`{"Type":"JobDeregistered","Key":"api","FilterKeys":["a","default"],"Payload":{"Job":null}}`,
		`{"Key":"api","Payload":{"Job":{"ID":null,"TaskGroups":[null,{"Tasks":[null]}]}}}`, `{"Key":"api","Payload":{"Job":[]}}`, `{"Payload":null}`, `{}`,
		`{"Index":18446744073709551615,"FilterKeys":[],"Payload":{"Job":{"ID":"\u001b[2J"}}}`, `{"Key":"api","Payload":{"job":{"id":"other"}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var e api.Event
		if json.Unmarshal(raw, &e) != nil {
			return
		}
		got := jobEvent(e)
		if got.Index != e.Index || got.Type != e.Type {
			t.Fatalf("%+v of %s", got, raw)
		}
		switch {
		case got.Job == nil && got.ID != e.Key:
			t.Fatalf("%q is gone, of an event about %q", got.ID, e.Key)
		case got.Job != nil && got.Job.ID != nil && got.ID != *got.Job.ID, got.Job != nil && got.Job.ID == nil && got.ID != e.Key:
			t.Fatalf("%q, of an event about %q with %s", got.ID, e.Key, raw)
		}
	})
}

// FuzzStatus: whatever Nomad says of a job, its allocations, rollout and evaluations,
// no more of it is healthy than runs, it is whole only if all that was asked for is,
// and what is told of it is one bounded printable line.
func FuzzStatus(f *testing.F) {
	job, allocs, d := running()
	seed := func(job, allocs, d, evals any) {
		var in [4][]byte
		for i, v := range []any{job, allocs, d, evals} {
			in[i], _ = json.Marshal(v)
		}
		f.Add(in[0], in[1], in[2], in[3])
	}
	seed(job, allocs, d, nil)
	allocs[0].ClientStatus = "failed"
	allocs[0].TaskStates = map[string]*api.TaskState{"web\x1b": {Failed: true, Restarts: 1<<64 - 1, Events: []*api.TaskEvent{nil,
		{Type: api.TaskTerminated, DisplayMessage: "\x1b[2J\nexit\u202e" + strings.Repeat("é", 900), Details: map[string]string{"exit_code": "1", "oom_killed": "true"}}}}, "x": nil}
	seed(job, allocs, d, []*api.Evaluation{nil, {Status: "blocked", FailedTGAllocs: map[string]*api.AllocationMetric{"web": {NodesAvailable: map[string]int{"dc\n1": 0}}, "x": nil}}})
	seed(map[string]any{"TaskGroups": []any{nil, map[string]any{"Count": -5}, map[string]any{"Name": nil, "Count": 9223372036854775807}}}, []any{nil, map[string]any{"ClientStatus": "running", "DesiredStatus": "run"}}, nil, nil)
	seed(map[string]any{"Status": "dead", "Stop": true}, nil, map[string]any{"Status": "failed", "StatusDescription": "\x1b[2J"}, []any{map[string]any{"Status": "failed", "StatusDescription": "\u009b"}})
	f.Fuzz(func(t *testing.T, rawJob, rawAllocs, rawRollout, rawEvals []byte) {
		var job *api.Job
		var allocs []*api.AllocationListStub
		var rollout *api.Deployment
		var evals []*api.Evaluation
		for _, in := range []struct {
			raw  []byte
			into any
		}{{rawJob, &job}, {rawAllocs, &allocs}, {rawRollout, &rollout}, {rawEvals, &evals}} {
			if json.Unmarshal(in.raw, in.into) != nil {
				return
			}
		}
		s := Status(job, allocs, rollout, evals)
		if again := Status(job, allocs, rollout, evals); !reflect.DeepEqual(s, again) {
			t.Fatalf("first %+v\nthen %+v", s, again)
		}
		switch {
		case s.Healthy > s.Running || s.Running+s.Failed > len(allocs) || s.Complete > len(allocs):
			t.Fatalf("of %d allocations: %+v", len(allocs), s)
		case s.Whole() && (job == nil || s.Stopped || s.Desired < 1 || s.Healthy < s.Desired || s.Dead == "the job is stopped"):
			t.Fatalf("whole: %+v", s)
		case (s.Describe() == "") != (s.Whole() || !s.Exists && s.Dead == ""):
			t.Fatalf("%q of %+v", s.Describe(), s)
		}
		said := []string{s.Describe()}
		for _, a := range s.Allocs {
			said = append(said, a.Failures...)
		}
		all := ends(allocs)
		for i, end := range all {
			if i > 0 && end.Failed && !all[i-1].Failed {
				t.Fatalf("a failed one after a good one: %+v", all)
			}
			said = append(said, end.Words)
		}
		for _, p := range s.Placement {
			_ = p.String()
		}
		for _, text := range said {
			if !utf8.ValidString(text) || len(text) > 2*maxWords {
				t.Fatalf("%d bytes: %q", len(text), text)
			}
		}
		if text := s.Describe(); text != redact.Line(text) {
			t.Fatalf("no printable line: %q", text)
		}
	})
}
