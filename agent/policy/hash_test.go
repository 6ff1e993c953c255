package policy

import (
	"strings"
	"testing"
)

const judged = `service "api" {
  job       = "api.nomad.hcl"
  variables = { version = "1.0.0" }
  gate "http" "smoke" {
    path = "/health"
  }
  approval {
    required = true
  }
  cutover {
    timeout = "5s"
    probe {
      url = "http://edge/"
    }
  }
  watch {
    for = "1m"
  }
  soak {
    then = "stop"
  }
}
`

// loadText loads one policy with one jobspec.
func loadText(t testing.TB, policy, jobspec string) *Policy {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", jobspec)
	write(t, dir, "other.nomad.hcl", jobspec)
	set, diags := Load(write(t, dir, "api.hcl", policy))
	noMistakes(t, diags)
	return set.Policy("api")
}

// TestHash: what judges is in the policy's hash, what is judged in the
// source's, what is neither in none.
func TestHash(t *testing.T) {
	const jobspec = `job "api" {}`
	was := loadText(t, judged, jobspec)
	for _, test := range []struct {
		name          string
		old, new      string // in the policy
		jobspec       string
		hash, sources bool // do they change?
	}{
		{"nothing", "", "", jobspec, false, false},
		{"comment", `service "api"`, "# why\n\n" + `service "api"`, jobspec, false, false},
		{"formatting", `then = "stop"`, `   then="stop"`, jobspec, false, false},
		{"same value, said otherwise", `"1m"`, `"${30 + 30}s"`, jobspec, false, false},
		{"default said", `then = "stop"`, "then = \"stop\"\n    newer = \"queue\"", jobspec, false, false},
		{"file of the same jobspec", `"api.nomad.hcl"`, `"other.nomad.hcl"`, jobspec, false, false},
		{"auto", `approval`, "auto = false\napproval", jobspec, false, false},
		{"version", `"1.0.0"`, `"1.0.1"`, jobspec, false, true},
		{"type of a variable", `"1.0.0"`, `1`, jobspec, false, true},
		{"jobspec", "", "", jobspec + "\n", false, true},
		{"gate's path", `"/health"`, `"/ready"`, jobspec, true, true},
		{"gate's name", `"smoke"`, `"fire"`, jobspec, true, true},
		{"gate's attempts", `path = "/health"`, "path = \"/health\"\n    attempts = 7", jobspec, true, true},
		{"approval", `required = true`, `required = false`, jobspec, true, true},
		{"who approves", `required = true`, "required = true\n    approvers = [\"alice\"]", jobspec, true, true},
		{"cutover", `"5s"`, `"6s"`, jobspec, true, true},
		{"probe", `http://edge/`, `http://edge/x`, jobspec, true, true},
		{"watch", `"1m"`, `"2m"`, jobspec, true, true},
		{"trigger", `for = "1m"`, "for = \"1m\"\n    trigger \"consul-health\" \"h\" {}", jobspec, true, true},
		{"soak", `"stop"`, `"scale"`, jobspec, true, true},
		{"launch", `approval`, "launch {\n healthy_for = \"1s\"\n }\napproval", jobspec, true, true},
		{"namespace", `approval`, "namespace = \"n\"\napproval", jobspec, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(judged, test.old, test.new, 1)
			if test.old != "" && text == judged && test.old != test.new {
				t.Fatal("the edit changes nothing")
			}
			now := loadText(t, text, test.jobspec)
			if changed := now.Hash() != was.Hash(); changed != test.hash {
				t.Errorf("hash changed: %v, want %v", changed, test.hash)
			}
			if changed := now.SourceHash(nil) != was.SourceHash(nil); changed != test.sources {
				t.Errorf("source hash changed: %v, want %v", changed, test.sources)
			}
			if changed := now.Job.SourceHash(nil) != was.Job.SourceHash(nil); changed != (test.sources && !test.hash) {
				t.Errorf("job's source hash changed: %v", changed)
			}
		})
	}
	if len(was.Hash()) != 12 || len(was.SourceHash(nil)) != 12 {
		t.Errorf("hashes %q and %q are not 12 digits long", was.Hash(), was.SourceHash(nil))
	}
	override := map[string]string{"version": "9"}
	if was.SourceHash(override) == was.SourceHash(nil) {
		t.Error("an override does not change the source hash")
	}
	if was.SourceHash(map[string]string{"version": "1.0.0"}) != was.SourceHash(nil) {
		t.Error("an override by the same value changes the source hash")
	}
	fresh := *was
	fresh.source = ""
	if fresh.SourceHash(nil) != was.SourceHash(nil) {
		t.Error("the remembered source hash is another one than the computed")
	}
}

// Two agents agree when they hold the same, wherever it lies.
func TestDigest(t *testing.T) {
	digest := func(edit func(policy, jobspec string) (string, string)) string {
		p, j := edit(judged, `job "api" {}`)
		dir := t.TempDir()
		write(t, dir, "api.nomad.hcl", j)
		write(t, dir, "api.hcl", p)
		write(t, dir, "web.hcl", minimal("web"))
		set, diags := Load(dir)
		noMistakes(t, diags)
		return set.Digest
	}
	was := digest(func(p, j string) (string, string) { return p, j })
	if was != digest(func(p, j string) (string, string) { return "# comment\n" + p, j }) {
		t.Error("a comment changes the digest")
	}
	for name, edit := range map[string]func(p, j string) (string, string){
		"jobspec":  func(p, j string) (string, string) { return p, j + "\n" },
		"variable": func(p, j string) (string, string) { return strings.Replace(p, "1.0.0", "2", 1), j },
		"gate":     func(p, j string) (string, string) { return strings.Replace(p, "/health", "/", 1), j },
		"auto": func(p, j string) (string, string) {
			return strings.Replace(p, "approval", "auto=false\napproval", 1), j
		},
		"service": func(p, j string) (string, string) { return strings.Replace(p, `"api"`, `"api2"`, 1), j },
	} {
		if digest(edit) == was {
			t.Errorf("%s: the digest stays", name)
		}
	}
}

// Where one part ends and the next begins is part of what is hashed.
func TestShortHashTellsPartsApart(t *testing.T) {
	if shortHash("ab", "c") == shortHash("a", "bc") || shortHash("a") == shortHash("a", "") {
		t.Error("two lists of parts read the same")
	}
}
