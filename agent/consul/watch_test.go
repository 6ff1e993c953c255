package consul

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// answer is what one query brings.
type answer struct {
	index uint64
	err   error
	after time.Duration // how long the query blocks
}

// watched plays a list of answers to Watch and returns the indexes it asked
// with, and how long it took. After the last answer it stops.
func watched(t *testing.T, answers ...answer) (asked []uint64, took time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		err := Watch(t.Context(), func(_ context.Context, index uint64) (uint64, error) {
			asked = append(asked, index)
			if len(asked) > len(answers) {
				took = time.Since(began)
				return 0, ErrStop
			}
			a := answers[len(asked)-1]
			<-time.After(a.after)
			return a.index, a.err
		})
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	})
	return asked, took
}

func TestWatchGoesOnWithTheIndexItGot(t *testing.T) {
	asked, took := watched(t, answer{index: 5}, answer{index: 9, after: time.Second}, answer{index: 9, after: time.Minute}, answer{index: 12})
	if !slices.Equal(asked, []uint64{0, 5, 9, 9, 12}) || took != time.Second+time.Minute {
		t.Errorf("asked %v in %s", asked, took)
	}
}

func TestWatchBeginsAnewWhenTheIndexGoesBack(t *testing.T) {
	asked, _ := watched(t, answer{index: 50}, answer{index: 7, after: time.Second}, answer{index: 7}, answer{index: 0, after: time.Second})
	if !slices.Equal(asked, []uint64{0, 50, 0, 7, 0}) {
		t.Errorf("asked %v", asked)
	}
}

func TestWatchPausesLongerAfterEachError(t *testing.T) {
	var failing []answer
	for range 6 {
		failing = append(failing, answer{index: 3, err: errors.New("away")})
	}
	asked, took := watched(t, append([]answer{{index: 8}}, failing...)...)
	if !slices.Equal(asked, []uint64{0, 8, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("asked %v", asked)
	}
	// 100 + 200 + 400 + 800 + 1600 + 3200 ms, each at least half of that.
	if took < 3150*time.Millisecond || took > 6300*time.Millisecond {
		t.Errorf("six errors took %s", took)
	}
	// An answer makes the next pause short again.
	_, took = watched(t, append(failing, answer{index: 8}, answer{err: errors.New("away")})...)
	if took < 3050*time.Millisecond || took > 6400*time.Millisecond {
		t.Errorf("six errors, an answer and one error took %s", took)
	}
}

// A server that does not block, or a query whose index never moves, must not
// become a storm of requests.
func TestWatchSlowsDownAQueryThatDoesNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, index := range []uint64{0, 7} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			calls := 0
			if err := Watch(ctx, func(context.Context, uint64) (uint64, error) {
				if calls++; calls > 60 {
					t.Fatalf("%d requests within a minute", calls)
				}
				return index, nil
			}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("ended with %v", err)
			}
		}
	})
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := Watch(ctx, func(context.Context, uint64) (uint64, error) { return 0, errors.New("away") })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	var b Backoff
	for _, bound := range []time.Duration{100, 200, 400, 800, 1600, 3000, 3000} {
		bound *= time.Millisecond
		if d := b.Next(); d < bound/2 || d > bound {
			t.Errorf("%s, want half of %s to all of it", d, bound)
		}
	}
	b.Reset()
	if d := b.Next(); d > firstPause {
		t.Errorf("after a reset %s", d)
	}
}
