package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/gates"
	"github.com/tealdeploy/teal/rollback"
)

// documented is one section of docs/policy.md: its arguments with their
// defaults, and its text.
type documented struct {
	defaults map[string]string
	text     string
}

var (
	heading = regexp.MustCompile("^##+ (.*)$")
	row     = regexp.MustCompile("^\\| `([a-z0-9_]+)` \\| (`(.*?)`|required|none) \\|")
)

func readDocs(t *testing.T) map[string]documented {
	t.Helper()
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]documented{}
	name := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if m := heading.FindStringSubmatch(line); m != nil {
			name = m[1]
			docs[name] = documented{defaults: map[string]string{}}
		}
		d := docs[name]
		d.text += line + "\n"
		if m := row.FindStringSubmatch(line); m != nil {
			d.defaults[m[1]] = m[2]
			if m[3] != "" {
				d.defaults[m[1]] = m[3]
			}
		}
		docs[name] = d
	}
	return docs
}

// needed are values for what has no default.
var needed = map[string]string{
	"service.job": `"api.nomad.hcl"`,
	"probe.url":   `"http://edge/"`,

	"early.after": `"5m"`, "early.requests": "1000",

	`trigger "kv".key`: `"verdicts/{version}"`,

	`trigger "prometheus".url`: `"http://p"`, `trigger "prometheus".query`: "\"up\"\nabove = 1",
	`trigger "http-json".url`: `"http://p"`, `trigger "http-json".path`: "\"a\"\nabove = 1",
	`gate "prometheus".url`: `"http://p"`, `gate "prometheus".query`: "\"up\"\nabove = 1",
	`gate "http-json".url`: `"http://p"`, `gate "http-json".path`: "\"a\"\nabove = 1",
	`gate "metrics".metric`:  "\"up\"\nabove = 1",
	`gate "depends".service`: `"auth"`,
	`gate "exec".command`:    `["/bin/true"]`,
	`gate "kv".key`:          `"verdicts/{hash}"`,
	`gate "load".rate`:       `50`,
}

// chosen are lines for sections of which one argument or another is needed.
var chosen = map[string]string{
	`gate "window"`:    "allow = [\"* * * * *\"]\n",
	`gate "nomad-job"`: "dispatch = \"e2e\"\n",
}

// over is a section's defaults over those of a wider one.
func (d documented) over(wider documented) documented {
	all := maps.Clone(wider.defaults)
	maps.Copy(all, d.defaults)
	return documented{defaults: all}
}

// body writes a section's documented defaults, or only what is required.
func (d documented) body(section string, all bool) string {
	var b strings.Builder
	b.WriteString(chosen[section])
	for _, name := range sortedKeys(d.defaults) {
		switch value := d.defaults[name]; {
		case value == "required":
			fmt.Fprintf(&b, "%s = %s\n", name, needed[section+"."+name])
		case value != "none" && all:
			fmt.Fprintf(&b, "%s = %s\n", name, value)
		}
	}
	return b.String()
}

// knownIn asks the decoder itself what a block may hold, by giving it what it
// cannot know.
func knownIn(t *testing.T, src string) (arguments, blocks []string) {
	t.Helper()
	out := decode([]byte(src), "docs.hcl", func(string) (string, error) { return "job", nil })
	for _, diag := range out.diags {
		if !strings.Contains(diag.Detail, "unheard_of") {
			continue
		}
		_, list, ok := strings.Cut(diag.Detail, "Known in ")
		if !ok {
			return nil, nil // it takes nothing at all
		}
		_, list, _ = strings.Cut(list, ": ")
		for part := range strings.SplitSeq(strings.TrimSuffix(list, "."), "; ") {
			if names, ok := strings.CutPrefix(part, "arguments "); ok {
				arguments = strings.Split(names, ", ")
			}
			if names, ok := strings.CutPrefix(part, "blocks "); ok {
				blocks = strings.Split(names, ", ")
			}
		}
		return arguments, blocks
	}
	t.Fatalf("the decoder does not say what it knows: %v", out.diags)
	return nil, nil
}

// Every name a policy may use is in docs/policy.md, and nothing else is.
func TestDocsNameEverything(t *testing.T) {
	docs := readDocs(t)
	check := func(section string, arguments, blocks []string) {
		t.Helper()
		d, ok := docs[section]
		if !ok {
			t.Errorf("no section %q", section)
			return
		}
		if got := sortedKeys(d.defaults); !slices.Equal(got, slices.Sorted(slices.Values(arguments))) {
			t.Errorf("%s: documented are %v, known are %v", section, got, arguments)
		}
		for _, block := range blocks {
			if !strings.Contains(d.text, "`"+block+"`") || docs[block].text == "" {
				t.Errorf("%s: the block %s is not documented", section, block)
			}
		}
	}
	within := func(section string) string {
		return "service \"api\" {\njob = \"x\"\n" + section + "\n}\n"
	}
	arguments, blocks := knownIn(t, within("unheard_of = 1"))
	check("service", arguments, blocks)
	for _, section := range blocks {
		if section == "gate" {
			continue
		}
		arguments, inner := knownIn(t, within(section+" {\nunheard_of = 1\n}"))
		check(section, arguments, inner)
	}
	arguments, _ = knownIn(t, within("cutover {\nprobe {\nurl = \"http://x/\"\nunheard_of = 1\n}\n}"))
	check("probe", arguments, nil)
	arguments, _ = knownIn(t, within("watch {\nunknown {\nunheard_of = 1\n}\n}"))
	check("unknown", arguments, nil)
	arguments, _ = knownIn(t, within("watch {\nearly {\nunheard_of = 1\n}\n}"))
	check("early", arguments, nil)

	arguments, blocks = knownIn(t, within("gate \"http\" \"n\" {\nstep \"s\" {\nunheard_of = 1\n}\n}"))
	check("step", arguments, blocks)
	arguments, _ = knownIn(t, within("gate \"http\" \"n\" {\nstep \"s\" {\nsave \"v\" {\nunheard_of = 1\n}\n}\n}"))
	check("save", arguments, nil)
	arguments, _ = knownIn(t, within("gate \"http\" \"n\" {\ntls {\nunheard_of = 1\n}\n}"))
	check("tls", arguments, nil)

	shared := sortedKeys(docs["gate"].defaults)
	for kind := range gates.Kinds {
		arguments, blocks := knownIn(t, within(fmt.Sprintf("gate %q \"n\" {\nunheard_of = 1\n}", kind)))
		for _, name := range shared {
			if !slices.Contains(arguments, name) {
				t.Errorf("gate %q does not take %s", kind, name)
			}
		}
		section := fmt.Sprintf("gate %q", kind)
		own := slices.DeleteFunc(arguments, func(name string) bool {
			_, ownDefault := docs[section].defaults[name] // a kind may have another
			return slices.Contains(shared, name) && !ownDefault
		})
		check(section, own, blocks)
	}
	for kind := range rollback.Kinds {
		src := within(fmt.Sprintf("watch {\ntrigger %q \"n\" {\nunheard_of = 1\n}\n}", kind))
		section := fmt.Sprintf("trigger %q", kind)
		arguments, blocks := knownIn(t, src)
		check(section, arguments, blocks)
	}
	known := slices.Collect(maps.Keys(functions))
	known = append(known, "file")
	listed := regexp.MustCompile(`(?s)these functions:\n\n(.*?)\n\n`).FindStringSubmatch(docs["Expressions"].text)
	if listed == nil {
		t.Fatal("no list of functions")
	}
	got := regexp.MustCompile(`[,\s]+`).Split(listed[1], -1)
	slices.Sort(known)
	if !slices.Equal(got, known) {
		t.Errorf("functions documented: %v\nknown: %v", got, known)
	}
}

// What docs/policy.md calls a default changes nothing when it is written down.
func TestDocsDefaults(t *testing.T) {
	docs := readDocs(t)
	load := func(all bool) *Policy {
		t.Helper()
		var b strings.Builder
		block := func(header, section, inner string) string {
			return fmt.Sprintf("%s {\n%s%s}\n", header, docs[section].body(section, all), inner)
		}
		inner := ""
		for _, section := range []string{"launch", "approval", "jobs", "soak"} {
			inner += block(section, section, "")
		}
		inner += block("cutover", "cutover", block("probe", "probe", ""))
		for _, kind := range slices.Sorted(maps.Keys(gates.Kinds)) {
			section := fmt.Sprintf("gate %q", kind)
			inner += fmt.Sprintf("%s %q {\n%s}\n", section, kind, docs[section].over(docs["gate"]).body(section, all))
		}
		inner += block(`gate "http" "steps"`, "", "scheme = \"https\"\n"+block("tls", "tls", "")+block(`step "one"`, "step", ""))
		triggers := ""
		for _, kind := range slices.Sorted(maps.Keys(rollback.Kinds)) {
			section := fmt.Sprintf("trigger %q", kind)
			triggers += block(section+fmt.Sprintf(" %q", kind), section, "")
		}
		inner += block("watch", "watch", triggers+block("unknown", "unknown", "")+block("early", "early", ""))
		b.WriteString(block(`service "api"`, "service", inner))
		out := decode([]byte(b.String()), "docs.hcl", func(string) (string, error) { return "job", nil })
		if len(out.policies) != 1 || len(out.diags) != 0 {
			t.Fatalf("%v in:\n%s", out.diags, b.String())
		}
		return out.policies[0]
	}
	text := func(p *Policy) string {
		out, err := json.MarshalIndent(p, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if said, unsaid := text(load(true)), text(load(false)); said != unsaid {
		t.Errorf("with the documented defaults:\n%s\nwithout:\n%s", said, unsaid)
	}
}

// Examples are tests: each loads without a word.
func TestExamples(t *testing.T) {
	var names []string
	shown := map[string]bool{}
	err := filepath.WalkDir("../../examples", func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		set, diags := Load(path)
		for _, diag := range diags {
			t.Errorf("%s", diag)
		}
		for _, p := range set.Policies() {
			names = append(names, p.Service)
			shown["approval"] = shown["approval"] || p.Approval.Quorum > 1
			for _, g := range p.Gates {
				shown["gate "+g.Kind] = true
				switch gate := g.Gate.(type) {
				case gates.HTTP:
					shown["every = preview"] = shown["every = preview"] || gate.Previews()
				case gates.NomadJob:
					shown["dispatch"] = shown["dispatch"] || gate.Dispatch != ""
				}
			}
			for _, tr := range p.Watch.Triggers {
				shown["trigger "+tr.Kind] = true
				switch trigger := tr.Trigger.(type) {
				case rollback.Figures:
					q, _ := trigger.Query.(measure.Prometheus)
					shown["worse"] = shown["worse"] || trigger.Worse != ""
					shown["ratio"] = shown["ratio"] || trigger.Ratio > 0
					shown["range"] = shown["range"] || q.Range > 0
				case rollback.Errors:
					shown["where"] = shown["where"] || len(trigger.Where) > 0
					shown["callers"] = shown["callers"] || len(trigger.Callers) > 0
				}
			}
			if p.Version(nil) == "" {
				t.Errorf("%s has no version", p.Service)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(names, "api") || !slices.Contains(names, "reports") {
		t.Errorf("services: %v", names)
	}
	for kind := range rollback.Kinds {
		if !shown["trigger "+kind] {
			t.Errorf("no example shows trigger %q", kind)
		}
	}
	for kind := range gates.Kinds {
		if !shown["gate "+kind] {
			t.Errorf("no example shows gate %q", kind)
		}
	}
	for _, way := range []string{"approval", "every = preview", "dispatch", "worse", "ratio", "range", "where", "callers"} {
		if !shown[way] {
			t.Errorf("no example shows %s", way)
		}
	}
	// Jobspecs are Nomad's to parse; that they are HCL at all can be told here.
	specs, err := filepath.Glob("../../examples/jobs/*.nomad.hcl")
	if err != nil || len(specs) == 0 {
		t.Fatalf("no jobspecs: %v", err)
	}
	for _, path := range specs {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, diags := parse(src, path); diags.HasErrors() {
			t.Error(diags)
		}
	}
}

func TestChoicesHoldTheirDefaults(t *testing.T) {
	d := Defaults()
	if !slices.Contains(Routers, d.Cutover.Router) || !slices.Contains(Thens, d.Soak.Then) || !slices.Contains(Newers, d.Soak.Newer) {
		t.Errorf("defaults: %+v", d)
	}
}
