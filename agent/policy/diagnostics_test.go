package policy

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMistakes loads each folder of testdata/mistakes and compares what a
// person is told with the golden file beside it.
func TestMistakes(t *testing.T) {
	entries, err := os.ReadDir("testdata/mistakes")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		dir := filepath.Join("testdata/mistakes", entry.Name())
		t.Run(entry.Name(), func(t *testing.T) {
			set, diags := Load(dir)
			if !diags.HasErrors() {
				t.Error("no mistake found")
			}
			if set.Len() != 0 {
				t.Errorf("%d policies in force in spite of mistakes", set.Len())
			}
			var out bytes.Buffer
			if err := WriteDiagnostics(&out, diags, set.Sources, 0, false); err != nil {
				t.Fatal(err)
			}
			got := strings.ReplaceAll(out.String(), here+"/", "")
			golden := dir + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("told:\n%s\nexpected:\n%s", got, want)
			}
		})
	}
}

func TestWriteDiagnosticsJSON(t *testing.T) {
	set, diags := Load("testdata/mistakes/two-files")
	var out bytes.Buffer
	if err := WriteDiagnosticsJSON(&out, diags, set.Sources); err != nil {
		t.Fatal(err)
	}
	var report struct {
		Valid       bool `json:"valid"`
		ErrorCount  int  `json:"error_count"`
		Diagnostics []struct {
			Severity, Summary, Detail, Snippet string
			Range                              struct {
				Filename string
				Start    struct{ Line, Column int }
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	if report.Valid || report.ErrorCount != 1 || len(report.Diagnostics) != 1 {
		t.Fatalf("report: %s", out.String())
	}
	got := report.Diagnostics[0]
	if got.Severity != "error" || !strings.HasSuffix(got.Range.Filename, "copy.hcl") || got.Range.Start.Line != 1 || got.Snippet != `service "api" {` {
		t.Errorf("diagnostic: %+v", got)
	}
	if !strings.Contains(got.Detail, "api.hcl:1") {
		t.Errorf("the other place is not named: %s", got.Detail)
	}

	out.Reset()
	if err := WriteDiagnosticsJSON(&out, nil, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"valid": true`) || !strings.Contains(out.String(), `"diagnostics": []`) {
		t.Errorf("report of nothing: %s", out.String())
	}
}

// A local computed from a secret must not be printed beside the expression
// that uses it.
func TestDiagnosticsShowNoValues(t *testing.T) {
	t.Setenv("TEAL_TEST_SECRET", "hunter2")
	dir := t.TempDir()
	write(t, dir, "api.hcl", `
locals {
  secret = env("TEAL_TEST_SECRET")
}
service "api" {
  job  = "api.nomad.hcl"
  auto = upper(local.secret).x
}`)
	set, diags := Load(dir)
	var out bytes.Buffer
	if err := WriteDiagnostics(&out, diags, set.Sources, 0, false); err != nil {
		t.Fatal(err)
	}
	if !diags.HasErrors() || strings.Contains(out.String(), "hunter2") {
		t.Errorf("told:\n%s", out.String())
	}
}

// Instances cannot have been healthy for the whole time they had to start in.
func TestALaunchThatCanNeverSucceed(t *testing.T) {
	for healthyFor, wrong := range map[string]bool{"9m59s": false, "10m": true, "11m": true} {
		dir := t.TempDir()
		write(t, dir, "api.nomad.hcl", `job "api" {}`)
		_, diags := Load(write(t, dir, "api.hcl", "service \"api\" {\n  job = \"api.nomad.hcl\"\n  launch {\n    healthy_for = \""+healthyFor+"\"\n  }\n}\n"))
		if diags.HasErrors() != wrong || wrong && diags[0].Summary != "Launch can never succeed" {
			t.Errorf("%s of 10m: %v", healthyFor, diags)
		}
	}
}
