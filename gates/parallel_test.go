package gates_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tealdeploy/teal/gates"
)

// inGroup puts gates into a parallel group, and names them by their place.
func inGroup(group int, list ...gates.Named) []gates.Named {
	for i := range list {
		list[i].Parallel = group
		list[i].Name = fmt.Sprintf("%d%d", group, i)
	}
	return list
}

func TestAGroupIsLookedAtSideBySide(t *testing.T) {
	for _, c := range []struct {
		name    string
		group   []gates.Named
		verdict gates.Verdict
		reason  string
		took    time.Duration
	}{
		{"the slowest says when all have passed", []gates.Named{named("??+"), named("?????+")}, gates.Pass, "2 of 2 gates passed", 5 * time.Second},
		{"a failure ends the others", []gates.Named{named("~"), named("-", attempts(2))}, gates.Fail, `gate script "11": looks bad`, time.Second},
		{"one that cannot be judged waits for the others, and one of them fails", []gates.Named{named("?", deadline(3*time.Second)), named("?????-", attempts(1))},
			gates.Fail, `gate script "11": looks bad`, 5 * time.Second},
		{"one that cannot be judged holds, whatever passed after it", []gates.Named{named("?", deadline(3*time.Second)), named("?????+")},
			gates.Hold, `gate script "10": could not be judged within 3s: cannot tell`, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				out, err := gates.Run(t.Context(), inGroup(1, c.group...), steady, nil)
				if err != nil || out.Verdict != c.verdict || out.Reason != c.reason {
					t.Errorf("got %s %q, %v\nwant %s %q", out.Verdict, out.Reason, err, c.verdict, c.reason)
				}
				if took := time.Since(began); took != c.took {
					t.Errorf("took %s, want %s", took, c.took)
				}
			})
		})
	}
}

// A group has its turn where it stands, two groups that touch have one each,
// and progress is told with each gate's own place.
func TestGroupsKeepTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		list := []gates.Named{named("?+")}
		list = append(list, inGroup(1, named("??+"), named("+"))...)
		list = append(list, inGroup(2, named("+"), named("?+"))...)
		list = append(list, named("+"))
		began := time.Now()
		told := ""
		out, err := gates.Run(t.Context(), list, steady, func(i int, p gates.Progress) {
			if p.Verdict == gates.Pass {
				told += fmt.Sprintf("%d@%s ", i, time.Since(began))
			}
		})
		if err != nil || out.Verdict != gates.Pass || len(out.Gates) != len(list) || out.Reason != "6 of 6 gates passed" {
			t.Errorf("got %+v, %v", out, err)
		}
		if want := "0@1s 2@1s 1@3s 3@3s 4@4s 5@4s "; told != want {
			t.Errorf("passed %s\nwant   %s", told, want)
		}
	})
}

// An edit while a group is looked at makes everything void, for all of it.
func TestAnEditVoidsAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		target := func(context.Context) (gates.Target, error) {
			now := candidate
			if time.Since(began) > 2*time.Second {
				now.Hash = "h2"
			}
			return now, nil
		}
		out, err := gates.Run(t.Context(), inGroup(1, named("?"), named("~", timeout(time.Hour), deadline(2*time.Hour))), target, nil)
		if took := time.Since(began); !errors.Is(err, gates.ErrChanged) || out.Verdict == gates.Pass || took != 3*time.Second {
			t.Errorf("got %+v, %v after %s", out, err, took)
		}
	})
}

// Whoever ends the run ends every look of a group, and no verdict is left.
func TestAGroupEndsWithTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(1500*time.Millisecond, cancel)
		out, err := gates.Run(ctx, inGroup(1, named("~"), named("?")), steady, nil)
		if !errors.Is(err, context.Canceled) || out.Verdict == gates.Pass {
			t.Errorf("got %+v, %v", out, err)
		}
	})
}
