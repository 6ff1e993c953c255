package gates_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// script is a gate whose looks are written down beforehand; its last line is
// repeated. "+" passes, "-" fails, "?" holds, "!" could not ask, "~" hangs
// until its time is up.
type script struct {
	looks string
	asked *[]string // of what was asked, by whom
	name  string
	seen  func(gates.Target)
}

func (s *script) Check(ctx context.Context, target gates.Target) (gates.Finding, error) {
	if s.asked != nil {
		*s.asked = append(*s.asked, s.name)
	}
	if s.seen != nil {
		s.seen(target)
	}
	look := s.looks[0]
	if len(s.looks) > 1 {
		s.looks = s.looks[1:]
	}
	switch look {
	case '+':
		return gates.Finding{Verdict: gates.Pass, Reason: "looks good"}, nil
	case '-':
		return gates.Finding{Verdict: gates.Fail, Reason: "looks bad"}, nil
	case '!':
		return gates.Finding{}, errors.New("the network is down")
	case '~':
		<-ctx.Done()
		return gates.Finding{}, ctx.Err()
	}
	return gates.Finding{Reason: "cannot tell"}, nil
}

func named(looks string, change ...func(*gates.Named)) gates.Named {
	n := gates.Named{
		Kind: "script", Name: "one", Attempts: 3, Interval: time.Second, Timeout: 5 * time.Second, Deadline: time.Minute,
		Gate: &script{looks: looks},
	}
	for _, c := range change {
		c(&n)
	}
	return n
}

func attempts(n int) func(*gates.Named)           { return func(g *gates.Named) { g.Attempts = n } }
func deadline(d time.Duration) func(*gates.Named) { return func(g *gates.Named) { g.Deadline = d } }
func interval(d time.Duration) func(*gates.Named) { return func(g *gates.Named) { g.Interval = d } }
func timeout(d time.Duration) func(*gates.Named)  { return func(g *gates.Named) { g.Timeout = d } }

var candidate = gates.Target{Service: "api", Colour: deployment.Green, Version: "2.0.0", Hash: "h1", Expected: 1}

func steady(context.Context) (gates.Target, error) { return candidate, nil }

func TestRunDecides(t *testing.T) {
	for _, c := range []struct {
		name    string
		gate    gates.Named
		verdict gates.Verdict
		reason  string
		looks   int
		took    time.Duration
	}{
		{"passes at the first look", named("+"), gates.Pass, "1 of 1 gates passed", 1, 0},
		{"passes after it failed less often than allowed", named("--+"), gates.Pass, "1 of 1 gates passed", 3, 2 * time.Second},
		{"fails as often as allowed", named("---+"), gates.Fail, `gate script "one": looks bad`, 3, 2 * time.Second},
		{"fails at once when one attempt is allowed", named("-+", attempts(1)), gates.Fail, `gate script "one": looks bad`, 1, 0},
		{"a look that could not judge counts neither way", named("-?-!-"), gates.Fail, `gate script "one": looks bad`, 5, 4 * time.Second},
		{"any number of looks may be unable to judge", named("????????!!!!!!!!+"), gates.Pass, "1 of 1 gates passed", 17, 16 * time.Second},
		{"cannot tell until the deadline: hold", named("?", deadline(10*time.Second)), gates.Hold,
			`gate script "one": could not be judged within 10s: cannot tell`, 10, 10 * time.Second},
		{"cannot ask until the deadline: hold", named("!", deadline(10*time.Second)), gates.Hold,
			`gate script "one": could not be judged within 10s: could not ask: the network is down`, 10, 10 * time.Second},
		{"failing at the deadline: fail, whatever attempts are left", named("-", attempts(100), deadline(10*time.Second)), gates.Fail,
			`gate script "one": not passed within 10s: looks bad`, 10, 10 * time.Second},
		{"failed before, but the last look before the deadline could not judge: hold", named("--?", deadline(3*time.Second)), gates.Hold,
			`gate script "one": could not be judged within 3s: cannot tell`, 3, 3 * time.Second},
		{"a look is ended by its timeout, and could not judge then", named("~+"), gates.Pass, "1 of 1 gates passed", 2, 6 * time.Second},
		{"a look that began before the deadline is heard after it", named("~", deadline(7*time.Second)), gates.Hold,
			`gate script "one": could not be judged within 7s: could not ask: context deadline exceeded`, 2, 11 * time.Second},
		{"the pause before the deadline is not longer than what is left", named("?", interval(time.Hour), deadline(10*time.Second)), gates.Hold,
			`gate script "one": could not be judged within 10s: cannot tell`, 1, 10 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				out, err := gates.Run(t.Context(), []gates.Named{c.gate}, steady, nil)
				if err != nil {
					t.Fatal(err)
				}
				if out.Verdict != c.verdict || out.Reason != c.reason {
					t.Errorf("got %s %q,\nwant %s %q", out.Verdict, out.Reason, c.verdict, c.reason)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
				if len(out.Gates) != 1 || out.Gates[0].Attempts != c.looks || out.Gates[0].Verdict != c.verdict {
					t.Errorf("progress %+v, want one of %d looks with verdict %s", out.Gates, c.looks, c.verdict)
				}
				if want := map[bool]int{true: -1, false: 0}[c.verdict == gates.Pass]; out.Gate != want {
					t.Errorf("gate %d decided, want %d", out.Gate, want)
				}
				if out.Hash != "h1" {
					t.Errorf("judged %q, want h1", out.Hash)
				}
			})
		})
	}
}

func TestGatesRunInTheOrderDeclared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		list := []gates.Named{named("-+"), named("+"), named("---"), named("+")}
		for i := range list {
			list[i].Name = fmt.Sprint(i)
			g := list[i].Gate.(*script)
			g.asked, g.name = &asked, list[i].Name
		}
		out, err := gates.Run(t.Context(), list, steady, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(asked, " "), "0 0 1 2 2 2"; got != want {
			t.Errorf("asked %s, want %s: a gate is asked once the one before it has passed, and none after one failed", got, want)
		}
		if out.Gate != 2 || out.Verdict != gates.Fail || len(out.Gates) != 3 {
			t.Errorf("got %+v, want gate 2 to fail and three to be reported", out)
		}
	})
}

func TestNoGates(t *testing.T) {
	out, err := gates.Run(t.Context(), nil, steady, nil)
	if err != nil || out.Verdict != gates.Pass || out.Gate != -1 {
		t.Errorf("got %+v, %v", out, err)
	}
}

// Each look sees the instances of its own moment, and only that.
func TestTheCandidateIsLookedUpBeforeEachLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moved := 0
		target := func(context.Context) (gates.Target, error) {
			moved++
			now := candidate
			now.Instances = []deployment.Instance{{ID: fmt.Sprint("on node ", moved)}}
			return now, nil
		}
		var seen []string
		gate := named("??+")
		gate.Gate.(*script).seen = func(now gates.Target) { seen = append(seen, now.Instances[0].ID) }
		if _, err := gates.Run(t.Context(), []gates.Named{gate}, target, nil); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(seen, ", "); got != "on node 1, on node 2, on node 3" {
			t.Errorf("the looks saw %s", got)
		}
	})
}

// PEERS 10: the instances move, and the look in progress goes on to its end.
func TestALookInProgressIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		instances := []deployment.Instance{{ID: "api-1", Node: "a"}}
		target := func(context.Context) (gates.Target, error) {
			now := candidate
			now.Instances = instances
			return now, nil
		}
		looking := make(chan struct{})
		answer := make(chan struct{})
		looks := 0
		gate := gates.Named{Attempts: 1, Timeout: time.Hour, Deadline: time.Hour, Interval: time.Second,
			Gate: check(func(ctx context.Context, now gates.Target) (gates.Finding, error) {
				looks++
				close(looking)
				select {
				case <-ctx.Done():
					return gates.Finding{}, ctx.Err()
				case <-answer:
				}
				return gates.Finding{Verdict: gates.Pass, Reason: now.Instances[0].Node}, nil
			})}
		go func() {
			<-looking
			instances = []deployment.Instance{{ID: "api-2", Node: "b"}} // drained from a to b
			time.Sleep(time.Minute)
			close(answer)
		}()
		out, err := gates.Run(t.Context(), []gates.Named{gate}, target, nil)
		if err != nil || out.Verdict != gates.Pass || looks != 1 || out.Gates[0].Reason != "a" {
			t.Errorf("got %+v, %v after %d looks, want the first look to pass with what it had seen", out, err, looks)
		}
	})
}

func TestAnotherCandidateVoidsTheRun(t *testing.T) {
	for _, c := range []struct {
		name   string
		gates  []gates.Named
		hashes []string
	}{
		{"between two looks", []gates.Named{named("?+")}, []string{"h1", "h2"}},
		{"between two gates", []gates.Named{named("+"), named("+")}, []string{"h1", "h2"}},
		{"also when the candidate could not be seen between", []gates.Named{named("?+")}, []string{"h1", "", "h2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				target := func(context.Context) (gates.Target, error) {
					now := candidate
					now.Hash = c.hashes[0]
					if len(c.hashes) > 1 {
						c.hashes = c.hashes[1:]
					}
					if now.Hash == "" {
						return now, errors.New("Consul is away")
					}
					return now, nil
				}
				out, err := gates.Run(t.Context(), c.gates, target, nil)
				if !errors.Is(err, gates.ErrChanged) || out.Verdict == gates.Pass {
					t.Errorf("got %+v, %v, want ErrChanged and no pass", out, err)
				}
			})
		})
	}
}

func TestACandidateNobodyCanSeeIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := func(context.Context) (gates.Target, error) { return candidate, errors.New("Consul is away") }
		out, err := gates.Run(t.Context(), []gates.Named{named("+", deadline(5*time.Second))}, target, nil)
		if err != nil || out.Verdict != gates.Hold || !strings.Contains(out.Reason, "could not see the candidate: Consul is away") {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}

// A Consul that answers slowly takes nothing from the time instances have.
func TestTargetAndLookHaveATimeoutEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		target := func(ctx context.Context) (gates.Target, error) {
			time.Sleep(4 * time.Second)
			return candidate, ctx.Err()
		}
		gate := named("", timeout(5*time.Second))
		gate.Gate = check(func(ctx context.Context, _ gates.Target) (gates.Finding, error) {
			time.Sleep(4 * time.Second)
			return gates.Finding{Verdict: gates.Pass}, ctx.Err()
		})
		out, err := gates.Run(t.Context(), []gates.Named{gate}, target, nil)
		if err != nil || out.Verdict != gates.Pass || out.Gates[0].Attempts != 1 {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	why := errors.New("the lease is gone")
	for _, looks := range []string{"~", "?"} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(2500*time.Millisecond, func() { cancel(why) })
			out, err := gates.Run(ctx, []gates.Named{named(looks)}, steady, nil)
			if !errors.Is(err, why) || out.Verdict != gates.Hold {
				t.Errorf("%s: got %+v, %v, want the reason of the end and no verdict", looks, out, err)
			}
		})
	}
	// Nor is a look reported that was over before it began.
	ctx, cancel := context.WithCancel(t.Context())
	target := func(context.Context) (gates.Target, error) { cancel(); return candidate, nil }
	_, err := gates.Run(ctx, []gates.Named{named("+")}, target, func(int, gates.Progress) { t.Error("progress of a look that was not made") })
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// What a gate says although it was interrupted is no evidence.
	ctx, cancel = context.WithCancel(t.Context())
	gate := named("")
	gate.Gate = check(func(context.Context, gates.Target) (gates.Finding, error) {
		cancel()
		return gates.Finding{Verdict: gates.Pass}, nil
	})
	if out, err := gates.Run(ctx, []gates.Named{gate}, steady, nil); !errors.Is(err, context.Canceled) || out.Verdict == gates.Pass {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestProgressIsReportedAfterEachLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var got []string
		report := func(i int, p gates.Progress) {
			got = append(got, fmt.Sprintf("%d %s/%s %s %d/%d at %s of %s: %s", i, p.Kind, p.Name, p.Verdict, p.Failures, p.Attempts, p.At.Sub(began), p.Hash, p.Reason))
		}
		list := []gates.Named{named("+"), named("-?-", attempts(2), deadline(10*time.Second))}
		if _, err := gates.Run(t.Context(), list, steady, report); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"0 script/one pass 0/1 at 0s of h1: looks good",
			"1 script/one hold 1/1 at 0s of h1: looks bad",
			"1 script/one hold 1/2 at 1s of h1: cannot tell",
			"1 script/one fail 2/3 at 2s of h1: looks bad",
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// The record and a person's terminal take what gates say, whoever wrote them.
func TestWhatAGateSaysIsBoundedAndPrintable(t *testing.T) {
	figures := map[string]string{"\x1b[2Jkey": "va\x00lue"}
	for i := range 100 {
		figures[fmt.Sprintf("x%03d", i)] = strings.Repeat("9", 10_000)
	}
	gate := named("")
	gate.Gate = check(func(context.Context, gates.Target) (gates.Finding, error) {
		return gates.Finding{Verdict: gates.Pass, Reason: "\x1b[31mred\r\n" + strings.Repeat("é", 10_000), Figures: figures}, nil
	})
	out, err := gates.Run(t.Context(), []gates.Named{gate}, steady, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := out.Gates[0]
	if n := len([]rune(p.Reason)); n > 600 || strings.ContainsAny(p.Reason, "\x1b\r\n") || !strings.HasPrefix(p.Reason, ".[31mred é") {
		t.Errorf("reason of %d characters: %q", n, p.Reason)
	}
	if len(p.Figures) == 0 || len(p.Figures) > 24 {
		t.Errorf("%d figures", len(p.Figures))
	}
	if p.Figures[".[2Jkey"] != "va.lue" {
		t.Errorf("figures %q", p.Figures)
	}
	for key, value := range p.Figures {
		if len([]rune(value)) > 300 || strings.ContainsAny(key+value, "\x1b\x00") {
			t.Errorf("figure %q: %d characters", key, len(value))
		}
	}
}

// A gate built by hand gets what a decoded one would have.
func TestAGateWithoutSettingsHasTheDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		out, err := gates.Run(t.Context(), []gates.Named{{Gate: &script{looks: "-"}}}, steady, nil)
		if err != nil || out.Verdict != gates.Fail || out.Gates[0].Attempts != gates.DefaultAttempts {
			t.Errorf("got %+v, %v", out, err)
		}
		if want := (gates.DefaultAttempts - 1) * gates.DefaultInterval; time.Since(began) != want {
			t.Errorf("took %s, want %s", time.Since(began), want)
		}
	})
}

type check func(context.Context, gates.Target) (gates.Finding, error)

func (c check) Check(ctx context.Context, target gates.Target) (gates.Finding, error) {
	return c(ctx, target)
}

func TestVerdictsRead(t *testing.T) {
	for v, want := range map[gates.Verdict]string{gates.Hold: "hold", gates.Pass: "pass", gates.Fail: "fail", 17: "hold", -1: "hold"} {
		if v.String() != want {
			t.Errorf("%d reads %s, want %s", int(v), v, want)
		}
	}
	var zero gates.Finding
	if zero.Verdict != gates.Hold {
		t.Error("a gate that says nothing must not let anything through")
	}
}
