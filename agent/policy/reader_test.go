package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// soakOf returns the policy's soak, by which the tests tell its editions apart.
func soakOf(t *testing.T, set *Set, service string) time.Duration {
	t.Helper()
	p := set.Policy(service)
	if p == nil {
		t.Fatalf("no policy for %s", service)
	}
	return p.Soak.For
}

func edition(service, soak string) string {
	return fmt.Sprintf("service %q {\n  job = \"api.nomad.hcl\"\n  soak {\n    for = %q\n  }\n}\n", service, soak)
}

func TestBrokenEditKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	write(t, dir, "one.hcl", edition("a", "1h")+edition("b", "1h"))
	write(t, dir, "two.hcl", edition("c", "1h"))
	r := newReader(dir)
	first, diags, changed := r.read(false)
	noMistakes(t, diags)
	if !changed {
		t.Error("the first read is no change")
	}

	// One file breaks, in one of its services; the other is edited well.
	write(t, dir, "one.hcl", edition("a", "2h")+edition("b", "soon")+"\n")
	write(t, dir, "two.hcl", edition("c", "2h"))
	set, diags, _ := r.read(false)
	if !diags.HasErrors() || !strings.Contains(diags.Error(), "one.hcl:10,") {
		t.Errorf("diagnostics do not name the line: %v", diags)
	}
	if a, b, c := soakOf(t, set, "a"), soakOf(t, set, "b"), soakOf(t, set, "c"); a != time.Hour || b != time.Hour || c != 2*time.Hour {
		t.Errorf("in force: a %s, b %s, c %s", a, b, c)
	}
	if got := sortedKeys(set.Broken); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("marked as broken: %v", got)
	}
	if set.Digest == first.Digest {
		t.Error("the digest does not follow the good edit")
	}

	// It breaks so that not even the services' names can be read.
	write(t, dir, "one.hcl", "service \"a {\n")
	set, _, _ = r.read(false)
	if got := services(set); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("services: %v", got)
	}
	if got := sortedKeys(set.Broken); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("marked as broken: %v", got)
	}

	// A service is moved out of the broken file into a good one.
	write(t, dir, "three.hcl", edition("b", "3h"))
	set, _, _ = r.read(false)
	if soakOf(t, set, "b") != 3*time.Hour || soakOf(t, set, "a") != time.Hour {
		t.Error("the good file's policy is not in force")
	}
	if got := sortedKeys(set.Broken); !slices.Equal(got, []string{"a"}) {
		t.Errorf("marked as broken: %v", got)
	}

	write(t, dir, "one.hcl", edition("a", "4h"))
	set, diags, _ = r.read(false)
	noMistakes(t, diags)
	if soakOf(t, set, "a") != 4*time.Hour || len(set.Broken) != 0 || len(set.Sources) != 0 {
		t.Errorf("after the repair: broken %v", set.Broken)
	}
	if first.Policy("a").Soak.For != time.Hour || len(first.Broken) != 0 {
		t.Error("a set that was given out has changed")
	}
}

func TestRemovedPolicyGoes(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	one := write(t, dir, "one.hcl", minimal("a")+minimal("b"))
	write(t, dir, "two.hcl", minimal("c"))
	r := newReader(dir)
	r.read(false)
	write(t, dir, "one.hcl", minimal("a"))
	set, diags, changed := r.read(false)
	noMistakes(t, diags)
	if got := services(set); !changed || !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("services: %v", got)
	}
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	set, _, changed = r.read(false)
	if got := services(set); !changed || !slices.Equal(got, []string{"c"}) {
		t.Errorf("services: %v", got)
	}
}

func TestSecondClaimKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	write(t, dir, "one.hcl", edition("a", "1h"))
	r := newReader(dir)
	r.read(false)
	other := write(t, dir, "another.hcl", edition("a", "2h")+edition("b", "2h"))
	set, diags, _ := r.read(false)
	if len(diags) != 1 || !strings.Contains(diags.Error(), "another.hcl:1") || !strings.Contains(diags.Error(), "one.hcl:1") {
		t.Errorf("diagnostics: %v", diags)
	}
	if soakOf(t, set, "a") != time.Hour || soakOf(t, set, "b") != 2*time.Hour || set.Broken["a"] == nil || set.Broken["b"] != nil {
		t.Errorf("broken: %v", set.Broken)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	set, diags, _ = r.read(false)
	noMistakes(t, diags)
	if soakOf(t, set, "a") != time.Hour || set.Policy("b") != nil {
		t.Errorf("services: %v", services(set))
	}
}

// An edit of the jobspec, or of a file that file() names, is an edit.
func TestNamedFilesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.hcl", "service \"a\" {\n  job = \"jobs/a.nomad.hcl\"\n  variables = { text = file(\"text\") }\n}\n")
	r := newReader(dir)
	set, diags, _ := r.read(false)
	if len(diags) != 2 || set.Len() != 0 {
		t.Fatalf("nothing is there yet: %v", diags)
	}
	write(t, dir, "jobs/a.nomad.hcl", "one")
	write(t, dir, "text", "one")
	set, diags, _ = r.read(false)
	noMistakes(t, diags)
	was := set.Policy("a").SourceHash(nil)

	write(t, dir, "jobs/a.nomad.hcl", "two")
	set, _, changed := r.read(false)
	if p := set.Policy("a"); !changed || p.Job.Source() != "two" || p.SourceHash(nil) == was {
		t.Errorf("jobspec: %+v", p.Job)
	}
	write(t, dir, "text", "two")
	set, _, changed = r.read(false)
	if p := set.Policy("a"); !changed || p.Job.Variables["text"] != `"two"` {
		t.Errorf("text: %+v", p.Job)
	}
	if err := os.Remove(filepath.Join(dir, "jobs/a.nomad.hcl")); err != nil {
		t.Fatal(err)
	}
	set, diags, _ = r.read(false)
	if p := set.Policy("a"); !diags.HasErrors() || p == nil || p.Job.Source() != "two" {
		t.Errorf("without its jobspec the last good policy is not kept: %v", diags)
	}
}

// While the directory itself is away, nothing is known of any policy.
func TestDirectoryAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	r := newReader(dir)
	set, diags, changed := r.read(false)
	if set.Len() != 0 || !diags.HasErrors() || !changed {
		t.Errorf("nothing there: %v", diags)
	}
	if _, diags, changed = r.read(false); !diags.HasErrors() || changed {
		t.Errorf("still nothing there: changed %v, %v", changed, diags)
	}
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	write(t, dir, "a.hcl", minimal("a"))
	r.read(false)
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	set, diags, _ = r.read(false)
	if !diags.HasErrors() || !slices.Equal(services(set), []string{"a"}) {
		t.Errorf("away: %v, %v", services(set), diags)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	set, diags, changed = r.read(false)
	noMistakes(t, diags)
	if set.Len() != 0 || !changed {
		t.Errorf("empty: %v", services(set))
	}
}

// An edit of the same length within the time stamp's resolution is seen.
func TestEditThatTheTimeStampDoesNotShow(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	file := write(t, dir, "a.hcl", edition("a", "1h"))
	r := newReader(dir)
	r.read(false)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a.hcl", edition("a", "2h"))
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	set, _, changed := r.read(false)
	if !changed || soakOf(t, set, "a") != 2*time.Hour {
		t.Error("the edit was missed")
	}

	// An old stamp is believed, until somebody asks for more.
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	r.read(false)
	write(t, dir, "a.hcl", edition("a", "3h"))
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	if _, _, changed = r.read(false); changed {
		t.Error("a file with an old time stamp was read again")
	}
	set, _, changed = r.read(true)
	if !changed || soakOf(t, set, "a") != 3*time.Hour {
		t.Error("the edit was missed on demand")
	}

	// Another file in its place, as old and as long, is another file.
	other := write(t, dir, "a.hcl.new", edition("a", "4h"))
	if err := os.Chtimes(other, old, old); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, file); err != nil {
		t.Fatal(err)
	}
	set, _, changed = r.read(false)
	if !changed || soakOf(t, set, "a") != 4*time.Hour {
		t.Error("the replacement was missed")
	}
}

// Only what changed is decoded again: the others keep their very policies.
func TestUnchangedFilesAreNotDecoded(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "api.nomad.hcl", `job "api" {}`)
	write(t, dir, "a.hcl", minimal("a"))
	write(t, dir, "b.hcl", minimal("b"))
	r := newReader(dir)
	was, _, _ := r.read(false)
	same, _, changed := r.read(true)
	if changed || same != was {
		t.Error("nothing changed, and yet")
	}
	write(t, dir, "b.hcl", edition("b", "1h"))
	now, _, _ := r.read(false)
	if now.Policy("a") != was.Policy("a") {
		t.Error("a was decoded again")
	}
	if now.Policy("b") == was.Policy("b") {
		t.Error("b was not decoded again")
	}
}
