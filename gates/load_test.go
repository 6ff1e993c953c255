package gates_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// loaded is what a load of a second comes to. One that this machine was too busy
// to send says nothing, and is sent again.
func loaded(t *testing.T, target gates.Target, body string) gates.Finding {
	t.Helper()
	for try := 1; ; try++ {
		f, err := load(t, target, body)
		if err != nil {
			t.Fatal(err)
		}
		if try == 20 || f.Verdict != gates.Hold || !strings.Contains(f.Reason, "could be sent") {
			return f
		}
	}
}

func load(t *testing.T, target gates.Target, body string) (gates.Finding, error) {
	t.Helper()
	n, diags := decode(t, "gate \"load\" \"l\" {\n  duration = \"1s\"\n"+body+"\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	target.Say = func(string) {}
	return n.Gate.Check(t.Context(), target)
}

func TestLoadByItsLimits(t *testing.T) {
	var asked [2]atomic.Int64
	fine := func(i int) http.HandlerFunc {
		return func(_ http.ResponseWriter, r *http.Request) {
			asked[i].Add(1)
			if r.URL.Path != "/2.0.0/a" && r.URL.Path != "/b" {
				t.Errorf("asked for %s", r.URL)
			}
		}
	}
	two := green(app(t, fine(0)), app(t, fine(1)))
	f := loaded(t, two, "rate = 40\nramp = \"1s\"\npaths = [\"/{version}/a\", \"/b\"]\np99 = \"10s\"")
	if f.Verdict != gates.Pass || f.Figures["errors"] != "0.00 %" {
		t.Errorf("%s: %s, %v", f.Verdict, f.Reason, f.Figures)
	}
	// Each in turn, and some more while it was growing.
	if a, b := asked[0].Load(), asked[1].Load(); a+b < 45 || a-b > 6 || b-a > 6 {
		t.Errorf("the instances were asked %d and %d times", a, b)
	}

	var n atomic.Int64
	tenth := green(app(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	if f := loaded(t, tenth, "rate = 40\nerrors = 0.05"); f.Verdict != gates.Fail || !strings.Contains(f.Reason, "requests failed, more than 5.00 %, at first with: status 502") {
		t.Errorf("%s: %s", f.Verdict, f.Reason)
	}
	if f := loaded(t, tenth, "rate = 40\nerrors = 0.2"); f.Verdict != gates.Pass {
		t.Errorf("%s: %s", f.Verdict, f.Reason)
	}

	slow := green(app(t, func(http.ResponseWriter, *http.Request) { time.Sleep(100 * time.Millisecond) }))
	if f := loaded(t, slow, "rate = 20\np95 = \"50ms\""); f.Verdict != gates.Fail || !strings.Contains(f.Reason, "p95 was ") || !strings.Contains(f.Reason, "more than 50ms") {
		t.Errorf("%s: %s", f.Verdict, f.Reason)
	}
	never := green(app(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	if f := loaded(t, never, "rate = 20\nanswer_within = \"50ms\""); f.Verdict != gates.Fail || !strings.Contains(f.Reason, "100.00 % of ") {
		t.Errorf("%s: %s", f.Verdict, f.Reason)
	}
}

// Nothing but the candidate is ever asked.
func TestLoadAimsAtTheCandidateOnly(t *testing.T) {
	var asked atomic.Int64
	count := func(http.ResponseWriter, *http.Request) { asked.Add(1) }
	for _, colour := range []deployment.Colour{deployment.Blue, deployment.None, ""} {
		other := app(t, count)
		other.Colour = colour
		f, err := load(t, green(app(t, count), other), "rate = 20")
		if err == nil || !strings.Contains(err.Error(), "no load is put on it") || f.Verdict != gates.Hold {
			t.Errorf("%s: %+v, %v", colour, f, err)
		}
	}
	// Nor by a port that is the active colour's on the same machine.
	blue := app(t, count)
	shared := beside("1.0.0", app(t, count))
	shared.Others = []deployment.Instance{blue}
	f, err := load(t, shared, fmt.Sprintf("rate = 20\nport = %d", blue.Port))
	if err == nil || !strings.Contains(err.Error(), "an instance of blue, which serves: it is not the candidate") || f.Verdict != gates.Hold {
		t.Errorf("%+v, %v", f, err)
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("%d requests were sent", n)
	}

	// Nor where the candidate sends its callers.
	elsewhere := app(t, count)
	away := green(app(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+elsewhere.HostPort()+"/", http.StatusFound)
	}))
	if f := loaded(t, away, "rate = 20"); f.Verdict != gates.Pass || asked.Load() > 0 {
		t.Errorf("%s: %s, %d requests went elsewhere", f.Verdict, f.Reason, asked.Load())
	}
}

// A load ends with its release, and one that its timeout cuts short proves
// nothing.
func TestLoadEndsWithItsLook(t *testing.T) {
	target := green(app(t, func(http.ResponseWriter, *http.Request) {}))
	target.Say = func(string) {}
	n, diags := decode(t, "gate \"load\" \"l\" {\n  rate = 20\n  duration = \"2m\"\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for _, end := range []func(context.Context) (context.Context, context.CancelFunc){
		func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 300*time.Millisecond)
		},
		func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(300*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		ctx, cancel := end(t.Context())
		began := time.Now()
		f, err := n.Gate.Check(ctx, target)
		cancel()
		if took := time.Since(began); err == nil || f.Verdict != gates.Hold || took > 30*time.Second {
			t.Errorf("%+v, %v after %s", f, err, took)
		}
	}
}

// A load ends with its release also while nobody answers, and does not wait for as
// long as an answer may take.
func TestLoadWithoutAnswersEndsWithItsRelease(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	target := green(app(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	target.Say = func(string) {}
	n, diags := decode(t, "gate \"load\" \"l\" {\n  rate = 20\n  duration = \"2m\"\n answer_within = \"1m\"\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	began := time.Now()
	f, err := n.Gate.Check(ctx, target)
	if took := time.Since(began); !errors.Is(err, context.Canceled) || f.Verdict != gates.Hold || took > 30*time.Second {
		t.Errorf("%+v, %v after %s", f, err, took)
	}
}

// A load closes its connections: each release would otherwise leave the agent with
// some thousands, which a candidate that passes keeps for as long as it runs.
func TestLoadLeavesNoConnections(t *testing.T) {
	var held, were atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			held.Add(1)
			were.Add(1)
		case http.StateClosed:
			held.Add(-1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	if f := loaded(t, green(instanceAt(t, server.Listener.Addr().String())), "rate = 50\nramp = \"1s\""); f.Verdict != gates.Pass || were.Load() == 0 {
		t.Fatalf("%s: %s", f.Verdict, f.Reason)
	}
	for deadline := time.Now().Add(10 * time.Second); held.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d connections are still open", held.Load(), were.Load())
		}
	}
}

func TestMistakesInALoad(t *testing.T) {
	for body, want := range map[string]string{
		``:                                     `"rate" is required`,
		"rate = 0":                             "0 is out of range",
		"rate = 1\npaths = []":                 "Nothing to ask",
		"rate = 1\npaths = [\"http://blue/\"]": "never at a URL",
		"rate = 1\npaths = [\"/{colur}\"]":     "is no placeholder",
		"rate = 1\nduration = \"10m\"":         "Timeout too short",
		"rate = 1\nramp = \"5m\"":              "Timeout too short",
		"rate = 1\nduration = \"2h\"":          "Load too long",
		"rate = 1\nduration = \"1ms\"":         "Load too short",
		"rate = 1\np50 = \"2s\"\np99 = \"1s\"": "p50 may take 2s, and p99 only 1s",
		"rate = 1\np99 = \"20s\"":              "is an error already",
		"rate = 1\ntls {}":                     "the scheme is http",
		"rate = 1\nurl = \"http://blue/\"":     "Known in gate \"load\"",
	} {
		_, diags := decode(t, "gate \"load\" \"n\" {\n"+body+"\n}")
		if !said(diags, want) {
			t.Errorf("%s\nsaid %s\nwant %s", body, diags.Error(), want)
		}
	}
}

// said says whether one of the mistakes is told in these words.
func said(diags hcl.Diagnostics, words string) bool {
	return slices.ContainsFunc(diags, func(d *hcl.Diagnostic) bool { return strings.Contains(d.Summary+": "+d.Detail, words) })
}
