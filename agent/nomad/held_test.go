package nomad

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// Nomad refuses a client's connections beyond a hundred: of many launches, each
// with three blocking queries, some are looked at every second instead, and
// none is missed.
func TestManyLaunchesLeaveRoomForOtherRequests(t *testing.T) {
	const launches = 40
	var held, most, connections, mostConnected atomic.Int32
	raise := func(most *atomic.Int32, n int32) {
		for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
		}
	}
	over := make(chan struct{})
	full := sync.OnceFunc(func() { close(over) })
	answer := func(w http.ResponseWriter, r *http.Request) {
		now, status := "5", "running"
		if r.URL.Query().Has("index") {
			n := held.Add(1)
			raise(&most, n)
			if n == mostHeld {
				full() // as many as may be: now the jobs end
			}
			select {
			case <-over:
			case <-r.Context().Done():
			}
			held.Add(-1)
		}
		select {
		case <-over:
			now, status = "6", "dead"
		default:
		}
		w.Header().Set("X-Nomad-Index", now)
		switch {
		case strings.HasSuffix(r.URL.Path, "/allocations"), strings.HasSuffix(r.URL.Path, "/evaluations"):
			_, _ = w.Write([]byte("[]"))
		case strings.HasSuffix(r.URL.Path, "/deployment"):
			_, _ = w.Write([]byte("null"))
		default:
			job := testJob()
			job.Stop, job.Version, job.Status = ptr(false), ptr(uint64(0)), &status
			_ = json.NewEncoder(w).Encode(job)
		}
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(answer))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			raise(&mostConnected, connections.Add(1))
		case http.StateClosed:
			connections.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	nomad := client(t, server.URL)
	var watching errgroup.Group
	for i := range launches {
		watching.Go(func() error {
			ended := false
			err := nomad.WatchJob(t.Context(), "shop", fmt.Sprint("api-", i), func(s JobStatus) bool {
				ended = s.Over
				return ended
			})
			if err == nil && !ended {
				err = fmt.Errorf("api-%d was not seen to end", i)
			}
			return err
		})
	}
	if err := watching.Wait(); err != nil {
		t.Error(err)
	}
	if n := most.Load(); n != mostHeld {
		t.Errorf("%d queries were held", n)
	}
	// A closed connection counts at the server until it hears of it.
	if n := mostConnected.Load(); n > 100 {
		t.Errorf("%d connections at a time", n)
	}
}
