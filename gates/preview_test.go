package gates_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// beside is the candidate with a version that serves.
func beside(serves string, instances ...deployment.Instance) gates.Target {
	target := green(instances...)
	target.Serving, target.ServingVersion = deployment.Blue, serves
	return target
}

// edge is an entry point before two colours that say who they are. One that is
// deaf does not pass the preview header on.
func edge(t *testing.T, deaf bool, blue string) string {
	at := app(t, func(w http.ResponseWriter, r *http.Request) {
		colour, version := "blue", blue
		if r.Header.Get(gates.PreviewHeader) == "green" && !deaf {
			colour, version = "green", "2.0.0"
		}
		_, _ = io.WriteString(w, fmt.Sprintf("{\"version\": %q, \"colour\": %q, \"ok\": true}", version, colour))
	})
	return at.HostPort()
}

// A preview gate passes by the candidate's answer only. An entry point that leads to
// what serves is no fault of the candidate's: it is told, and the gate holds. It holds
// too where nobody could tell who answered.
func TestPreviewIsAnsweredByTheCandidate(t *testing.T) {
	const version, colour, either = `json = { version = "{version}" }`, `json = { colour = "{colour}", ok = true }`, `body_contains = "\"{version}\", \"colour\": \"{colour}\""`
	const alike = "it could not be told who answers"
	for _, c := range []struct {
		name, expects, serves string
		deaf                  bool
		verdict               gates.Verdict
		says                  string
	}{
		{"another version", version, "1.0.0", false, gates.Pass, "answered as expected"},
		{"another colour", colour, "1.0.0", false, gates.Pass, "answered as expected"},
		{"both", either, "2.0.0", false, gates.Pass, "answered as expected"},
		{"an unknown version", version, "", false, gates.Pass, "answered as expected"},
		{"another version, header lost", version, "1.0.0", true, gates.Hold, "was answered by blue (1.0.0), which serves: the entry point does not know the header X-Teal-Colour, or does not pass it on"},
		{"another colour, header lost", colour, "2.0.0", true, gates.Hold, "was answered by blue (2.0.0), which serves"},
		{"both, header lost", either, "1.0.0", true, gates.Hold, "was answered by blue (1.0.0), which serves"},
		{"the same version", version, "2.0.0", false, gates.Hold, alike},
		{"the same version, header lost", version, "2.0.0", true, gates.Hold, alike},
		{"a part of a longer version", `body_contains = "{version}"`, "12.0.0", true, gates.Hold, alike},
		{"neither of both", `json = { version = "{version}", ok = false }`, "1.0.0", false, gates.Fail, "ok is true, expected \"false\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := gate(t, fmt.Sprintf("every = \"preview\"\nurl = \"http://%s\"\n%s", edge(t, c.deaf, c.serves), c.expects))
			finding, err := n.Gate.Check(t.Context(), beside(c.serves, deployment.Instance{ID: "a", Health: deployment.Passing}))
			if err != nil || finding.Verdict != c.verdict || !strings.Contains(finding.Reason, c.says) {
				t.Errorf("%+v, %v; want %s, %q", finding, err, c.verdict, c.says)
			}
		})
	}
	// Before the first release nobody else is there to answer.
	n := gate(t, fmt.Sprintf("every = \"preview\"\nurl = \"http://%s\"\n%s", edge(t, false, ""), version))
	if finding, err := n.Gate.Check(t.Context(), green(deployment.Instance{ID: "a", Health: deployment.Passing})); err != nil || finding.Verdict != gates.Pass {
		t.Errorf("%+v, %v", finding, err)
	}
}

// Numbers are compared as numbers, and so 2 and 2.0 are no two versions.
func TestPreviewOfTheSameNumber(t *testing.T) {
	n := gate(t, fmt.Sprintf("every = \"preview\"\nurl = \"http://%s\"\njson = { version = \"{version}\" }", edge(t, true, "2")))
	target := beside("2", deployment.Instance{ID: "a", Health: deployment.Passing})
	target.Version = "2.0"
	if finding, err := n.Gate.Check(t.Context(), target); err != nil || finding.Verdict != gates.Hold || !strings.Contains(finding.Reason, "it could not be told who answers") {
		t.Errorf("%+v, %v", finding, err)
	}
}

// In a sequence one step that tells is enough, and the one at which what serves
// answered is named.
func TestPreviewInSteps(t *testing.T) {
	steps := "step \"first\" {}\nstep \"who\" {\njson = { colour = \"{colour}\" }\n}\n"
	for deaf, want := range map[bool]string{false: "steps first, who through", true: "at step who was answered by blue (1.0.0), which serves"} {
		n := gate(t, fmt.Sprintf("every = \"preview\"\nurl = \"http://%s\"\n%s", edge(t, deaf, "1.0.0"), steps))
		finding, err := n.Gate.Check(t.Context(), beside("1.0.0", deployment.Instance{ID: "a", Health: deployment.Passing}))
		if err != nil || (finding.Verdict == gates.Pass) == deaf || !strings.Contains(finding.Reason, want) {
			t.Errorf("deaf %t: %+v, %v", deaf, finding, err)
		}
	}
}

// An expectation that any colour's answer fits is refused, wherever it stands.
func TestPreviewHasToTellColoursApart(t *testing.T) {
	for expects, refused := range map[string]bool{
		"": true,
		"path = \"/{version}\"\nheaders = { X-Version = \"{version}\" }\nbody = \"{colour}\"": true, // what is sent is no answer
		"body_contains = \"{service}\"":                                  true,
		"body_regex = \"2\"":                                             true,
		"json = { ok = true }":                                           true,
		"body_contains = \"{version}\"":                                  false,
		"json = { ok = true, colour = \"{colour}\" }":                    false,
		"step \"a\" {}\nstep \"b\" {\nbody_contains = \"x\"\n}":          true,
		"step \"a\" {}\nstep \"b\" {\nbody_contains = \"v{version}\"\n}": false,
	} {
		_, diags := decode(t, "gate \"http\" \"smoke\" {\nevery = \"preview\"\nurl = \"http://{colour}.edge\"\n"+expects+"\n}")
		if diags.HasErrors() != refused || refused && !strings.Contains(diags.Error(), "Colours not told apart; Where an entry point does not pass the header X-Teal-Colour on") {
			t.Errorf("%s: %v", expects, diags)
		}
	}
}
