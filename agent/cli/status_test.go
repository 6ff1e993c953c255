package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/api"
	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/agent/kv"
)

func (f *fakeConsul) agents(infos ...kv.AgentInfo) {
	for _, a := range infos {
		body, _ := json.Marshal(a)
		f.put(testKeys.Agent(a.Name), string(body))
	}
}

// town is a few services in different straits.
func town(f *fakeConsul) {
	f.lead("teal-1")
	f.agents(
		kv.AgentInfo{Name: "teal-1", Address: "10.0.0.1:4680", Version: "1.0.0", Policies: "aa", Count: 5},
		kv.AgentInfo{Name: "teal-2", Address: "10.0.0.2:4680", Version: "1.0.0", Policies: "bb", Count: 4, Errors: []string{"web.hcl:3: Unknown gate"}},
	)
	f.record(releasing(deployment.Approving, 20))
	web := running()
	web.Name, web.Active = "web", deployment.Green
	web.Slots = map[deployment.Colour]deployment.Slot{deployment.Green: {Job: "web-green", Version: "2.0.1"}}
	web.Paused = &deployment.Flag{By: "bob@desk", Reason: "load test", At: at(0)}
	f.record(web)
	cart := releasing(deployment.Watching, 60)
	cart.Name, cart.Active = "cart", deployment.Green
	cart.Held = &deployment.Flag{By: "teal", Reason: "the route was edited\nby \x1b[31mhand", At: at(80)}
	cart.Queued = &deployment.Candidate{Version: "1.4.0"}
	f.record(cart)
	old := running()
	old.Name, old.Managed = "old", false
	f.record(old)
	f.put(testKeys.State("future"), `{"format": 9, "name": "future"}`)
	f.put(testKeys.JobProcessor("orphan"), "none") // keys, but no record
	f.put(testKeys.Audit("teal-1"), `{"name":"teal-1","path":"/a","seq":812,"hash":"9f2c41","at":"2026-11-24T10:01:00Z"}`)
	f.put(testKeys.Audit("teal-2"), `{"name":"teal-2","path":"/a","at":"2026-11-24T10:01:00Z","trouble":"no space left\non device"}`)
	f.put(testKeys.Audit("teal-3"), "nonsense")
}

func TestStatus(t *testing.T) {
	f := newFakeConsul(t)
	town(f)
	r := teal(t, "status")
	r.want(t, exitOK, "", "")
	golden(t, "status", r.out)
	if strings.Contains(r.out, "\x1b") {
		t.Error("an escape sequence from KV reached the terminal")
	}

	var st api.Status
	r = teal(t, "status", "-json")
	if err := json.Unmarshal([]byte(r.out), &st); err != nil {
		t.Fatal(err)
	}
	if st.Leader != "teal-1" || len(st.Services) != 5 || !st.Agents[1].Differs || st.Services[0].State != "awaiting-approval" {
		t.Errorf("%+v", st)
	}
}

func TestStatusOfManyServices(t *testing.T) {
	f := newFakeConsul(t)
	for i := range 200 { // more than one transaction may hold
		s := running()
		s.Name = fmt.Sprintf("svc-%03d", i)
		f.record(s)
	}
	r := teal(t, "status")
	if n := strings.Count(r.out, "svc-"); n != 200 {
		t.Errorf("%d services of 200", n)
	}
}

func TestStatusEmpty(t *testing.T) {
	newFakeConsul(t)
	r := teal(t, "status")
	r.want(t, exitOK, "No services yet", "")
	golden(t, "status_empty", r.out)
	teal(t, "status", "api").want(t, exitError, "", "no service api: Teal knows no services yet")
}

func TestStatusOfOne(t *testing.T) {
	f := newFakeConsul(t)
	town(f)
	watch := played()[5]
	watch.Deployment.Forced = &deployment.Flag{By: "bob@desk", Reason: "the gate's own server is down"}
	watch.Deployment.Weakened = "2 of 3 instances of blue are healthy"
	watch.Jobs = deployment.JobOwnership{Owner: deployment.None, Target: deployment.Green, Since: at(31)}
	watch.Slots[deployment.Green] = deployment.Slot{Job: "api-green", Version: "1.3.0", Expected: 3, Proof: watch.Deployment.Candidate.Proof()}
	for i := range 10 {
		watch.Deployment.Log = append(watch.Deployment.Log, deployment.Entry{At: at(float64(i)), By: "teal", What: fmt.Sprintf("event %d", i), Figures: map[string]string{"n": fmt.Sprint(i)}})
	}
	f.record(watch)
	f.put(testKeys.Active("api"), "green")
	f.put(testKeys.JobProcessor("api"), "none")
	f.putHeld(testKeys.Worker("api", deployment.Blue, "w1"), "", "s")
	f.putHeld(testKeys.Worker("api", deployment.Blue, "w2"), "", "s")
	f.put(testKeys.Worker("api", deployment.Green, "gone"), "") // no session: it holds nothing
	f.put(testKeys.Command("api", kv.Deploy), `{"by":"carol@desk"}`)

	r := teal(t, "status", "api")
	r.want(t, exitOK, "", "")
	golden(t, "status_api", r.out)

	var d detail
	r = teal(t, "status", "api", "-json")
	if err := json.Unmarshal([]byte(r.out), &d); err != nil || len(d.Workers["blue"]) != 2 || d.Pending[0].By != "carol@desk" || d.Record.Deployment.ID != "d7" {
		t.Errorf("%v %s", err, r.out)
	}

	golden(t, "status_web", teal(t, "status", "web").out)
	teal(t, "status", "ap").want(t, exitError, "", "no service ap; did you mean api?")
	teal(t, "status", "future").want(t, exitError, "", "has format 9 and this teal knows up to 1")
}

func TestStatusIsColouredOnlyWherePeopleLook(t *testing.T) {
	f := newFakeConsul(t)
	town(f)
	look := func(term *terminal) { term.tty, term.colour = true, true }
	r := tealIn(t, t.Context(), look, "status")
	r.want(t, exitOK, "\x1b[34mblue\x1b[0m", "")
	r.want(t, exitOK, "\x1b[32mgreen\x1b[0m", "")
	if r := tealIn(t, t.Context(), look, "status", "-no-color"); strings.Contains(r.out, "\x1b[3") {
		t.Error("-no-color is coloured")
	}
	// Colour must not disturb the columns.
	plain := teal(t, "status").out
	for _, esc := range []string{"\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[34m"} {
		r.out = strings.ReplaceAll(r.out, esc, "")
	}
	if r.out != plain {
		t.Errorf("columns differ:\n%s\n%s", r.out, plain)
	}
}

func TestStatusWatch(t *testing.T) {
	f := newFakeConsul(t)
	f.record(releasing(deployment.Gating, 12))
	ctx, interrupt := context.WithCancel(t.Context())
	f.acts.Go(func() {
		f.watched(testKeys.State("api"))
		f.record(releasing(deployment.Approving, 30))
		f.watched(testKeys.State("api"))
		interrupt()
	})
	r := tealIn(t, ctx, nil, "status", "-watch", "api")
	r.want(t, exitOK, "State   = gating", "")
	r.want(t, exitOK, "State   = awaiting-approval", "")
}

func TestApproveIsBoundToWhatWasSeen(t *testing.T) {
	f := newFakeConsul(t)
	f.record(releasing(deployment.Approving, 20))
	var args []string
	f.agent = func(f *fakeConsul, svc string, verb kv.Verb, c kv.Command, index uint64) {
		args = append(args, c.Arg)
		f.answer(svc, verb, kv.Result{Index: index, Accepted: true, Reason: "approved api 1.3.0"})
	}
	teal(t, "approve", "api").want(t, exitOK, "approved api 1.3.0\n", "")
	teal(t, "approve", "api", "3f2a91c0").want(t, exitOK, "approved", "")
	if len(args) != 2 || args[0] != "3f2a91c04b7d22aa+99aa" || args[1] != args[0] {
		t.Errorf("arguments: %q", args)
	}
	teal(t, "approve", "api", "deadbeef").want(t, exitRefused, "", "what waits for approval is 1.3.0 (3f2a91c04b7d), not deadbeef")
	f.record(releasing(deployment.Gating, 20))
	teal(t, "approve", "api").want(t, exitRefused, "", "nothing of api waits for approval: it is gating")
	f.record(running())
	teal(t, "approve", "api").want(t, exitRefused, "", "it is idle")
	teal(t, "approve", "apj").want(t, exitError, "", "did you mean api?")
	if len(args) != 2 {
		t.Error("a refused approval was sent")
	}
}

func TestHistory(t *testing.T) {
	f := newFakeConsul(t)
	teal(t, "history").want(t, exitOK, "No releases yet.", "")
	s := releasing(deployment.Gating, 100)
	s.Finished = []string{"d6", "d5", "x1"}
	f.record(s)
	for i, id := range s.Finished {
		d := *releasing(deployment.Done, 0).Deployment
		d.ID, d.Started, d.Ended = id, at(-3600*float64(30*i+1)), at(-3600*float64(30*i+1)+95)
		d.Outcome = []deployment.Outcome{deployment.RolledBack, deployment.Succeeded, deployment.Failed}[i]
		d.Reason = []string{"12.0 % of 240 requests failed", "soaked", "Nomad cannot place 3 instances"}[i]
		d.Cutover = &deployment.Move{To: deployment.Green, Decided: d.Started, Written: d.Started.Add(2e6), Verified: d.Started.Add(21e7)}
		body, _ := json.Marshal(d)
		f.put(testKeys.Deployment("api", id), string(body))
	}
	r := teal(t, "history", "api")
	r.want(t, exitOK, "", "")
	golden(t, "history", r.out)
	if all := teal(t, "history").out; all != r.out {
		t.Errorf("of all services:\n%s", all)
	}
	r = teal(t, "history", "api", "d6")
	r.want(t, exitOK, "", "")
	golden(t, "history_d6", r.out)
	if r := teal(t, "history", "-limit=1", "api"); strings.Contains(r.out, "d6") {
		t.Errorf("limit: %s", r.out)
	}
	teal(t, "history", "api", "d").want(t, exitError, "", "3 deployments of api begin with d")
	teal(t, "history", "api", "zz").want(t, exitError, "", "no deployment zz of api")
	teal(t, "history", "apo").want(t, exitError, "", "did you mean api?")
	var ds []deployment.Deployment
	if err := json.Unmarshal([]byte(teal(t, "history", "-json").out), &ds); err != nil || len(ds) != 4 {
		t.Errorf("json: %v %d", err, len(ds))
	}
}
