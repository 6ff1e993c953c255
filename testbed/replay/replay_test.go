package replay

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A seed played again, in another process or after other seeds, has the same
// history to the byte; another seed has not.
func TestASeedReplaysToTheByte(t *testing.T) {
	binary := build(t)
	told := func(name string, args ...string) []byte {
		path := filepath.Join(t.TempDir(), name)
		if out, failed := simulate(t, binary, append(args, "-simulate.tell", path)...); failed {
			t.Fatal(out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, seed := range []string{"20", "33"} {
		once := told("once", "-simulate.from", seed, "-simulate.seeds", "1")
		if again := told("again", "-simulate.from", seed, "-simulate.seeds", "1"); !bytes.Equal(once, again) {
			t.Errorf("seed %s played again:\n%s\nwas:\n%s", seed, again, once)
		}
		if len(once) < 2000 {
			t.Errorf("seed %s has hardly a history: %s", seed, once)
		}
	}
	alone := told("alone", "-simulate.from", "33", "-simulate.seeds", "1")
	if after := told("after", "-simulate.from", "10", "-simulate.seeds", "24"); !bytes.Equal(alone, after) {
		t.Errorf("seed 33 after others:\n%s\nalone:\n%s", after, alone)
	}
	if other := told("other", "-simulate.from", "34", "-simulate.seeds", "1"); bytes.Equal(alone, other) {
		t.Error("another seed has the same history")
	}
}

// A patch that no longer fits says so, instead of testing nothing.
func TestAPatchThatDoesNotFitIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte("package a // b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"nowhere", "a"} { // not there, there more than once
		if err := Overlay(dir, dir, []Patch{{"a.go", []Edit{{old, "x"}}}}, map[string]string{}); err == nil {
			t.Errorf("%q was replaced", old)
		}
	}
	replace := map[string]string{}
	if err := Overlay(dir, dir, []Patch{{"a.go", []Edit{{"b", "x"}}}}, replace); err != nil || len(replace) != 1 {
		t.Errorf("%v %v", replace, err)
	}
}
