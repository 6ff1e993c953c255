package consul

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Consul refuses a client's connections beyond two hundred: of many releases in
// flight some look at their instances without waiting for news, and the agent's
// own requests have their place.
func TestManyReleasesLeaveRoomForTheLease(t *testing.T) {
	const releases = 250
	var held, most atomic.Int32
	change := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "7")
		if r.URL.Query().Has("index") {
			n := held.Add(1)
			for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
			}
			<-change
			held.Add(-1)
		}
		_, _ = w.Write([]byte("[]"))
	}))
	t.Cleanup(server.Close)
	c := client(t, server.URL, 30*time.Second)
	var looked sync.WaitGroup // those that found no place
	var waiting sync.WaitGroup
	looked.Add(releases - mostHeld)
	for range releases {
		waiting.Go(func() {
			select {
			case <-change:
				return
			default:
			}
			_, next, err := c.Instances(t.Context(), "api", 7)
			if err != nil || next != 7 {
				t.Errorf("index %d, %v", next, err)
			}
			select {
			case <-change:
			default:
				looked.Done()
			}
		})
	}
	looked.Wait()
	if _, _, err := c.Get(t.Context(), "teal/leader", 0); err != nil {
		t.Errorf("a request beside them: %v", err)
	}
	close(change)
	waiting.Wait()
	if n := most.Load(); n != mostHeld {
		t.Errorf("%d queries were held", n)
	}
	if from, _ := c.held.Hold(7); from != 7 {
		t.Error("no place was given back")
	}
}
