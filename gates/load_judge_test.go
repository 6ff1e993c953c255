package gates

import (
	"strings"
	"testing"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// What could not be sent is no proof that it would have been answered; but a
// limit that was passed on the way is one that was passed.
func TestLoadThatCouldNotBeSent(t *testing.T) {
	g := Load{Rate: 100, Errors: 0.01}
	for _, c := range []struct {
		rate    float64
		failed  int
		ours    string
		verdict Verdict
		words   string
	}{
		{99, 0, "", Pass, "1000 requests at 99 a second"},
		{89, 0, "", Hold, "only 89 of 100 requests a second could be sent"},
		{89, 20, "", Fail, "2.00 % of 1000 requests failed"},
		{99, 20, "socket: too many open files", Hold, "too many open files"},
	} {
		f, err := g.judge(&seen{Metrics: vegeta.Metrics{Requests: 1000, Rate: c.rate}, failed: c.failed, ours: c.ours}, nil)
		text := f.Reason
		if err != nil {
			text = err.Error()
		}
		if f.Verdict != c.verdict || !strings.Contains(text, c.words) {
			t.Errorf("%+v: %s %s", c, f.Verdict, text)
		}
	}
	if f, err := g.judge(&seen{}, nil); err == nil || f.Verdict != Hold {
		t.Errorf("nothing sent: %+v, %v", f, err)
	}
}
