package deployment

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestScenarios plays every file of testdata/scenarios, which read like
// reports of what happened: comments, events, and below the line what each
// event came to. An event is its kind, with what it is about in parentheses:
//
//	begin(2.0.0)       a candidate of that version
//	hold(no answer)    a reason
//	hold(odd|watch-pass)  a reason, and what a resume accepts
//	retired(scale)     what became of the previous colour
//	jobs-moved(green)  a colour
//	need-consent(2 of alice bob)  whose, where approvers are named
//	consent(alice)     an approver's, for what waits
//	consent(alice|too early)  one that does not count, and why
//
// -update writes the part below the line.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			above, below, _ := strings.Cut(string(raw), "----\n")
			p := newPlay()
			for _, word := range words(above) {
				p.play(t, word)
			}
			if *update {
				if err := os.WriteFile(file, []byte(above+"----\n"+p.out.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if p.out.String() != below {
				t.Errorf("%s came to\n%s\nnot\n%s", file, p.out.String(), below)
			}
		})
	}
}

// TestEveryEdgeIsWalked holds the scenarios against the table: an edge nobody
// has thought through is not finished.
func TestEveryEdgeIsWalked(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	walked := map[edge]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		above, _, _ := strings.Cut(string(raw), "----\n")
		p := newPlay()
		for _, word := range words(above) {
			p.play(t, word)
		}
		maps.Copy(walked, p.walked)
	}
	for e, to := range edges {
		if !walked[e] {
			t.Errorf("no scenario walks %s --%s-> %s", e.from, e.ev, to)
		}
	}
}

// words are the events of a scenario, without its comments.
func words(text string) []string {
	text = regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(text, "")
	return regexp.MustCompile(`[a-z-]+(?:\([^)]*\))?`).FindAllString(text, -1)
}

var dawn = time.Date(2026, 3, 1, 6, 0, 0, 0, time.UTC)

// play is a service to which a scenario happens, a minute an event.
type play struct {
	s      Service
	at     time.Time
	n      int
	out    strings.Builder
	walked map[edge]bool
}

func newPlay() *play {
	return &play{
		s:  Service{Format: Format, Name: "api", Active: None, Jobs: JobOwnership{Owner: None}},
		at: dawn, walked: map[edge]bool{},
	}
}

func (p *play) play(t *testing.T, word string) {
	t.Helper()
	kind, about, _ := strings.Cut(strings.TrimSuffix(word, ")"), "(")
	p.at = p.at.Add(time.Minute)
	p.n++
	ev := p.event(t, Kind(kind), about)
	before := p.s
	next, actions, err := Step(p.s, ev)
	if err != nil {
		fmt.Fprintf(&p.out, "%s: refused: %s\n", word, err)
		return
	}
	if before.InFlight() {
		e := edge{before.Deployment.State, ev.Kind}
		if to, ok := edges[e]; ok && to == next.Deployment.State {
			p.walked[e] = true
		}
	}
	p.s = next
	fmt.Fprintf(&p.out, "%s:", word)
	if from, to := stand(before), stand(next); from != to || slices.Contains([]Kind{Void, Begin}, ev.Kind) {
		fmt.Fprintf(&p.out, " %s -> %s", from, to)
	}
	if len(actions) > 0 {
		fmt.Fprintf(&p.out, " %s", actions)
	}
	p.out.WriteByte('\n')
	was := facts(before)
	for _, fact := range facts(next) {
		if !slices.Contains(was, fact) {
			fmt.Fprintf(&p.out, "    %s\n", fact)
		}
	}
}

// event is the event of one word, complete as the controller makes it.
func (p *play) event(t testing.TB, kind Kind, about string) Event {
	t.Helper()
	ev := Event{Kind: kind, At: p.at, By: "teal"}
	version := about
	switch kind {
	case Begin, Switch, Pause, Resume, Approve, Force, Abort, Rollback:
		ev.By = "alice"
	}
	switch kind {
	case Begin, Void, Queue:
		if version == "" && kind == Queue {
			break // it is taken out
		}
		version, policy, ok := strings.Cut(version, "+")
		if !ok {
			policy = "p1"
		}
		ev.Candidate = &Candidate{Version: version, Hash: "h" + version, Policy: policy, Source: "s" + about, Job: "api", Expected: 2, By: "alice"}
		ev.ID = fmt.Sprintf("d%d", p.n)
	case Switch:
		ev.ID, ev.Force = fmt.Sprintf("d%d", p.n), about == "force"
	case Adopt:
		ev.Colour, ev.Route = Blue, &Route{Router: "service-router", Loose: true}
		ev.Slot = &Slot{Job: "api", Version: version, Hash: "h" + version, Expected: 2, Adopted: true, Proof: "adopted"}
	case Enrol, Prepared:
		ev.Route = &Route{Router: "service-router", Prepared: kind == Prepared}
	case Planned:
		if p.s.InFlight() {
			c := p.s.Deployment.Candidate
			ev.Slot = &Slot{Job: fmt.Sprintf("api-%s", p.s.Deployment.To), Version: c.Version, Hash: c.Hash, Expected: c.Expected}
		}
	case Rescaled:
		ev.Colour = p.s.Active
		slot := p.s.Slots[p.s.Active]
		slot.Expected = 5
		ev.Slot = &slot
	case GatesPass, GateFail, NeedConsent, Progress:
		verdict := map[Kind]string{GatesPass: "pass", NeedConsent: "pass", GateFail: "fail", Progress: "hold"}[kind]
		if p.s.InFlight() {
			ev.Gates = []GateRecord{{Kind: "http", Name: "smoke", Verdict: verdict, Proof: p.s.Deployment.Candidate.Proof()}}
		}
		if quorum, who, ok := strings.Cut(about, " of "); ok && kind == NeedConsent {
			n, err := strconv.Atoi(quorum)
			if err != nil {
				t.Fatal(err)
			}
			ev.Ask, about = &Ask{Quorum: n, Approvers: strings.Fields(who)}, ""
		}
	case Consented:
		who, void, _ := strings.Cut(about, "|")
		ev.By, about = who, void
		ev.Consent = &Consent{By: who, At: p.at, Index: uint64(p.n), Void: void}
		if p.s.InFlight() {
			ev.Consent.Proof = p.s.Deployment.Candidate.Proof()
		}
	case Withdraw:
		ev.By, about = about, ""
	case JobsMoved, Emptied:
		c, err := ParseColour(about)
		if err != nil {
			t.Fatal(err)
		}
		ev.Colour = c
	case Retired:
		ev.Then = about
	case Trigger:
		ev.Detected = p.at.Add(-2 * time.Second)
	case Routed, RoutedBack, MoveWritten:
		ev.Written, ev.Digest = p.at.Add(-time.Second), fmt.Sprintf("digest %d", p.n)
	}
	switch kind {
	case LaunchFail, GateFail, Abort, Expire, Supersede, RoutedBack:
		until := p.at.Add(10 * time.Minute)
		ev.KeepUntil = &until
	}
	switch kind {
	case Begin, Switch, Void, Adopt, Retired, Emptied, JobsMoved:
	case Hold:
		reason, onResume, _ := strings.Cut(about, "|")
		ev.Reason, ev.OnResume = reason, Kind(onResume)
	default:
		ev.Reason = about
	}
	return ev
}

// stand is where a service stands, in a word.
func stand(s Service) string {
	switch {
	case s.Deployment == nil:
		return "idle"
	case s.Deployment.State == Done:
		return "done"
	}
	return string(s.Deployment.State)
}

// facts is what a person would want to know of a service.
func facts(s Service) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	serves := "nothing serves"
	if s.Active.Valid() {
		serves = fmt.Sprintf("%s serves %s", s.Active, s.Slots[s.Active].Version)
	}
	add("%s", serves)
	for _, c := range Colours {
		slot, ok := s.Slots[c]
		if !ok {
			add("%s: empty", c)
			continue
		}
		what := fmt.Sprintf("%s: %s as %s, %d instances", c, slot.Version, slot.Job, slot.Expected)
		if slot.Proof == "" {
			what += ", unproven"
		} else {
			what += ", proof " + slot.Proof
		}
		if slot.Scaled {
			what += ", scaled to zero"
		}
		if slot.StopAt != nil {
			what += ", stopped " + clock(*slot.StopAt)
		}
		add("%s", what)
	}
	switch {
	case s.Jobs.Moving():
		add("jobs: %s, on the way to %s", s.Jobs.Owner, s.Jobs.Target)
	default:
		add("jobs: %s", s.Jobs.Owner)
	}
	for name, f := range map[string]*Flag{"paused": s.Paused, "held": s.Held, "problem": s.Problem} {
		if f == nil {
			add("not %s", name)
			continue
		}
		add("%s by %s: %s", name, f.By, f.Reason)
	}
	if s.Queued != nil {
		add("queued: %s", s.Queued.Version)
	} else {
		add("nothing queued")
	}
	if d := s.Deployment; d != nil {
		if d.Evict != nil {
			add("evicts %s", d.Evict.Version)
		}
		for _, g := range d.Gates {
			add("gate %s: %s for %s", g.Name, g.Verdict, g.Proof)
		}
		if len(d.Gates) == 0 {
			add("no gate has passed")
		}
		if d.Ask != nil {
			add("asked: %s", d.Ask.Words())
		}
		if d.Approval != nil {
			add("approved by %s for %s", d.Approval.By, d.Approval.Proof)
			for _, c := range d.Approval.Consents {
				add("consent of %s at %s for %s", c.By, clock(c.At), c.Proof)
			}
		} else {
			add("not approved")
		}
		if d.Forced != nil {
			add("forced by %s: %s", d.Forced.By, d.Forced.Reason)
		}
		if d.Weakened != "" {
			add("weakened: %s", d.Weakened)
		}
		if m := d.Cutover; m != nil {
			add("cutover to %s by %s, decided %s, written %s, verified %s", m.To, m.By, clock(m.Decided), clock(m.Written), clock(m.Verified))
		}
		if m := d.Rollback; m != nil {
			add("rollback to %s by %s, detected %s, decided %s, written %s, verified %s", m.To, m.By, clock(m.Detected), clock(m.Decided), clock(m.Written), clock(m.Verified))
		}
		if d.State == Done {
			add("outcome of %s: %s%s", d.Candidate.Version, d.Outcome, map[bool]string{true: ": " + d.Reason}[d.Reason != ""])
		}
	}
	slices.Sort(all)
	return all
}

func clock(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.Format("15:04:05")
}
