package controller

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	"github.com/hashicorp/go-hclog"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/redact"
	"github.com/tealdeploy/teal/jobspec"
	"github.com/tealdeploy/teal/rollback"
)

// FuzzDrift: whatever job an event brings, and whatever the record says that should
// run, it is told in one way only whether somebody else was at it, and a job that is as
// the record says is left alone.
func FuzzDrift(f *testing.F) {
	record := `{"name":"api","active":"blue","managed":true,"slots":{"blue":{"job":"api-blue","hash":"h","counts":{"web":2}},"green":{"job":"api","adopted":true,"found":"f","leaving":[{"job":"old"}]}}}`
	for _, job := range []string{`{"ID":"api-blue","Meta":{"teal_hash":"h"},"TaskGroups":[{"Name":"web","Count":3}]}`, `{"ID":"api-blue","Meta":{"teal_hash":"x"}}`, `{"ID":"api-blue","Stop":true}`,
		`{"ID":"api","TaskGroups":[{"Name":"web","Tasks":[{"Env":{"APP_VERSION":"1"}}]}]}`, `{"ID":"api","TaskGroups":[null]}`, `{"ID":"old"}`, `{"ID":"other","Namespace":"a"}`, `{}`, `null`,
		`{"ID":"api-blue","Meta":{"teal_hash":"h"},"TaskGroups":[null,{"Tasks":[null]}]}`} {
		f.Add([]byte(record), []byte(job))
		f.Add([]byte(strings.Replace(record, `"managed":true`, `"deployment":{"state":"launching","from":"blue","to":"green"}`, 1)), []byte(job))
	}
	f.Fuzz(func(t *testing.T, raw, job []byte) {
		rec, err := deployment.Decode("api", raw)
		if err != nil {
			return
		}
		j := new(nomadapi.Job)
		if json.Unmarshal(job, j) != nil {
			return
		}
		l := &loop{svc: "api", rec: rec, log: hclog.NewNullLogger()}
		what := l.drift(j)
		if again := l.drift(j); again != what && len(rec.Slots) < 2 {
			t.Fatalf("%q, then %q", what, again)
		}
		if what != "" && j.ID != nil && !strings.Contains(what, *j.ID) {
			t.Fatalf("%q does not name %q", what, *j.ID)
		}
		// As the record has it, it is as Teal left it.
		for colour, slot := range rec.Slots {
			slot.Hash, slot.Found, slot.Namespace = "h", jobspec.Hash(j, versionOf(j)), value(j.Namespace)
			slot.Job = value(j.ID)
			j.Stop = nil
			if j.Meta == nil {
				j.Meta = map[string]string{}
			}
			j.Meta[jobspec.MetaHash] = "h"
			if slot.Adopted {
				slot.Found = jobspec.Hash(j, versionOf(j))
			}
			l.rec.Slots = map[deployment.Colour]deployment.Slot{colour: slot}
			if what := l.drift(j); what != "" {
				t.Fatalf("%s of %s: %s", job, raw, what)
			}
			other := slot
			other.Hash, other.Found = "another", "another"
			l.rec.Slots = map[deployment.Colour]deployment.Slot{colour: other}
			if l.drift(j) == "" && !l.changing(colour, other) {
				t.Fatalf("%s of %s was registered anew", job, raw)
			}
			l.rec.Slots = map[deployment.Colour]deployment.Slot{colour: slot}
			stop := true
			if j.Stop = &stop; l.drift(j) == "" && !l.changing(colour, slot) {
				t.Fatalf("%s of %s was stopped", job, raw)
			}
			break
		}
	})
}

// FuzzLesson: whatever a record keeps for a baseline, what is believed of it is sound,
// was learned for this very trigger, and is kept again as it was.
func FuzzLesson(f *testing.F) {
	triggers := []rollback.Named{{Kind: "errors", Name: "a", Trigger: rollback.Errors{}}, {Kind: "errors", Name: "b", Trigger: rollback.Errors{}}}
	of := fingerprint(triggers[0])
	for _, past := range []string{`{"requests":10,"errors":1,"each":{"i":{"requests":10,"errors":1}}}`, `{"requests":-1}`, `{"figures":[1e308,-1e308]}`, `{"bounds":[{"le":-1,"past":{}}]}`, `null`, `[]`} {
		f.Add([]byte(fmt.Sprintf(`{"a":{"of":%q,"past":%s},"b":{"of":"x","past":%s}}`, of, past, past)))
	}
	f.Add([]byte("null"))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := remembered(text, triggers)
		for name, p := range got {
			var all map[string]learned
			if err := json.Unmarshal(text, &all); err != nil || !p.Sound() || all[name].Of == "" || !slices.ContainsFunc(triggers, func(n rollback.Named) bool { return n.Name == name && fingerprint(n) == all[name].Of }) {
				t.Fatalf("%s is believed of %s", name, text)
			}
		}
		l := newLesson("id", triggers, got)
		if len(l.text) > maxLesson+1000 {
			t.Fatalf("%d bytes are kept", len(l.text))
		}
		for name, p := range remembered(l.text, triggers) {
			x, _ := json.Marshal(p)
			if y, _ := json.Marshal(got[name]); string(x) != string(y) {
				t.Fatalf("%s, and kept again %s", y, x)
			}
		}
	})
}

// FuzzConsents: whatever approvers' keys hold, a consent counts only for exactly what
// waits, from one who is asked, once each, and if it was given after the asking; what
// is noted of it is bounded; and the step table takes what comes of it.
func FuzzConsents(f *testing.F) {
	for _, value := range []string{"h+p", `{"proof":"h+p","why":"good"}`, "h+q", "", "{}", `{"proof":"h+p"}{}`, strings.Repeat("é", 5000), "h+p\x1b[2J", `{"proof":"h+p","why":"` + strings.Repeat("x", 9000) + `"}`} {
		f.Add([]byte(value), uint64(12), []byte("h+p"), uint64(11))
		f.Add([]byte(value), uint64(10), []byte(value), uint64(18446744073709551615))
	}
	f.Fuzz(func(t *testing.T, one []byte, at uint64, two []byte, then uint64) {
		d := deployment.Deployment{ID: "d", State: deployment.Approving, From: deployment.Blue, To: deployment.Green, Candidate: deployment.Candidate{Hash: "h", Policy: "p"},
			Ask: &deployment.Ask{Quorum: 2, Approvers: []string{"alice", "bob", "carol"}, After: 10, Consents: []deployment.Consent{{By: "carol", Index: 5, Void: "early"}}}}
		now := time.Unix(1e9, 0).UTC()
		found := map[string]*consulapi.KVPair{"alice": {Value: one, ModifyIndex: at}, "bob": {Value: two, ModifyIndex: then}, "mallory": {Value: []byte("h+p"), ModifyIndex: 99}}
		events, ask := heed(d, found, now)
		s := deployment.Service{Name: "api", Active: deployment.Blue, Managed: true, Deployment: &d}
		for _, ev := range events {
			next, _, err := deployment.Step(s, ev)
			if err != nil {
				t.Fatalf("%+v: %v", ev, err)
			}
			s = next
			if len(ev.Reason) > 4000 {
				t.Fatalf("%d bytes of a reason", len(ev.Reason))
			}
		}
		for _, c := range ask.Counted() {
			key := found[c.By]
			said := strings.TrimSpace(string(key.Value))
			if strings.HasPrefix(said, "{") {
				var in struct{ Proof string }
				if json.Unmarshal([]byte(said), &in) != nil {
					t.Fatalf("%q counts", key.Value)
				}
				said = in.Proof
			}
			if said != "h+p" || key.ModifyIndex <= 10 || c.Index != key.ModifyIndex || !slices.Contains(ask.Approvers, c.By) {
				t.Fatalf("%q at %d counts: %+v", key.Value, key.ModifyIndex, c)
			}
		}
		givers := map[string]bool{}
		for _, c := range ask.Consents {
			if givers[c.By] || c.By == "mallory" || c.By == "carol" {
				t.Fatalf("consents %+v", ask.Consents)
			}
			givers[c.By] = true
		}
		if ask.Met() != (len(ask.Counted()) == 2) {
			t.Fatalf("met: %v, by %+v", ask.Met(), ask.Consents)
		}
		if again, _ := heed(deployment.Deployment{Candidate: d.Candidate, Ask: &ask}, found, now); len(again) > 0 {
			t.Fatalf("the same keys again are news: %+v", again)
		}
		if text, err := json.Marshal(s); err != nil {
			t.Fatal(err)
		} else if back, err := deployment.Decode("api", text); err != nil || !reflect.DeepEqual(back.Deployment.Ask.Counted(), s.Deployment.Ask.Counted()) {
			t.Fatalf("%s is read as %+v %v", text, back, err)
		}
	})
}

// FuzzLog: of whatever a test wrote, the end is shown from the beginning of a line on,
// unless there is none.
func FuzzLog(f *testing.F) {
	for _, text := range []string{"s3cr3t and\nmore", "one line", "first\n \n", "\n\n", ""} {
		f.Add(text, len(text))
		f.Add(text, 1000)
	}
	f.Fuzz(func(t *testing.T, text string, most int) {
		got := redact.WholeLines(text, most)
		first, rest, _ := strings.Cut(text, "\n")
		switch {
		case !strings.HasSuffix(text, got):
			t.Fatalf("%q is shown of %q", got, text)
		case strings.TrimSpace(text) != "" && strings.TrimSpace(got) == "":
			t.Fatalf("nothing is shown of %q", text)
		case len(text) >= most && strings.TrimSpace(rest) != "" && got != rest:
			t.Fatalf("%q is shown behind %q", got, first)
		case len(text) < most && got != text:
			t.Fatalf("%q is shown of all of %q", got, text)
		}
	})
}
