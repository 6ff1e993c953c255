package rollback

import (
	"fmt"
	"regexp"
	"testing"
	"time"
)

// Label values come from whoever sends requests: an instance that makes up new
// ones for ever is begun anew rather than remembered for ever.
func TestCountersOfEverNewSeriesAreBounded(t *testing.T) {
	c := counters{newStandings("m"), usualLabels, regexp.MustCompile("^5..$")}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const each = 1000
	for i := range 2 * maxRemembered / each {
		family := make(Family, each)
		for k := range family {
			family[k] = Series{Labels: map[string]string{"code": "200", "path": fmt.Sprint(i, "/", k)}, Value: 1}
		}
		at = at.Add(time.Second)
		g, err := c.read(Scrape{Instance: "a", At: at, Families: map[string]Family{"m": family}}, at)
		if err != nil || g.requests != 0 && g.requests != each {
			t.Fatalf("%+v, %v", g, err)
		}
		if n := len(c.known["a"].values); n > maxRemembered+each {
			t.Fatalf("%d series are remembered", n)
		}
	}
}
