package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// paper is a terminal without colours whose text can be read again.
func paper() (*meta, *bytes.Buffer) {
	var b bytes.Buffer
	screen := newTerminal(&b, &b)
	screen.now, screen.zone = func() time.Time { return time.Unix(1e9, 0) }, time.UTC
	return &meta{term: screen, ctx: context.Background()}, &b
}

// harmless holds what was printed against what a terminal would act upon.
func harmless(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		if unicode.IsControl(r) && r != '\n' || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			t.Fatalf("%q is shown", text)
		}
	}
}

// FuzzHistory: whatever the record of a release holds, in flight or finished, each
// command that shows one ends, and shows printable text; Markdown has no markup that
// is not ours, and JSON is the record again.
func FuzzHistory(f *testing.F) {
	d := takenBack("20261124-2")
	for i := range 2 {
		raw, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		if i == 0 {
			d.State, d.Outcome, d.Ended = deployment.Watching, "", time.Time{}
			d.Ask = &deployment.Ask{Quorum: 2, Approvers: []string{"alice", "bob"}, Consents: []deployment.Consent{{By: "alice", Why: "y"}}}
		}
	}
	for _, seed := range []string{
		`{"id":"\u001b[2J","service":"\u009b1m","state":"\u001b[A","outcome":"\u001b[B","to":"\u001b]0;x\u0007","from":"\u202e","reason":"\u2028"}`,
		`{"state":"watching","to":"green","candidate":{"version":"\u001b","hash":"0123456\u001b[2J89abcdef","policy":"\u001b","by":"\u001b"},"from_version":"\u001b"}`,
		`{"state":"done","gates":[{"kind":"\u001b","name":"|","verdict":"\u001b[2J","figures":{"\u001b":"<b>"}}],"approval":{"by":"\u001b","proof":"\u001b","consents":[{"by":"\u001b","void":"\u001b"}]}}`,
		`{"state":"done","cutover":{"to":"\u001b[1m","by":"\u001b","written":"2026-01-01T00:00:00Z"},"rollback":{"to":"purple","reason":"[x](javascript:y)"},"log":[{"what":"\u001b","figures":{"a":"\u001b"}}]}`,
		`{"state":"done","verdicts":[{"verdict":"\u001b","state":"\u001b","figures":{"errors":"NaN","requests":"-Inf"},"reason":"trigger \u001b: x"}]}`,
		`{"state":"done","started":"9999-12-31T23:59:59-23:00","ended":"0001-01-01T00:00:00+23:00","since":"0000-01-01T00:00:00Z"}`,
		`{"forced":{"by":"\u001b","reason":"<script>"},"weakened":"\u001b","ask":{"quorum":-1,"approvers":["\u001b"],"consents":[{"by":"\u001b"}]},"evict":{}}`,
		`null`, `{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d deployment.Deployment
		if json.Unmarshal(raw, &d) != nil {
			return
		}
		m, out := paper()
		history := &historyCommand{meta: *m}
		history.list([]deployment.Deployment{d, d})
		history.one([]deployment.Deployment{d}, "api", d.ID)
		history.one([]deployment.Deployment{d}, "api", "none")
		r := newReport(d, m.term.now())
		m.term.print("%s", strings.Join(m.term.sheet(r.pages()), "\n"))
		for _, rec := range []deployment.Service{{Name: "api", Active: deployment.Blue, Deployment: &d, Queued: &d.Candidate, Held: d.Forced, Paused: d.Forced, Problem: d.Forced,
			Slots: map[deployment.Colour]deployment.Slot{deployment.Blue: {Version: d.FromVersion, Proof: d.Candidate.Hash + "+" + d.Candidate.Policy}}}, {Name: "api", Queued: &d.Candidate}} {
			shown := rec.Deployment
			for _, v := range []view{&lines{term: m.term, svc: "api"}, &lines{term: m.term, svc: "api", away: true}} {
				v.show(rec, shown)
				v.trouble(errors.New("away"))
				v.show(rec, shown)
			}
			live := &liveView{redraw: redraw{term: m.term}, rec: rec, d: shown, started: true}
			m.term.print("%s", strings.Join(live.lines(), "\n"))
			m.complain(outcome{epitaph(rec, d), exitFailed})
			m.term.print("%s", strings.Join(m.term.portrait(detail{Record: rec}), "\n"))
		}
		harmless(t, out.String())

		md := markdown(r.pages())
		harmless(t, md)
		if strings.ContainsAny(md, "<>") || strings.Contains(strings.ReplaceAll(md, `\]`, ""), "](") || strings.Contains(strings.ReplaceAll(md, "\\`", ""), "`") {
			t.Fatalf("somebody's markup is ours:\n%s", md)
		}
		for _, line := range strings.Split(md, "\n") {
			if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# ") && !strings.HasPrefix(line, "## ") {
				t.Fatalf("%q is a title", line)
			}
		}

		written, err := json.Marshal(d)
		if err != nil {
			return // a moment that RFC 3339 cannot tell
		}
		out.Reset()
		m.document(d)
		harmless(t, out.String())
		var again deployment.Deployment
		if err := json.Unmarshal(out.Bytes(), &again); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if text, _ := json.Marshal(again); string(text) != string(written) {
			t.Fatalf("%s\nis printed as\n%s", written, text)
		}
		out.Reset()
		if m.document(r) != exitOK && d.Started.Year() > 0 && d.Started.Year() < 9999 && d.Ended.Year() > 0 && d.Ended.Year() < 9999 && json.Valid(written) {
			for _, at := range []time.Time{r.Started, d.Ended} {
				if at.Year() < 1 || at.Year() > 9998 {
					return
				}
			}
			t.Fatalf("a report that cannot be printed: %s", out)
		}
	})
}

// FuzzResult: whatever stands in the key of a result, it is taken for the answer to a
// command only if it says so, what is shown of it is printable, and nothing is followed
// or called a success that was not accepted.
func FuzzResult(f *testing.F) {
	for _, seed := range []string{
		`{"index":7,"accepted":true,"reason":"done","at":"2026-01-01T00:00:00Z","by":"a","deployment":"d","output":"line\n\tline"}`,
		`{"index":7,"reason":"\u001b[2J\nno\u202e","output":"\u009b"}`, `{"index":8,"accepted":true}`, `{"index":6,"accepted":true}`, `{"index":-7}`, `{"index":7,"accepted":"yes"}`,
		`{"index":7,"accepted":true}{}`, `{"INDEX":7,"ACCEPTED":true}`, `null`, `[]`, ``, `{"index":18446744073709551615}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		const index = 7
		if _, ok := answer(nil, index); ok {
			t.Fatal("no key is an answer")
		}
		result, ok := answer(&consulapi.KVPair{Value: value}, index)
		if !ok {
			if result != (kv.Result{}) {
				t.Fatalf("no answer, and still %+v", result)
			}
			return
		}
		var said struct{ Index uint64 }
		if json.Unmarshal(value, &said) != nil || said.Index < index {
			t.Fatalf("%q is taken for the answer", value)
		}
		got, err := overtaken(result, index)
		if (err == nil) != (said.Index == index) || err != nil && got != (kv.Result{}) {
			t.Fatalf("%q: %+v %v", value, got, err)
		}
		m, out := paper()
		m.term.print("%s", text(result.Reason))
		m.term.print("%s", lineByLine(result.Output))
		m.report(ordered{Result: result}, outcome{"refused: " + result.Reason, exitRefused})
		m.json = true
		if code := m.report(ordered{Result: result}, outcome{"refused: " + result.Reason, exitRefused}); code != exitRefused {
			t.Fatalf("exit code %d", code)
		}
		harmless(t, out.String())
	})
}

// What somebody with the right to write a record writes into it does not move the
// cursor of whoever looks at it, reorder what stands around it, or make a figure less
// than nothing; and a report as JSON can be had of it.
func TestARecordThatSomebodyElseWrote(t *testing.T) {
	f := newFakeConsul(t)
	s := running()
	s.Finished = []string{"evil"}
	f.record(s)
	f.put(testKeys.Deployment("api", "evil"), `{"id":"evil","service":"\u001b[2J","state":"\u009b2J","outcome":"\u001b[A","to":"\u001b[1m\u202e","ended":"2026-01-01T00:00:00Z",
		"candidate":{"hash":"0123\u001b[2J456789abcdef"},"gates":[{"kind":"http","name":"smoke","verdict":"\u001b[B"}],
		"verdicts":[{"verdict":"bad","figures":{"errors":"NaN","requests":"5"}},{"verdict":"bad","figures":{"errors":"-1","requests":"5"}}]}`)
	for _, args := range [][]string{{"history"}, {"history", "api"}, {"history", "api", "evil"}, {"history", "-json", "api"}, {"report", "api"}, {"report", "-format", "markdown", "api"}, {"report", "-format", "json", "api"}} {
		r := teal(t, args...)
		r.want(t, exitOK, "", "")
		harmless(t, r.out)
		if strings.Contains(r.out, "-9223372036854") || strings.Contains(r.out, "at least NaN") || strings.Contains(r.out, "at least -1") {
			t.Errorf("%v:\n%s", args, r.out)
		}
	}
	if r := teal(t, "history", "api", "\x1b[2J"); r.code != exitError || strings.Contains(r.err, "\x1b") {
		t.Errorf("%d %q", r.code, r.err)
	}
	f.put("teal/services/ap\x1b[2J/state", "{}")
	if r := teal(t, "status", "apo"); strings.Contains(r.err, "\x1b") {
		t.Errorf("a name that is like it: %q", r.err)
	}
}
