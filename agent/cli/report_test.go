package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/deployment"
)

// takenBack is a release that a trigger took back, with all that can be known.
func takenBack(id string) deployment.Deployment {
	d := *releasing(deployment.Done, 99).Deployment
	d.ID, d.Ended, d.Outcome = id, at(99), deployment.RolledBack
	d.Reason = "trigger http-5xx: 12.5 % of requests failed (64 of 512 within 30s, 3 of 3 instances read)"
	g := passed()
	g.Figures, g.Attempts = map[string]string{"instances": "3", "slowest_ms": "41"}, 2
	d.Gates = []deployment.GateRecord{g}
	d.Approval = &deployment.Approval{By: "bob@desk", At: at(30), Proof: "3f2a91c04b7d22aa+99aa"}
	d.Cutover = &deployment.Move{To: deployment.Green, By: "bob@desk", Decided: at(30), Written: at(30.0021), Verified: at(30.25)}
	d.Rollback = &deployment.Move{To: deployment.Blue, By: "teal", Reason: d.Reason, Detected: at(41), Decided: at(41.5), Written: at(41.502), Verified: at(41.71)}
	d.Verdicts = []deployment.Verdict{{At: at(41.5), State: deployment.Watching, Verdict: "bad", By: "teal", Reason: d.Reason,
		Figures: map[string]string{"requests": "512", "errors": "64", "rate": "0.125"}}}
	d.Log = []deployment.Entry{
		{At: at(0), By: "alice@laptop", What: "begin"},
		{At: at(35), By: "teal", What: "note: kept somebody's edit | <b>x</b> of the router\nat `home`"},
		{At: at(41.5), By: "teal", What: "trigger: " + d.Reason, Figures: map[string]string{"rate": "0.125"}},
	}
	return d
}

func (f *fakeConsul) kept(d deployment.Deployment) {
	body, _ := json.Marshal(d)
	f.put(testKeys.Deployment("api", d.ID), string(body))
}

func TestReport(t *testing.T) {
	f := newFakeConsul(t)
	s := running()
	s.Finished = []string{"20261124-2", "20261124-1", "20261123-1"}
	f.record(s)
	f.kept(takenBack("20261124-2"))
	for format, name := range map[string]string{"text": "report", "markdown": "report_markdown", "json": "report_json"} {
		r := teal(t, "report", "-format", format, "api")
		r.want(t, exitOK, "", "")
		golden(t, name, r.out)
		if strings.Contains(r.out, "\x1b") {
			t.Errorf("%s: an escape sequence", format)
		}
	}
	md := teal(t, "report", "-format", "markdown", "api", "20261124-2").out
	if strings.Contains(md, "<b>") || strings.Contains(md, "edit | ") {
		t.Errorf("what somebody wrote into the record is markup:\n%s", md)
	}
	var r report
	if err := json.Unmarshal([]byte(teal(t, "report", "-format=json", "api").out), &r); err != nil {
		t.Fatal(err)
	}
	if *r.Rollback.WriteMS != 2 || *r.Rollback.DetectMS != 500 || *r.Cutover.WriteMS != 2.1 || r.Lost.AtLeast != 64 || r.Lost.Requests != 512 || r.Lost.Trigger != "http-5xx" {
		t.Errorf("%+v %+v %+v", r.Rollback, r.Cutover, r.Lost)
	}
}

// A release in flight is reported as far as it has come.
func TestReportInFlight(t *testing.T) {
	f := newFakeConsul(t)
	s := releasing(deployment.Gating, 100)
	s.Finished = []string{"d6"}
	s.Deployment.Gates = []deployment.GateRecord{{Kind: "http", Name: "smoke", Verdict: "hold", Reason: "1 of 3 instances answered 200", Attempts: 4, At: at(110)}}
	s.Held = &deployment.Flag{By: "teal", Reason: "the route was edited", At: at(111)}
	f.record(s)
	f.kept(takenBack("d6"))
	r := teal(t, "report", "api")
	r.want(t, exitOK, "", "")
	golden(t, "report_in_flight", r.out)
	r = teal(t, "report", "api", "d6")
	r.want(t, exitOK, "rolled-back", "")
	if strings.Contains(r.out, "the route was edited") {
		t.Error("what another release waits for is told of an old one")
	}
	teal(t, "report", "api", "d7").want(t, exitOK, "in flight, gating", "")

	ended := takenBack("d6")
	s.Deployment = &ended // as it stays in the record until the next one begins
	f.record(s)
	if r := teal(t, "report", "api"); !strings.Contains(r.out, "rolled-back") || strings.Contains(r.out, "the route was edited") {
		t.Errorf("the last release, of a service that is held since:\n%s", r.out)
	}
}

func TestReportOfWhatIsNotThere(t *testing.T) {
	f := newFakeConsul(t)
	teal(t, "report", "api").want(t, exitError, "", "Teal knows no services yet")
	f.record(running())
	teal(t, "report", "api").want(t, exitOK, "No releases of api yet.", "")
	if r := teal(t, "report", "-format=json", "api"); strings.TrimSpace(r.out) != "null" || r.code != exitOK {
		t.Errorf("%d %q", r.code, r.out)
	}
	teal(t, "report", "api", "zz").want(t, exitError, "", "no deployment zz of api: it has no releases yet")
	teal(t, "report", "apo").want(t, exitError, "", "did you mean api?")

	s := running()
	for n := range 30 {
		s.Finished = append(s.Finished, fmt.Sprintf("2026-%02d", 30-n))
	}
	f.record(s)
	teal(t, "report", "api", "zz").want(t, exitError, "", "no deployment zz of api. Known are 2026-30, 2026-29, 2026-28, 2026-27, 2026-26, 2026-25, 2026-24, 2026-23, 2026-22, 2026-21 and 20 older")
	teal(t, "report", "api", "2026-1").want(t, exitError, "", "10 deployments of api begin with 2026-1")
	teal(t, "report", "api", "2026-07").want(t, exitError, "", "not in Consul any more")
	f.put(testKeys.Deployment("api", "2026-07"), "nonsense")
	teal(t, "report", "api", "2026-07").want(t, exitError, "", "cannot be read")
	teal(t, "report", "-format=xml", "api").want(t, exitError, "", `unknown form "xml": expected text, json, markdown`)
}

// Requests lost are told only where somebody counted them.
func TestRequestsLost(t *testing.T) {
	for _, c := range []struct {
		figures map[string]string
		want    string
	}{
		{nil, "not known"},
		{map[string]string{"health.passing": "3"}, "not known"},
		{map[string]string{"errors": "NaN", "requests": "x"}, "not known"},
		{map[string]string{"min_errors": "3", "min_requests": "5"}, "not known"},
		{map[string]string{"http-5xx.errors": "0", "http-5xx.requests": "4000"}, "none that trigger http-5xx counted, of the last 4000"},
		{map[string]string{"a.errors": "1", "a.requests": "10", "b.errors": "7", "b.requests": "20"}, "at least 7 of 20, as trigger b counted"},
	} {
		if got := lostBy([]deployment.Verdict{{Figures: c.figures}}).words(); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.figures, got, c.want)
		}
	}
}

func TestCompletionKnowsReleases(t *testing.T) {
	f := newFakeConsul(t)
	s := releasing(deployment.Gating, 100)
	s.Finished = []string{"d6", "d5"}
	f.record(s)
	made, _ := commands(t.Context(), newTerminal(&buffer{}, &buffer{}))["report"]()
	args := made.(interface{ AutocompleteArgs() complete.Predictor }).AutocompleteArgs()
	for _, c := range []struct{ typed, want []string }{
		{nil, []string{"api"}},
		{[]string{"-format", "json"}, []string{"api"}},
		{[]string{"api"}, []string{"d7", "d6", "d5"}},
		{[]string{"-format", "json", "api"}, []string{"d7", "d6", "d5"}},
	} {
		if got := args.Predict(complete.Args{Completed: c.typed}); !slices.Equal(got, c.want) {
			t.Errorf("after %q: %q, want %q", c.typed, got, c.want)
		}
	}
	flags := made.(interface{ AutocompleteFlags() complete.Flags }).AutocompleteFlags()
	if got := flags["-format"].Predict(complete.Args{}); !slices.Equal(got, forms) {
		t.Errorf("forms %q", got)
	}
}
