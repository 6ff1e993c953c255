package rollback_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// release is a watch of one trigger, and what both colours' instances count.
type release struct {
	*testing.T
	watch    *rollback.Watch
	at       time.Time
	blue     map[string][2]float64 // good, failed
	green    map[string][2]float64
	silent   bool // green's metrics are away
	unlooked bool // nobody asks blue
	got      rollback.Decision
}

func newRelease(t *testing.T, body string) *release {
	return &release{T: t, watch: rollback.NewWatch(triggers(t, "trigger \"errors\" \"e\" {\n"+body+"\n}")), at: began,
		blue: map[string][2]float64{}, green: map[string][2]float64{}}
}

func scrapesOf(at time.Time, counts map[string][2]float64, silent bool) (list []deployment.Instance, out map[string][]rollback.Scrape) {
	var scrapes []rollback.Scrape
	for id, n := range counts {
		list = append(list, deployment.Instance{ID: id, Node: "n", Health: deployment.Passing})
		s := rollback.Scrape{Instance: id, At: at, Families: requests(series(n[0], "code", "200"), series(n[1], "code", "500"))}
		if silent {
			s.Families, s.Err = nil, errors.New("away")
		}
		scrapes = append(scrapes, s)
	}
	return list, map[string][]rollback.Scrape{"/metrics": scrapes}
}

func count(counts map[string][2]float64, id string, good, failed float64) {
	n := counts[id]
	counts[id] = [2]float64{n[0] + good, n[1] + failed}
}

// served lets blue serve for so many seconds while it is looked at.
func (r *release) served(seconds int, good, failed float64) *release {
	for range seconds {
		r.at = r.at.Add(time.Second)
		count(r.blue, "blue", good, failed)
		list, scrapes := scrapesOf(r.at, r.blue, false)
		r.watch.Prepare(rollback.Observation{At: r.at, Previous: list, PreviousScrapes: scrapes})
	}
	return r
}

// look is one look after the cutover.
func (r *release) look() rollback.Decision {
	r.at = r.at.Add(time.Second)
	o := rollback.Observation{At: r.at, Expected: len(r.green)}
	o.Active, o.Scrapes = scrapesOf(r.at, r.green, r.silent)
	o.Previous, o.PreviousScrapes = scrapesOf(r.at, r.blue, false)
	if r.unlooked {
		o.PreviousScrapes = nil
	}
	r.got = r.watch.Observe(o)
	return r.got
}

// serves lets green serve until it is taken back, for so many seconds at most,
// and tells how many it took.
func (r *release) serves(seconds int, good, failed float64) int {
	for second := range seconds {
		if second == 0 && r.green["green"] == [2]float64{} {
			count(r.green, "green", 0, 0)
			r.look()
		}
		count(r.green, "green", good, failed)
		if r.look().Verdict == bad {
			return second + 1
		}
	}
	return seconds + 1
}

func (r *release) want(verdict rollback.Verdict, reason string) {
	r.Helper()
	if r.got.Verdict != verdict || !strings.Contains(r.got.Reason, reason) {
		r.Errorf("%s (%s), want %s (%s)", r.got.Verdict, r.got.Reason, verdict, reason)
	}
}

// What fails more than with the previous colour is taken back, long before any
// absolute limit; what fails as much is not.
func TestSequentialComparesWithThePreviousColour(t *testing.T) {
	r := newRelease(t, "").served(60, 1990, 10)
	if took := r.serves(60, 1970, 30); took > 15 {
		t.Errorf("1.5 %% after 0.5 %% took %d s: %s", took, r.got.Reason)
	}
	r.want(bad, "the previous colour's share was 0.5 % (of 120000 requests)")
	r = newRelease(t, "").served(60, 1990, 10)
	if took := r.serves(900, 1990, 10); took <= 900 {
		t.Errorf("the same took %d s: %s", took, r.got.Reason)
	}
	r.want(fine, "0.5 % of requests failed")
	// Ten percent more is within what is put up with.
	r = newRelease(t, "tolerance = 0").served(60, 1800, 200)
	if took := r.serves(900, 1784, 216); took <= 900 {
		t.Errorf("10.8 %% after 10 %% took %d s: %s", took, r.got.Reason)
	}
}

// A baseline without a single error neither hides errors nor makes one of them
// the end of a release.
func TestSequentialWithABaselineOfZero(t *testing.T) {
	r := newRelease(t, "").served(60, 200, 0)
	r.serves(30, 200, 0)
	if took := r.serves(1, 199, 1); took == 1 {
		t.Errorf("one error: %s", r.got.Reason)
	}
	r = newRelease(t, "").served(60, 200, 0)
	if took := r.serves(30, 190, 10); took > 3 {
		t.Errorf("5 %% took %d s: %s", took, r.got.Reason)
	}
}

// A burst of some seconds after a look of a minute, as there may have been many before
// it, is no proof; but where none had failed nothing of the kind can have been.
func TestSequentialAfterAShortLook(t *testing.T) {
	for failed, want := range map[float64]int{2: 9, 0: 5} { // of 200 a second
		r := newRelease(t, "")
		count(r.blue, "blue", 3600*(200-failed), 3600*failed)
		r.served(60, 200-failed, failed)
		r.serves(100, 200-failed, failed)
		took := r.serves(60, 100, 100)
		if failed > 0 && (took < want || took > 20) || failed == 0 && took > want {
			t.Errorf("with %v errors before, half of all took %d s: %s", failed, took, r.got.Reason)
		}
	}
}

// Counters without an error tell as much as having looked at them all the time; those
// of a short life tell little.
func TestSequentialWithoutALookWhereNoneFailed(t *testing.T) {
	for life, want := range map[float64][2]int{3600: {2, 4}, 10: {5, 12}} { // seconds
		r := newRelease(t, "")
		count(r.blue, "blue", 200*life, 0)
		r.serves(10, 200, 0)
		if took := r.serves(60, 100, 100); took < want[0] || took > want[1] {
			t.Errorf("after %v s without an error, half of all took %d s: %s", life, took, r.got.Reason)
		}
	}
}

// Where there is nothing to compare with, the absolute limit holds, and that is
// said.
func TestSequentialWithoutABaseline(t *testing.T) {
	first := newRelease(t, "")
	first.serves(10, 96, 4)
	first.want(fine, "up to 5 % is allowed, for there is nothing to compare with: there is no previous colour")
	first.serves(30, 90, 10)
	first.want(bad, "up to 5 % is allowed")

	unread := newRelease(t, "")
	count(unread.blue, "blue", 1e6, 0)
	unread.unlooked = true
	unread.serves(3, 96, 4)
	unread.want(fine, "none of the previous colour's requests were seen")
	// It is compared as soon as it can be.
	unread.unlooked = false
	if took := unread.serves(60, 96, 4); took > 20 {
		t.Errorf("took %d s: %s", took, unread.got.Reason)
	}
	unread.want(bad, "of 1000000 requests")

	few := newRelease(t, "").served(1, 20, 0)
	few.serves(3, 96, 4)
	few.want(fine, "only 20 of the previous colour's requests were seen")
}

// A baseline of few requests could have been nearly anything, and is no licence
// for it.
func TestSequentialWithAThinBaseline(t *testing.T) {
	r := newRelease(t, "").served(2, 30, 0)
	if took := r.serves(60, 80, 20); took > 30 {
		t.Errorf("20 %% took %d s: %s", took, r.got.Reason)
	}
	r = newRelease(t, "").served(2, 30, 0)
	if took := r.serves(300, 97, 3); took <= 300 {
		t.Errorf("3 %% took %d s: %s", took, r.got.Reason)
	}
}

// What drains fails in its own ways; it has no say after the cutover.
func TestSequentialLeavesTheDrainOut(t *testing.T) {
	r := newRelease(t, "").served(60, 200, 0)
	for range 10 {
		count(r.blue, "blue", 0, 100)
		r.serves(1, 200, 0)
	}
	r.want(fine, "the previous colour's share was 0 % (of 12000 requests)")
	// A restart before it is none of its errors, either: counters begin anew.
	r = newRelease(t, "").served(10, 100, 1)
	r.blue["blue"] = [2]float64{}
	r.served(10, 100, 1).serves(1, 100, 0)
	if n := r.got.Figures["e.baseline_requests"]; n != 20*101 {
		t.Errorf("%v requests before the cutover", n)
	}
}

// One of ten is found by itself, and named.
func TestSequentialNamesTheInstance(t *testing.T) {
	r := newRelease(t, "").served(60, 200, 0.2)
	for second := range 60 {
		for i := range 10 {
			failed := 0.02
			if i == 7 {
				failed = 1
			}
			if second == 0 {
				failed = 0
			}
			count(r.green, fmt.Sprint("green-", i), 20-failed, failed)
		}
		if r.look().Verdict == bad {
			break
		}
	}
	r.want(bad, "evidence of instance green-7 against")
}

// 40 s without metrics are no evidence, and what was counted meanwhile is still
// one reading.
func TestSequentialWhileMetricsAreAway(t *testing.T) {
	r := newRelease(t, "").served(60, 200, 0.2)
	r.serves(60, 200, 0.2)
	r.want(fine, "")
	r.silent = true
	for range 40 {
		count(r.green, "green", 200, 0.2)
		r.look()
		r.want(unknown, "metrics of 0 of 1 instances could be read")
	}
	r.silent = false
	count(r.green, "green", 0, 200)
	r.look()
	if r.got.Verdict == bad {
		t.Errorf("one reading took it back: %s", r.got.Reason)
	}
	r.serves(2, 200, 0.2)
	if r.got.Verdict == bad {
		t.Errorf("good ones after it took it back: %s", r.got.Reason)
	}
}

// With few requests there is no verdict but a bad one.
func TestSequentialWithFewRequests(t *testing.T) {
	r := newRelease(t, "").served(600, 1, 0)
	r.serves(40, 1, 0)
	r.want(unknown, "too few requests (40 of 50)")
	r.serves(20, 1, 0)
	r.want(fine, "")
	r = newRelease(t, "").served(600, 1, 0)
	if took := r.serves(40, 0, 1); took > 30 {
		t.Errorf("nothing but errors took %d s: %s", took, r.got.Reason)
	}
}

// A service that falls idle at night, after enough was seen of it, is as well as it
// was. One whose metrics are away, or have lost the counter, is not known to be.
func TestSequentialFallsIdle(t *testing.T) {
	idle := func(failing float64) *release {
		r := newRelease(t, "").served(600, 200, 0.2)
		r.serves(60, 200, failing)
		for range 600 {
			r.look()
		}
		return r
	}
	r := idle(0.2)
	r.want(fine, "no requests within 30s; 12012 since the cutover, of which 12 failed; the previous colour's share was 0.0999 %")
	if r.got.Doubt || len(cannotTell(r.watch)) > 0 {
		t.Errorf("it cannot tell: %+v", r.watch.Unable())
	}
	r.silent = true
	r.look()
	r.want(unknown, "metrics of 0 of 1 instances could be read")
	r.silent = false
	r.look()
	r.want(fine, "no requests within 30s")
	r.at = r.at.Add(31 * time.Second)
	r.got = r.watch.Observe(rollback.Observation{At: r.at, Expected: 1, Active: []deployment.Instance{{ID: "green", Health: deployment.Passing}}})
	r.want(unknown, "no metrics were read for 31s")
	r.green["green"] = [2]float64{}
	r.look()
	r.want(fine, "no requests within 30s")

	// Too few were seen before nobody came any more.
	r = newRelease(t, "").served(600, 1, 0)
	r.serves(40, 1, 0)
	for range 600 {
		r.look()
	}
	r.want(unknown, "too few requests (40 of 50)")
}

// Some evidence is not yet proof, and no sign that all is well.
func TestSequentialInDoubt(t *testing.T) {
	r := newRelease(t, "").served(60, 200, 0)
	seen := map[rollback.Verdict]bool{}
	for range 120 {
		if r.serves(1, 199, 1) == 1 {
			break
		}
		seen[r.got.Verdict] = true
	}
	if r.got.Verdict != bad || !seen[unknown] {
		t.Errorf("saw %v, in the end %s (%s)", seen, r.got.Verdict, r.got.Reason)
	}
}

// What was learned before can be written down, and read by another watch.
func TestPastIsKept(t *testing.T) {
	r := newRelease(t, "").served(60, 190, 10)
	text, err := json.Marshal(r.watch.Past())
	if err != nil {
		t.Fatal(err)
	}
	var past map[string]rollback.Past
	if err := json.Unmarshal(text, &past); err != nil {
		t.Fatal(err)
	}
	again := newRelease(t, "")
	again.blue, again.at = r.blue, r.at
	again.watch.Recall(past)
	r.serves(3, 200, 0)
	again.serves(3, 200, 0)
	if r.got.Reason != again.got.Reason || r.got.Figures["e.spread"] != again.got.Figures["e.spread"] {
		t.Errorf("%s\nthen %s", r.got.Reason, again.got.Reason)
	}
	again.want(fine, "5 % (of 12000 requests)")
}

// A multiple of what was before, and of the tolerance where that was nothing.
func TestRatio(t *testing.T) {
	r := newRelease(t, "ratio = 1.5").served(60, 980, 20)
	r.serves(30, 971, 29)
	r.want(fine, "up to 3 % is allowed, 1.5 times the previous colour's 2 % (of 60000 requests)")
	r.serves(60, 960, 40)
	r.want(bad, "up to 3 % is allowed")
	r = newRelease(t, "ratio = 2").served(60, 1000, 0)
	r.serves(5, 9985, 15)
	r.want(fine, "up to 0.2 % is allowed")
	r.serves(30, 9970, 30)
	r.want(bad, "up to 0.2 % is allowed")
	r = newRelease(t, "ratio = 2")
	r.serves(5, 960, 40)
	r.want(fine, "up to 5 % is allowed, for there is nothing to compare with")
}

// One instance that always failed more than the others, for what it is sent, is
// no worse for being new.
func TestSequentialWithAnInstanceThatAlwaysFailedMore(t *testing.T) {
	r := newRelease(t, "")
	for i := range 10 {
		count(r.blue, fmt.Sprint("blue-", i), 70_000, 70)
	}
	count(r.blue, "blue-3", 0, 1400)
	r.served(1, 0, 0)
	for second := range 600 {
		for i := range 10 {
			failed := 0.1
			if i == 3 {
				failed = 2
			}
			count(r.green, fmt.Sprint("green-", i), 100-failed, failed)
		}
		if r.look().Verdict == bad {
			t.Fatalf("after %d s: %s", second, r.got.Reason)
		}
	}
}
