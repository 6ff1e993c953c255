package rollback_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// crowd is a watch of one volume trigger, of a colour with two instances.
type crowd struct {
	*testing.T
	watch       *rollback.Watch
	at          time.Time
	blue, green float64 // what each instance has counted
	away        string  // an instance whose metrics are
	twins       bool    // both have the ID of the first
	noBlue      bool
	got         rollback.Decision
}

func newCrowd(t *testing.T, body string) *crowd {
	return &crowd{T: t, watch: rollback.NewWatch(triggers(t, "trigger \"volume\" \"v\" {\n"+body+"\n}")), at: began}
}

func (c *crowd) scrape(colour string, n float64) (list []deployment.Instance, out map[string][]rollback.Scrape) {
	out = map[string][]rollback.Scrape{}
	for _, id := range []string{colour + "-1", colour + "-2"} {
		if c.twins {
			n, id = n+1e6*float64(len(list)), colour+"-1"
		}
		list = append(list, deployment.Instance{ID: id, Health: deployment.Passing})
		s := rollback.Scrape{Instance: id, At: c.at, Families: requests(series(n, "code", "200"))}
		if id == c.away {
			s.Families, s.Err = nil, errors.New("no whole answer")
		}
		out["/metrics"] = append(out["/metrics"], s)
	}
	return list, out
}

// before is so many seconds of so many requests a second of each blue instance.
func (c *crowd) before(seconds int, each float64) *crowd {
	for range seconds {
		c.at = c.at.Add(time.Second)
		c.blue += each
		o := rollback.Observation{At: c.at}
		o.Previous, o.PreviousScrapes = c.scrape("blue", c.blue)
		c.watch.Prepare(o)
	}
	return c
}

// after is the same of green; it tells the second in which it was taken back.
func (c *crowd) after(seconds int, each float64) int {
	for second := range seconds {
		c.at = c.at.Add(time.Second)
		c.green += each
		o := rollback.Observation{At: c.at, Expected: 2}
		o.Active, o.Scrapes = c.scrape("green", c.green)
		if !c.noBlue {
			o.Previous, o.PreviousScrapes = c.scrape("blue", c.blue)
		}
		if c.got = c.watch.Observe(o); c.got.Verdict == bad {
			return second + 1
		}
	}
	return seconds + 1
}

func (c *crowd) want(verdict rollback.Verdict, reason string) {
	c.Helper()
	if c.got.Verdict != verdict || !strings.Contains(c.got.Reason, reason) {
		c.Errorf("%s (%s), want %s (%s)", c.got.Verdict, c.got.Reason, verdict, reason)
	}
}

func TestVolumeVanishes(t *testing.T) {
	c := newCrowd(t, "").before(60, 10)
	if took := c.after(900, 10); took <= 900 {
		t.Errorf("the same took %d s: %s", took, c.got.Reason)
	}
	c.want(fine, "20 requests a second came within 1m0s; at least 4 and at most 400 are expected (the previous colour had 20)")
	if took := c.after(300, 0); took < 40 || took > 60 {
		t.Errorf("nobody any more took %d s: %s", took, c.got.Reason)
	}
	c.want(bad, "at least 4")
	// Nobody came from the start.
	c = newCrowd(t, "window = \"10s\"").before(60, 10)
	if took := c.after(60, 0); took < 8 || took > 11 {
		t.Errorf("took %d s: %s", took, c.got.Reason)
	}
}

func TestVolumeExplodes(t *testing.T) {
	c := newCrowd(t, "above_ratio = 3").before(60, 10)
	if took := c.after(120, 29); took <= 120 {
		t.Errorf("2.9 times as many took %d s: %s", took, c.got.Reason)
	}
	if took := c.after(120, 60); took > 60 {
		t.Errorf("6 times as many took %d s: %s", took, c.got.Reason)
	}
	c.want(bad, "at most 60")
}

func TestVolumeWithLimits(t *testing.T) {
	c := newCrowd(t, "below = 5\nabove = 50\nwindow = \"10s\"")
	c.noBlue = true
	c.after(30, 10)
	c.want(fine, "20 requests a second came within 10s; at least 5 and at most 50 are expected")
	if c.after(30, 40) > 30 {
		t.Error("80 a second are not too many")
	}
	c = newCrowd(t, "below = 5\nwindow = \"10s\"")
	if c.after(30, 1) > 30 {
		t.Error("2 a second are not too few")
	}
	c.want(bad, "2 requests a second came within 10s; at least 5 are expected")
	c = newCrowd(t, "below = 5\nwindow = \"10s\"")
	c.after(30, 1000)
	c.want(fine, "")
}

// Metrics that are away are no traffic that has vanished: neither all of them,
// nor those of one instance, which are counted when they are back.
func TestVolumeWithoutMetrics(t *testing.T) {
	for _, away := range []string{"green-1", "green-2"} {
		c := newCrowd(t, "window = \"20s\"").before(60, 10)
		c.after(40, 10)
		c.away = away
		if took := c.after(120, 10); took <= 120 {
			t.Fatalf("metrics away took %d s: %s", took, c.got.Reason)
		}
		c.want(unknown, "requests of 0s within 20s could be counted, which is not enough ("+away+": no whole answer)")
		c.away = ""
		c.after(2, 10)
		c.want(fine, "20 requests a second")
	}
}

func TestVolumeUnknown(t *testing.T) {
	c := newCrowd(t, "")
	c.after(90, 10)
	c.want(unknown, "nobody saw how many requests came before the cutover")
	c = newCrowd(t, "").before(60, 0.1)
	c.after(90, 0)
	c.want(unknown, "too few requests came before the cutover to miss them: 12 within 1m0s, and 50 are needed")
	c = newCrowd(t, "")
	c.noBlue = true
	c.after(3, 0)
	if waits := cannotTell(c.watch); len(waits) != 0 {
		t.Errorf("a first release waits for %v", waits)
	}
	c = newCrowd(t, "metric = \"reqs\"").before(60, 10)
	c.after(3, 10)
	c.want(unknown, "nobody saw")
	c = newCrowd(t, "metric = \"reqs\"\nbelow = 1")
	c.after(90, 10)
	c.want(unknown, "no instance has a metric reqs at /metrics")
	c = newCrowd(t, "where = { code = \"2OO\" }\nbelow = 1")
	c.after(60, 50)
	c.want(unknown, "no instance has a metric http_requests_total with the labels that are asked for at /metrics")
}

// Two instances of one ID would be each other's restarts, and their requests without
// number.
func TestVolumeOfTwins(t *testing.T) {
	for _, body := range []string{"window = \"5s\"", "window = \"5s\"\nabove = 1000"} {
		c := newCrowd(t, body).before(30, 50)
		c.twins = true
		if took := c.after(30, 50); took <= 30 {
			t.Errorf("taken back after %d s: %s", took, c.got.Reason)
		}
		c.want(unknown, "could be counted, which is not enough (green-1: several instances have this ID)")
	}
}
