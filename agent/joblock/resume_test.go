package joblock

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tealdeploy/teal/agent/consul/consultest"
)

// The handover is interrupted at each of its requests, before it arrives or
// before its answer does; the next leader begins it anew and comes to the same
// end, and never do two colours work.
func TestInterruptedAnywhereAndResumed(t *testing.T) {
	for name, h := range map[string]hand{
		"polite":    {slow: time.Second},
		"unwilling": {slow: time.Hour, lease: time.Minute},
		"cut off":   {slow: time.Hour, deaf: true},
	} {
		for _, when := range []string{"before", "after"} {
			t.Run(name+" "+when, func(t *testing.T) {
				for n := 1; ; n++ {
					interrupted := false
					scenario(t, func(c *crew) { interrupted = interrupt(c, n, when, h) })
					if !interrupted {
						if n < 6 {
							t.Errorf("only %d requests", n-1)
						}
						break
					}
				}
			})
		}
	}
}

// interrupt has the first leader die at its n-th request; false if it made
// fewer.
func interrupt(c *crew, n int, when string, h hand) bool {
	h.name, h.colour = "b", blue
	worker := c.hire(h)
	workers(c, green, 1, hand{})
	c.gives(blue, time.Minute, Released)
	c.settles(blue, 1)
	if h.deaf {
		c.server.Cut("b")
		close(worker.frozen)
	}
	died := errors.New("died")
	requests := 0
	c.server.Intercept(func(call consultest.Call) (f consultest.Fault) {
		if call.Agent != "agent-1" {
			return f
		}
		if requests++; requests >= n {
			if when == "before" || requests > n {
				f.Before = died
			} else {
				f.After = died
			}
		}
		return f
	})
	dying, cancel := context.WithTimeout(c.ctx, time.Hour)
	defer cancel()
	_, err := c.handover(green, 3*time.Second).Run(dying)
	c.server.Intercept(nil)
	if err == nil {
		return false
	}
	if !errors.Is(err, died) {
		c.Errorf("request %d: %v", n, err)
	}
	c.elect("agent-2")
	got, err := c.handover(green, 3*time.Second).Run(c.ctx)
	c.must(err)
	if h.slow == time.Second && got != Released {
		c.Errorf("request %d, %s: %s", n, when, got)
	}
	c.says(green)
	c.settles(green, 1)
	if c.busy(blue) != 0 {
		c.Errorf("request %d: blue still works", n)
	}
	return true
}

// The jobs are given back to the colour while one of its workers that was cut
// off may still be working. It is not seen under its key any more, and must
// be waited for all the same; those who work now have their time.
func TestACutThatWasNotWaitedOutIsRemembered(t *testing.T) {
	scenario(t, func(c *crew) {
		h := c.hire(hand{name: "b", colour: blue, slow: time.Hour, deaf: true, lease: 40 * time.Second})
		workers(c, green, 1, hand{})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
		c.server.Cut("b")
		close(h.frozen)
		dying, cancel := context.WithTimeout(c.ctx, 4*time.Second)
		defer cancel()
		if _, err := c.handover(green, 0).Run(dying); !errors.Is(err, context.DeadlineExceeded) {
			c.Fatalf("got %v", err)
		}
		c.elect("agent-2")
		c.gives(blue, time.Minute, Released)
		polite := c.hire(hand{name: "polite", colour: blue, slow: 5 * time.Second})
		c.settles(blue, 2)
		began := time.Now()
		ended := make(chan time.Duration, 1)
		c.joined.Go(func() {
			c.settles(blue, 1)
			ended <- time.Since(began)
		})
		c.about("the next handover", c.gives(green, time.Minute, Forced), 40*time.Second)
		if took := <-ended; took < 5*time.Second {
			c.Errorf("%s was ended after %s, and wanted 5s", polite.name, took)
		}
		c.settles(green, 1)
	})
}
