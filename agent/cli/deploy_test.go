package cli

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

// running is a service with 1.2.0 on blue.
func running() deployment.Service {
	return deployment.Service{
		Format: deployment.Format, Name: "api", Active: deployment.Blue, Managed: true,
		Route: deployment.Route{Router: "service-router", Prepared: true, Loose: true},
		Jobs:  deployment.JobOwnership{Owner: deployment.Blue},
		Slots: map[deployment.Colour]deployment.Slot{
			deployment.Blue: {Job: "api", Version: "1.2.0", Expected: 3, Adopted: true, Proof: "adopted as it ran"},
		},
	}
}

// releasing is the service with a release of 1.3.0 to green begun.
func releasing(state deployment.State, since float64) deployment.Service {
	s := running()
	s.Slots[deployment.Green] = deployment.Slot{Job: "api-green", Version: "1.3.0", Expected: 3}
	s.Deployment = &deployment.Deployment{
		ID: "d7", Service: "api", State: state, Since: at(since), Started: at(0),
		Candidate: deployment.Candidate{Version: "1.3.0", Hash: "3f2a91c04b7d22aa", Policy: "99aa", Job: "api", By: "alice@laptop"},
		From:      deployment.Blue, To: deployment.Green, FromVersion: "1.2.0",
	}
	return s
}

func passed() deployment.GateRecord {
	return deployment.GateRecord{Kind: "http", Name: "smoke", Verdict: "pass", Reason: "3 of 3 instances answered 200", At: at(20)}
}

// played is a release's records from the start to the soak.
func played() []deployment.Service {
	prepare := releasing(deployment.Preparing, 0)
	launch := releasing(deployment.Launching, 1)
	waits := releasing(deployment.Gating, 12)
	waits.Deployment.Gates = []deployment.GateRecord{{Kind: "http", Name: "smoke", Verdict: "hold", Reason: "1 of 3 instances answered 200"}}
	approval := releasing(deployment.Approving, 20)
	approval.Deployment.Gates = []deployment.GateRecord{passed()}
	cut := releasing(deployment.CuttingOver, 30)
	cut.Deployment.Gates = approval.Deployment.Gates
	cut.Deployment.Approval = &deployment.Approval{By: "bob@desk", At: at(30)}
	watch := releasing(deployment.Watching, 31)
	watch.Deployment.Gates, watch.Deployment.Approval = cut.Deployment.Gates, cut.Deployment.Approval
	watch.Deployment.Cutover = &deployment.Move{To: deployment.Green, By: "teal", Decided: at(30), Written: at(30.0021), Verified: at(30.25)}
	watch.Active = deployment.Green
	soak := watch
	d := *watch.Deployment
	d.State, d.Since = deployment.Soaking, at(91)
	soak.Deployment = &d
	return []deployment.Service{prepare, launch, waits, approval, cut, watch, soak}
}

// plays answers a deploy and saves the records one after the other, each as
// soon as the one before was seen.
func plays(id string, records ...deployment.Service) func(*fakeConsul, string, kv.Verb, kv.Command, uint64) {
	return func(f *fakeConsul, svc string, verb kv.Verb, _ kv.Command, index uint64) {
		f.record(records[0])
		f.answer(svc, verb, kv.Result{Index: index, Accepted: true, Deployment: id, Reason: "releasing 1.3.0 to green"})
		for _, r := range records[1:] {
			f.watched(testKeys.State(svc))
			f.record(r)
		}
	}
}

func TestDeployFollowsUntilLive(t *testing.T) {
	f := newFakeConsul(t)
	f.lead("teal-1")
	var got kv.Command
	play := plays("d7", played()...)
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, c kv.Command, index uint64) {
		got = c
		play(f, svc, verb, c, index)
	}
	// Options after the service are what people type.
	r := teal(t, "deploy", "-why", "sprint 12", "api", "-var", "version=1.3.0", "-var=note=a=b")
	r.want(t, exitOK, "api 1.3.0 is live on green.", "")
	golden(t, "deploy", r.out)
	if strings.Contains(r.out, "\x1b") {
		t.Error("escape sequences though nobody looks")
	}
	if got.Vars["version"] != "1.3.0" || got.Vars["note"] != "a=b" || got.Why != "sprint 12" || !strings.Contains(got.By, "@") {
		t.Errorf("command: %+v", got)
	}
}

func TestDeployUntil(t *testing.T) {
	all := played()
	done := all[len(all)-1]
	ended := *done.Deployment
	ended.State, ended.Outcome, ended.Ended = deployment.Done, deployment.Succeeded, at(110)
	retired := done
	retired.Deployment = nil
	for until, c := range map[string]struct {
		records []deployment.Service
		says    string
	}{
		"cutover": {all[:6], "api 1.3.0 has all traffic on green."}, // would wait for ever for the soak
		"live":    {all, "api 1.3.0 is live on green."},
		"done":    {append(all[:7:7], retired), "previous colour retired"},
	} {
		t.Run(until, func(t *testing.T) {
			f := newFakeConsul(t)
			if until == "done" {
				body, _ := json.Marshal(ended)
				f.put(testKeys.Deployment("api", "d7"), string(body))
			}
			f.agent = plays("d7", c.records...)
			teal(t, "deploy", "api", "-until", until).want(t, exitOK, c.says, "")
		})
	}
}

func TestDeployEndsBadlyWithTheReason(t *testing.T) {
	for outcome, says := range map[deployment.Outcome]string{
		deployment.RolledBack: "api 1.3.0 was rolled back: 12.0 % of 240 requests failed. blue 1.2.0 serves.",
		deployment.Failed:     "api 1.3.0 failed and never served: 12.0 % of 240 requests failed. blue 1.2.0 serves.",
		deployment.Aborted:    "was aborted and never served",
		deployment.Superseded: "was superseded and never served",
	} {
		t.Run(string(outcome), func(t *testing.T) {
			f := newFakeConsul(t)
			watch := played()[5]
			d := *watch.Deployment
			d.State, d.Outcome, d.Reason, d.Ended = deployment.Done, outcome, "12.0 % of 240 requests failed", at(60)
			body, _ := json.Marshal(d)
			f.put(testKeys.Deployment("api", "d7"), string(body))
			f.agent = plays("d7", watch, running()) // the record has moved on
			r := teal(t, "deploy", "api")
			r.want(t, exitFailed, "ended: "+string(outcome), says)

			f.record(releasing(deployment.Gating, 1))
			f.agent = plays("d7", watch, running())
			r = teal(t, "deploy", "-json", "api")
			var o ordered
			if err := json.Unmarshal([]byte(r.out), &o); err != nil || o.ExitCode != exitFailed || o.Deployment.Outcome != outcome || r.err != "" {
				t.Errorf("json: %v %s %s", err, r.out, r.err)
			}
		})
	}
}

func TestDeployShowsWhatItWaitsFor(t *testing.T) {
	f := newFakeConsul(t)
	held := releasing(deployment.Gating, 12)
	held.Held = &deployment.Flag{By: "teal", Reason: "the router was edited by hand", At: at(60)}
	paused := releasing(deployment.Gating, 12)
	paused.Paused = &deployment.Flag{By: "bob@desk", Reason: "lunch", At: at(90)}
	f.agent = plays("d7", append([]deployment.Service{held, paused}, played()[3:]...)...)
	r := teal(t, "deploy", "api")
	r.want(t, exitOK, "HELD since 10:01:00 (1m ago): the router was edited by hand", "")
	golden(t, "deploy_waits", r.out)
	for _, hint := range []string{"teal resume api", "teal abort api", "teal approve api", "PAUSED by bob@desk"} {
		if !strings.Contains(r.out, hint) {
			t.Errorf("lacks %s", hint)
		}
	}
}

func TestDeployFollowsAQueuedVersion(t *testing.T) {
	queued := played()[6]
	mine := deployment.Candidate{Version: "1.4.0", Hash: "feed", Policy: "99aa", By: "alice@laptop"}
	queued.Queued = &mine
	begun := releasing(deployment.Preparing, 100)
	begun.Deployment.ID, begun.Deployment.Candidate = "d8", mine
	live := played()[6]
	l := *live.Deployment
	l.ID, l.Candidate = "d8", mine
	live.Deployment = &l

	t.Run("its turn comes", func(t *testing.T) {
		f := newFakeConsul(t)
		f.agent = plays("", queued, begun, live)
		r := teal(t, "deploy", "api")
		r.want(t, exitOK, "1.4.0 is queued: 1.3.0 is soaking, and its slot is the way back", "")
		r.want(t, exitOK, "api 1.4.0 is live on green.", "")
	})
	t.Run("a newer one takes its place", func(t *testing.T) {
		f := newFakeConsul(t)
		newer := queued
		newer.Queued = &deployment.Candidate{Version: "1.5.0", Hash: "beef"}
		f.agent = plays("", queued, newer)
		teal(t, "deploy", "api").want(t, exitFailed, "", "superseded: 1.5.0 took its place")
	})
	t.Run("nothing to release", func(t *testing.T) {
		f := newFakeConsul(t)
		f.agent = plays("", running())
		teal(t, "deploy", "api").want(t, exitOK, "releasing 1.3.0 to green", "")
	})
}

func TestDeployRefused(t *testing.T) {
	f := newFakeConsul(t)
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, _ kv.Command, index uint64) {
		// An older answer stands there; only the one to this command counts.
		f.answer(svc, verb, kv.Result{Index: index, Reason: "no policy for api; the agent has policies for: web"})
	}
	f.put(testKeys.Result("api", kv.Deploy), `{"index": 3, "accepted": true, "reason": "of yesterday"}`)
	teal(t, "deploy", "api").want(t, exitRefused, "", "refused: no policy for api; the agent has policies for: web")
}

func TestDeployDetached(t *testing.T) {
	f := newFakeConsul(t)
	f.agent = plays("d7", releasing(deployment.Preparing, 0))
	teal(t, "deploy", "-detach", "api").want(t, exitOK, "releasing 1.3.0 to green\n", "")
}

func TestCommandThatNobodyTakesIsWithdrawn(t *testing.T) {
	f := newFakeConsul(t)
	r := teal(t, "deploy", "-timeout=50ms", "api")
	r.want(t, exitUnreachable, "", "no agent leads, so nobody took the command within 50ms; it was withdrawn")
	if _, still := f.value(testKeys.Command("api", kv.Deploy)); still {
		t.Error("the command is still there for the next agent")
	}

	f.lead("teal-1")
	teal(t, "deploy", "-timeout=50ms", "api").want(t, exitUnknown, "", "agent teal-1 leads but did not take the command")
}

func TestCommandWaitsForAnotherOfItsKind(t *testing.T) {
	f := newFakeConsul(t)
	key := testKeys.Command("api", kv.Pause)
	f.put(key, `{"by": "carol@desk"}`)
	r := teal(t, "pause", "-timeout=50ms", "api")
	r.want(t, exitUnreachable, "", "Another pause of api, by carol@desk, has not been taken by an agent yet")
	r.want(t, exitUnreachable, "", "yours was not sent")
	if v, _ := f.value(key); !strings.Contains(v, "carol") {
		t.Error("the other command was overwritten")
	}
}

func TestCommandIsPutOnceTheOtherIsTaken(t *testing.T) {
	f := newFakeConsul(t)
	key := testKeys.Command("api", kv.Pause)
	f.put(key, `{"by": "carol@desk"}`)
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, _ kv.Command, index uint64) {
		f.answer(svc, verb, kv.Result{Index: index, Accepted: true, Reason: "paused"})
	}
	f.acts.Go(func() {
		f.watched(key)
		f.delete(key)
	})
	teal(t, "pause", "api").want(t, exitOK, "paused\n", "by carol@desk")
}

func TestInterruptStopsFollowingNotTheRelease(t *testing.T) {
	f := newFakeConsul(t)
	ctx, interrupt := context.WithCancel(t.Context())
	play := plays("d7", releasing(deployment.Gating, 12))
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, c kv.Command, index uint64) {
		play(f, svc, verb, c, index)
		f.watched(testKeys.State(svc))
		interrupt()
	}
	r := tealIn(t, ctx, nil, "deploy", "api")
	r.want(t, exitUnknown, "gating", "stopped following; the release goes on. 'teal status api -watch' follows it again.")

	f.agent = plays("d7", releasing(deployment.Gating, 12))
	teal(t, "deploy", "-wait=30ms", "api").want(t, exitUnknown, "", "stopped following after 30ms; the release goes on")
}

func TestInterruptBeforeAnAgentTookItWithdraws(t *testing.T) {
	f := newFakeConsul(t)
	ctx, interrupt := context.WithCancel(t.Context())
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, _ kv.Command, _ uint64) {
		f.watched(testKeys.Result(svc, verb))
		interrupt()
	}
	tealIn(t, ctx, nil, "rollback", "api").want(t, exitUnknown, "", "it was withdrawn")
	if _, still := f.value(testKeys.Command("api", kv.Rollback)); still {
		t.Error("the command is still there")
	}
}

func TestConsulAwayOrDenied(t *testing.T) {
	t.Run("nothing listens", func(t *testing.T) {
		srv := httptest.NewServer(http.NotFoundHandler())
		srv.Close()
		r := teal(t, "status", "-http-addr", srv.URL)
		r.want(t, exitUnreachable, "", "connection refused. Is it running there? -http-addr or CONSUL_HTTP_ADDR says where.")
	})
	t.Run("no leader", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "No cluster leader", http.StatusInternalServerError)
		}))
		defer srv.Close()
		teal(t, "deploy", "api", "-http-addr", srv.URL).want(t, exitUnreachable, "", "answers, but cannot serve: No cluster leader.")
	})
	t.Run("reading denied", func(t *testing.T) {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "Permission denied: token with AccessorID '0000' lacks permission 'key:read'", http.StatusForbidden)
		}))
		defer srv.Close()
		teal(t, "status", "api", "-http-addr", srv.URL).want(t, exitRefused, "", `key_prefix "teal/services/api/" { policy = "read" }`)
	})
	t.Run("writing denied", func(t *testing.T) {
		f := newFakeConsul(t)
		f.deny = testKeys.Commands()
		teal(t, "rollback", "api").want(t, exitRefused, "", `key "teal/commands/api/rollback" { policy = "write" }`)
	})
}

func TestClientFlagsAndEnvironment(t *testing.T) {
	var token, dc, path string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, dc = r.Header.Get("X-Consul-Token"), r.URL.Query().Get("dc")
		if path == "" {
			path = r.URL.Path
		}
		http.Error(w, "no", http.StatusInternalServerError)
	}))
	defer srv.Close()
	t.Setenv("CONSUL_HTTP_ADDR", srv.URL)
	t.Setenv("CONSUL_HTTP_TOKEN", "from-environment")
	t.Setenv("TEAL_PREFIX", "team/teal")
	teal(t, "status", "api")
	if token != "from-environment" || path != "/v1/kv/team/teal/services/api/state" {
		t.Errorf("environment: %q %q", token, path)
	}
	path = ""
	teal(t, "status", "api", "-token=by-flag", "-datacenter", "dc2", "-prefix", "x/")
	if token != "by-flag" || dc != "dc2" || path != "/v1/kv/x/services/api/state" {
		t.Errorf("flags: %q %q %q", token, dc, path)
	}
}

// TestLiveViewIsRedrawnInPlace reads what a terminal would show at the end.
func TestLiveViewIsRedrawnInPlace(t *testing.T) {
	f := newFakeConsul(t)
	records := played()
	f.agent = plays("d7", records[:len(records)-1]...)
	r := tealIn(t, t.Context(), func(term *terminal) {
		term.tty = true
		term.size = func() (int, int) { return 72, 24 }
	}, "deploy", "api", "-until=cutover")
	r.want(t, exitOK, "has all traffic", "")
	screen := screenOf(r.out)
	golden(t, "deploy_live", screen)
	if n := strings.Count(screen, "api 1.3.0 to"); n != 1 {
		t.Errorf("the head stands %d times on screen", n)
	}
	for _, line := range strings.Split(screen, "\n") {
		if visible(line) > 72 {
			t.Errorf("wraps: %s", line)
		}
	}
}

// screenOf plays cursor movements on a list of lines.
func screenOf(out string) string {
	var screen []string
	row := 0
	up := regexp.MustCompile(`^\x1b\[(\d+)A`)
	for _, line := range strings.SplitAfter(out, "\n") {
		for {
			line = strings.TrimPrefix(line, "\x1b[J")
			m := up.FindStringSubmatch(line)
			if m == nil {
				break
			}
			n := 0
			for _, d := range m[1] {
				n = 10*n + int(d-'0')
			}
			row -= n
			screen = screen[:row]
			line = line[len(m[0]):]
		}
		line = strings.TrimPrefix(line, "\r\x1b[2K")
		if text, ok := strings.CutSuffix(line, "\n"); ok {
			screen = append(screen[:row], text)
			row++
		}
	}
	return strings.Join(screen, "\n") + "\n"
}

func TestAnswerToALaterCommandIsNotTakenForOurs(t *testing.T) {
	f := newFakeConsul(t)
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, _ kv.Command, index uint64) {
		f.answer(svc, verb, kv.Result{Index: index + 1, Accepted: true, Reason: "of somebody else"})
	}
	teal(t, "pause", "api").want(t, exitUnknown, "", "a later one of the same kind has replaced its answer")
}

func TestLeaderWithoutASessionLeadsNoMore(t *testing.T) {
	f := newFakeConsul(t)
	f.put(testKeys.Leader(), "teal-1") // released: the value stays
	teal(t, "status").want(t, exitOK, "No agent leads", "")
}

func TestDeniedTransactionNamesTheRule(t *testing.T) {
	// The client turns the answer to a transaction into bare text.
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			http.NotFound(w, r)
			return
		}
		http.Error(w, "Permission denied: anonymous token lacks permission 'key:write'", http.StatusForbidden)
	}))
	defer srv.Close()
	teal(t, "pause", "api", "-http-addr", srv.URL).want(t, exitRefused, "", `key "teal/commands/api/pause" { policy = "write" }`)
}
