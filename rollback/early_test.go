package rollback_test

import (
	"testing"
	"time"

	"github.com/tealdeploy/teal/rollback"
)

// A watch may end early when all has been well for so long and over so many
// requests; where nobody came, or nobody counts, it never may.
func TestEnough(t *testing.T) {
	early := rollback.Early{After: 30 * time.Second, Requests: 1000}
	enough := func(r *release) bool {
		t.Helper()
		n, ok := r.watch.Enough(early, r.at)
		if ok && n < 1000 {
			t.Errorf("enough with %v requests", n)
		}
		return ok
	}
	r := newRelease(t, "").served(60, 100, 0)
	for second := range 60 {
		r.serves(1, 100, 0)
		if got, want := enough(r), second >= 30; got != want {
			t.Fatalf("after %d s: %t, want %t", second, got, want)
		}
	}
	if _, ok := r.watch.Enough(rollback.Early{}, r.at); ok {
		t.Error("enough without being asked for")
	}
	// A break begins it anew.
	r.silent = true
	for range 31 {
		r.look()
	}
	if enough(r) {
		t.Error("enough, and nothing is known")
	}
	r.silent = false
	r.serves(20, 100, 0)
	if enough(r) {
		t.Error("enough, and all is well for 20 s only")
	}
	r.serves(20, 100, 0)
	if !enough(r) {
		t.Errorf("not enough: %s", r.got.Reason)
	}
	// Too few requests.
	r = newRelease(t, "min_requests = 1").served(60, 100, 0)
	r.serves(60, 10, 0)
	if enough(r) {
		t.Error("enough with 600 requests")
	}
	// Nobody counts.
	r = newRelease(t, "")
	r.watch = rollback.NewWatch(nil)
	r.serves(60, 100, 0)
	if r.got.Verdict != fine || enough(r) {
		t.Errorf("enough by Consul's health alone: %s", r.got.Reason)
	}
}
