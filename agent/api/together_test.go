package api

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
)

// Many ask at once: one answer is in the making, and all others get the next
// one, which is begun after they asked. Whoever goes away takes it from nobody.
func TestOneAnswerForAllWhoAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, now := 0, 0
		end := make(chan struct{})
		all := newTogether(func(ctx context.Context) answer {
			asked++ // by one at a time: the race detector watches
			now++
			if now > 1 {
				t.Error("two are in the making")
			}
			defer func() { now-- }()
			<-end
			if ctx.Err() != nil {
				t.Error("it ends with whoever asked first")
			}
			return answer{200, fmt.Append(nil, asked)}
		})
		var mu sync.Mutex
		told := map[string]int{}
		ask := func(ctx context.Context) {
			got, ok := all.get(ctx)
			if !ok {
				got.body = []byte("nothing")
			}
			mu.Lock()
			told[string(got.body)]++
			mu.Unlock()
		}
		go ask(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go ask(ctx) // makes the next one, and goes away before
		synctest.Wait()
		for range 20 {
			go ask(t.Context())
		}
		synctest.Wait()
		cancel()
		for range 2 {
			end <- struct{}{}
			synctest.Wait()
		}
		if asked != 2 || told["1"] != 1 || told["2"] < 20 || told["2"]+told["nothing"] != 21 {
			t.Errorf("made %d times, and told %v", asked, told)
		}
	})
}
