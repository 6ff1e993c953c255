package replay

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// A seed played again, in another process, after other seeds or beside
// goroutines that wake and allocate all the time, has the same history to the
// byte; another seed has not.
func TestASeedReplaysToTheByte(t *testing.T) {
	binary := build(t)
	told := func(args ...string) []byte {
		t.Helper()
		path := filepath.Join(t.TempDir(), "told")
		if out, failed := simulate(t, binary, append(args, "-simulate.tell", path)...); failed {
			t.Fatal(out)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	many := []string{"-simulate.from", "0", "-simulate.seeds", "80"}
	once := told(many...)
	if n := len(once); n < 80*2000 {
		t.Errorf("80 seeds have hardly a history: %d bytes", n)
	}
	for range 2 {
		if line, was, is := differ(once, told(append(many, "-simulate.noise")...)); line > 0 {
			t.Errorf("beside others, line %d of the histories is\n%s\nit was\n%s", line, is, was)
		}
	}
	for _, seed := range []string{"20", "79"} {
		alone := told("-simulate.from", seed, "-simulate.seeds", "1")
		if !bytes.Contains(once, alone) {
			t.Errorf("seed %s alone has another history than after others:\n%s", seed, alone)
		}
		if line, was, is := differ(alone, told("-simulate.from", seed, "-simulate.seeds", "1")); line > 0 {
			t.Errorf("played again, line %d of seed %s is\n%s\nit was\n%s", line, seed, is, was)
		}
	}
	if bytes.Equal(told("-simulate.from", "33", "-simulate.seeds", "1"), told("-simulate.from", "34", "-simulate.seeds", "1")) {
		t.Error("another seed has the same history")
	}
}

// differ is the first line in which two texts differ, counted from 1, and what
// it is in either; 0 when they are the same.
func differ(a, b []byte) (line int, in, and []byte) {
	for line = 1; len(a)+len(b) > 0; line++ {
		in, a, _ = bytes.Cut(a, []byte("\n"))
		and, b, _ = bytes.Cut(b, []byte("\n"))
		if !bytes.Equal(in, and) {
			return line, in, and
		}
	}
	return 0, nil, nil
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
