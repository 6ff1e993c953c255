package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// What writes is told from what asks, and has the same name in every run.
func TestWritesAreRecognised(t *testing.T) {
	const id = "0a70eac7-7bef-f5de-1c46-087368f6d802"
	for _, x := range []struct{ server, method, url, body, want string }{
		{"consul", "GET", "/v1/kv/teal-a/leader?index=4", "", ""},
		{"consul", "PUT", "/v1/kv/teal-a/leader?acquire=" + id, "first", "consul PUT /v1/kv/leader?acquire"},
		{"consul", "PUT", "/v1/session/renew/" + id, "", "consul PUT /v1/session/renew/ID"},
		{"consul", "PUT", "/v1/txn", `[{"KV":{"Verb":"check-session","Key":"teal-a/leader"}},{"KV":{"Verb":"get-tree","Key":"teal-a/services/a/workers/blue/"}}]`, ""},
		{"consul", "PUT", "/v1/txn", `[{"KV":{"Verb":"check-session","Key":"teal-a/leader"}},{"KV":{"Verb":"cas","Key":"teal-a/services/a/state"}},{"KV":{"Verb":"set","Key":"teal-a/services/a/deployments/20261125-1-ab"}},{"KV":{"Verb":"delete","Key":"teal-a/services/a/deployments/20261125-0-aa"}}]`,
			"consul txn cas state, set deployments/ID"},
		{"consul", "PUT", "/v1/txn", "garbage", "consul txn that cannot be read"},
		{"consul", "PUT", "/v1/config?cas=7", `{"Kind":"service-router","Name":"a"}`, "consul PUT /v1/config service-router"},
		{"nomad", "POST", "/v1/jobs/parse", "{}", ""},
		{"nomad", "PUT", "/v1/job/a-green/plan", "{}", ""},
		{"nomad", "PUT", "/v1/jobs", "{}", "nomad PUT /v1/jobs"},
		{"nomad", "DELETE", "/v1/job/a-blue?purge=false", "", "nomad DELETE /v1/job/NAME"},
		{"nomad", "POST", "/v1/something/new", "", "nomad POST /v1/something/new"},
	} {
		at, err := url.Parse(x.url)
		if err != nil {
			t.Fatal(err)
		}
		w, writes := writeOf(x.server, x.method, at, []byte(x.body))
		if w.Name != x.want || writes != (x.want != "") {
			t.Errorf("%s %s %s: %q, %t, want %q", x.method, x.url, x.body, w.Name, writes, x.want)
		}
	}
}

// wired is a server that keeps what it was sent, behind a wire.
func wired(t *testing.T) (w *Wire, got *atomic.Int64) {
	t.Helper()
	got = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			got.Add(1)
		}
		fmt.Fprint(w, "well")
	}))
	t.Cleanup(server.Close)
	w, err := NewWire("consul", strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, got
}

func send(ctx context.Context, w *Wire, method string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+w.Address+"/v1/kv/x", strings.NewReader("y"))
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // else a broken connection is tried again
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// A write can be lost before the server has it, and after: then it is done and
// its sender does not know.
func TestAWriteIsLostBeforeOrAfter(t *testing.T) {
	w, got := wired(t)
	var moments []Moment
	w.Watch(func(write *Write, m Moment) bool {
		if moments = append(moments, m); m == After && write.Status != 200 {
			t.Errorf("status %d", write.Status)
		}
		return true
	})
	if body, err := send(t.Context(), w, "PUT"); body != "well" || err != nil || got.Load() != 1 || !slices.Equal(moments, []Moment{Before, After}) {
		t.Errorf("undisturbed: %q, %v, %d arrived, told %v", body, err, got.Load(), moments)
	}
	for i, lost := range []Moment{Before, After} {
		w.Watch(func(_ *Write, m Moment) bool { return m != lost })
		if body, err := send(t.Context(), w, "PUT"); err == nil {
			t.Errorf("lost %s: answered %q", lost, body)
		}
		if want := int64(1 + i); got.Load() != want {
			t.Errorf("lost %s: %d arrived, want %d", lost, got.Load(), want)
		}
		if _, err := send(t.Context(), w, "GET"); err != nil {
			t.Errorf("a question was lost: %v", err)
		}
	}
}

// While the wire is cut neither side hears of the other, and neither is told.
func TestACutWireHoldsEverything(t *testing.T) {
	w, got := wired(t)
	w.Cut()
	w.Cut() // again is no harm
	soon, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := send(soon, w, "PUT"); !errors.Is(err, context.DeadlineExceeded) || got.Load() != 0 {
		t.Errorf("over a cut wire: %v, %d arrived", err, got.Load())
	}
	answered := make(chan error, 1)
	go func() {
		_, err := send(t.Context(), w, "PUT")
		answered <- err
	}()
	w.Restore()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// Few kills of many are spread over all of them and over both moments.
func TestSpread(t *testing.T) {
	var all []job
	for i := range 28 {
		p := Point{"w", i}
		all = append(all, job{point: p, moment: Before}, job{point: p, moment: After})
	}
	some := spread(all, 6)
	moments := map[Moment]int{}
	points := map[Point]bool{}
	for _, j := range some {
		moments[j.moment]++
		points[j.point] = true
	}
	if len(some) != 6 || len(points) != 6 || moments[Before] != 3 || some[5].point.Nth < 20 {
		t.Errorf("%+v", some)
	}
	if len(spread(all, 0)) != len(all) {
		t.Error("0 does not take all")
	}
}

// Every kind of fault happens, as often as was asked for, and none in the end.
func TestFaultsAreSpread(t *testing.T) {
	for _, x := range []struct{ cutovers, leaders, agents, workers int }{{240, 50, 20, 8}, {20, 1, 1, 1}} {
		seen := map[fault]int{}
		for i := range x.cutovers {
			f := faultAt(i, x.cutovers, x.leaders)
			seen[f]++
			if f != nothing && i >= x.cutovers-quiet {
				t.Errorf("a fault at %d of %d", i, x.cutovers)
			}
		}
		if seen[leaderDies] != x.leaders || seen[agentDies] < x.agents || seen[workerDies] < x.workers {
			t.Errorf("%d cutovers: %v", x.cutovers, seen)
		}
	}
}
