package joblock

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/consul"
	"github.com/tealdeploy/teal/agent/consul/consultest"
	"github.com/tealdeploy/teal/agent/deployment"
)

func TestReleased(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 3, hand{slow: 2 * time.Second})
		workers(c, green, 2, hand{slow: time.Second})
		c.about("the first owner", c.gives(blue, time.Minute, Released), 0)
		c.settles(blue, 3)
		c.about("a handover", c.gives(green, time.Minute, Released), 2*time.Second)
		if n := c.busy(blue); n != 0 {
			c.Errorf("%d of blue work", n)
		}
		c.settles(green, 2)
		c.about("handing it to nobody", c.gives(none, time.Minute, Released), time.Second)
		if n := c.busy(green); n != 0 {
			c.Errorf("%d of green work", n)
		}
		c.wentThrough("blue", "none", "green", "none")
	})
}

func TestGivingItToItsOwnerWritesNothing(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 1, hand{})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
		before, err := c.agent.Read(c.ctx, keys.JobProcessor("api"))
		c.must(err)
		c.gives(blue, time.Minute, Released)
		after, err := c.agent.Read(c.ctx, keys.JobProcessor("api"))
		c.must(err)
		if after.ModifyIndex != before.ModifyIndex {
			c.Errorf("a new token, %d after %d: its workers start anew", after.ModifyIndex, before.ModifyIndex)
		}
	})
}

func TestForcedAtTheDeadline(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 2, hand{slow: time.Hour, lease: time.Minute})
		workers(c, green, 1, hand{})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 2)
		c.about("a handover", c.gives(green, 5*time.Second, Forced), 5*time.Second)
		c.settles(green, 1)
		c.wentThrough("blue", "none", "green")
	})
}

// One that says nothing any more is waited out: its own lease, not Consul's
// clock, says when it has ended for certain.
func TestCutOff(t *testing.T) {
	for name, c := range map[string]struct{ lease, want time.Duration }{
		"that says how long": {30 * time.Second, 30 * time.Second},
		"that does not":      {0, DefaultLease},
	} {
		t.Run(name, func(t *testing.T) {
			scenario(t, func(x *crew) {
				h := x.hire(hand{name: "b", colour: blue, slow: time.Hour, deaf: true, lease: c.lease})
				workers(x, blue, 1, hand{slow: time.Second}) // one that is polite beside it
				workers(x, green, 1, hand{})
				x.gives(blue, time.Minute, Released)
				x.settles(blue, 2)
				x.server.Cut("b")
				close(h.frozen)
				x.about("a handover", x.gives(green, 5*time.Second, Forced), 5*time.Second+insist+c.want)
				x.settles(green, 1)
				if left, _, err := x.agent.List(x.ctx, keys.Workers("api", blue), 0); err != nil || len(left) != 0 {
					x.Errorf("left: %v %v", left, err)
				}
			})
		})
	}
}

func TestTheLongestLeaseCounts(t *testing.T) {
	scenario(t, func(c *crew) {
		for i, lease := range []time.Duration{20 * time.Second, 50 * time.Second, 9 * time.Hour} {
			// Held by a session of no worker of ours: it says what it likes.
			id, err := c.server.Client("stranger").NewSession(c.ctx, &api.SessionEntry{})
			c.must(err)
			key := keys.Worker("api", blue, fmt.Sprint("w", i))
			if ok, err := c.agent.Acquire(c.ctx, key, Worker{Lease: Duration(lease)}.Value(), id); !ok || err != nil {
				c.Fatal(ok, err)
			}
		}
		c.about("a handover", c.gives(green, 0, Forced), insist+MaxLease)
	})
}

// What is under workers/ without a session is nobody.
func TestKeysWithoutASessionAreNoWorkers(t *testing.T) {
	scenario(t, func(c *crew) {
		c.must(c.agent.Put(c.ctx, keys.Worker("api", blue, "by-hand"), []byte("x")))
		c.about("a handover", c.gives(green, time.Minute, Released), 0)
	})
}

// Whoever registers while the key says none looks and lets go; one who had
// looked before is waited for.
func TestWorkersThatRegisterLate(t *testing.T) {
	for _, op := range []string{"NewSession", "Acquire", "Read"} {
		for _, stall := range []time.Duration{100 * time.Millisecond, 3 * time.Second} {
			t.Run(fmt.Sprint(op, stall), func(t *testing.T) {
				scenario(t, func(c *crew) {
					workers(c, green, 1, hand{})
					workers(c, blue, 1, hand{slow: time.Second})
					c.gives(blue, time.Minute, Released)
					c.settles(blue, 1)
					stalled := false
					c.server.Intercept(func(call consultest.Call) (f consultest.Fault) {
						if call.Agent == "late" && call.Op == op && !stalled {
							stalled = true
							f.Stall = stall
						}
						return f
					})
					c.hire(hand{name: "late", colour: blue, slow: time.Second})
					c.gives(green, time.Minute, Released)
					c.settles(green, 1)
					<-time.After(10 * time.Second)
				})
			})
		}
	}
}

// The watch may lag behind; that nobody is left is asked of Consul's leader.
func TestAStaleListDoesNotEndTheWait(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 1, hand{slow: 3 * time.Second})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
		c.server.Intercept(func(call consultest.Call) consultest.Fault {
			if call.Op == "List" {
				return consultest.Fault{Stale: 1000, Early: true, Delay: 100 * time.Millisecond}
			}
			return consultest.Fault{}
		})
		c.about("a handover", c.gives(green, time.Minute, Released), 3*time.Second)
	})
}

func TestTheTokenOnlyGrows(t *testing.T) {
	scenario(t, func(c *crew) { // the crew checks it
		workers(c, blue, 1, hand{})
		workers(c, green, 1, hand{})
		for range 5 {
			c.gives(blue, time.Minute, Released)
			c.settles(blue, 1)
			c.gives(green, time.Minute, Released)
			c.settles(green, 1)
		}
		for _, value := range []string{"purple", "", "none\n"} {
			c.must(c.agent.Put(c.ctx, keys.JobProcessor("api"), []byte(value)))
			c.settles(green, 0)
			c.gives(green, time.Minute, Released)
			c.settles(green, 1)
		}
		c.must(c.agent.Delete(c.ctx, keys.JobProcessor("api")))
		c.settles(green, 0)
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
	})
}

func TestADeposedLeaderHandsNothingOver(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 1, hand{slow: 10 * time.Second})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
		old := c.handover(green, time.Minute)
		result := make(chan error, 1)
		go func() {
			_, err := old.Run(c.ctx)
			result <- err
		}()
		<-time.After(5 * time.Second) // in the middle of the drain
		c.elect("agent-2")
		if err := <-result; !errors.Is(err, consul.ErrDeposed) {
			c.Errorf("got %v", err)
		}
		c.says(none)
		c.gives(blue, time.Minute, Released)
		c.wentThrough("blue", "none", "blue")
	})
}

// Somebody sets the key by hand during the drain: what they set is not
// overwritten by the other colour.
func TestAHandEditDuringTheDrain(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 1, hand{slow: 5 * time.Second})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
		time.AfterFunc(5*time.Second-20*time.Millisecond, func() {
			_ = c.agent.Put(c.ctx, keys.JobProcessor("api"), []byte("blue"))
		})
		_, err := c.handover(green, time.Minute).Run(c.ctx)
		if err == nil || !strings.Contains(err.Error(), "only through none") {
			c.Errorf("got %v", err)
		}
		c.says(blue)
		c.gives(green, time.Minute, Released)
	})
}

func TestDrainAloneLeavesTheKeyToItsCaller(t *testing.T) {
	scenario(t, func(c *crew) {
		workers(c, blue, 1, hand{slow: time.Second})
		c.gives(blue, time.Minute, Released)
		c.settles(blue, 1)
		key, err := c.handover(green, 0).read(c.ctx)
		c.must(err)
		ops, err := key.Ops(keys, "api", none)
		c.must(err)
		_, err = c.handover(none, 0).Commit(c.ctx, ops)
		c.must(err)
		got, err := c.handover(green, time.Minute).Drain(c.ctx)
		c.must(err)
		if got != Released || c.busy(blue) != 0 {
			c.Errorf("%s, %d of blue work", got, c.busy(blue))
		}
		c.says(deployment.None)
	})
}
