package deployment

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What a watch came to stays on record with its figures, also when a person
// accepted what it could not tell, and however much was said.
func TestVerdictsAreKept(t *testing.T) {
	p := after(t, "adopt(1.0.0) begin(2.0.0) planned launched gates-pass routed")
	step := func(ev Event) {
		t.Helper()
		ev.At = p.at
		next, _, err := Step(p.s, ev)
		if err != nil {
			t.Fatal(err)
		}
		p.s = next
	}
	step(Event{Kind: Hold, By: "teal", Reason: "not seen enough", OnResume: WatchPass})
	step(Event{Kind: Resume, By: "alice", Reason: "looked myself"})
	many := map[string]string{}
	for n := range 3 * maxFigures {
		many[fmt.Sprintf("f%03d", n)] = strings.Repeat("9", 10*maxFigure)
	}
	step(Event{Kind: Trigger, By: "teal", Reason: strings.Repeat("long ", maxWords), Figures: many, Detected: p.at.Add(-time.Second)})

	got := p.s.Deployment.Verdicts
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	if v := got[0]; v.Verdict != "accepted" || v.By != "alice" || v.State != Watching || v.Reason != "looked myself" || !v.At.Equal(p.at) {
		t.Errorf("%+v", v)
	}
	if v := got[1]; v.Verdict != "bad" || v.State != Soaking || len(v.Figures) != maxFigures || len(v.Reason) > maxWords+4 || len(v.Figures["f000"]) > maxFigure+4 {
		t.Errorf("%s in %s with %d figures", v.Verdict, v.State, len(v.Figures))
	}
	for range 3 * maxVerdicts {
		p.s.Deployment.judge("passed", Event{At: p.at})
	}
	if n := len(p.s.Deployment.Verdicts); n != maxVerdicts {
		t.Errorf("%d verdicts are kept", n)
	}
}

// A record of before there were verdicts is as good as ever.
func TestOlderRecordHasNoVerdicts(t *testing.T) {
	s, err := Decode("api", []byte(`{"format":1,"name":"api","active":"green","deployment":{"id":"d1","state":"watching","from":"blue","to":"green"}}`))
	if err != nil || s.Deployment.Verdicts != nil {
		t.Fatalf("%+v, %v", s.Deployment, err)
	}
	next, _, err := Step(s, Event{Kind: WatchPass, By: "teal", Reason: "all is well", Figures: map[string]string{"errors": "0"}})
	if err != nil || len(next.Deployment.Verdicts) != 1 || next.Deployment.Verdicts[0].Figures["errors"] != "0" {
		t.Errorf("%+v, %v", next.Deployment.Verdicts, err)
	}
	if s.Deployment.Verdicts != nil {
		t.Error("the service passed in was changed")
	}
}

// Two steps from one service share nothing.
func TestVerdictsAreNotShared(t *testing.T) {
	p := after(t, "adopt(1.0.0) begin(2.0.0) planned launched gates-pass routed")
	p.s.Deployment.Verdicts = make([]Verdict, 0, 4)
	one, _, err := Step(p.s, Event{Kind: WatchPass, At: p.at})
	two, _, err2 := Step(p.s, Event{Kind: Trigger, At: p.at})
	if err != nil || err2 != nil || one.Deployment.Verdicts[0].Verdict != "passed" || two.Deployment.Verdicts[0].Verdict != "bad" {
		t.Errorf("%v %v, %v %v", one.Deployment.Verdicts, err, two.Deployment.Verdicts, err2)
	}
}
