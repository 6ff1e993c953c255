package servers_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/testbed/servers"
)

// A server that the user has installed is used as it is, and named.
func TestServerOnPathIsUsed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "consul")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho 'Consul v9.8.7'\necho 'Revision abc'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	var log strings.Builder
	got, err := servers.Consul(t.Context(), &log)
	if err != nil {
		t.Fatal(err)
	}
	if want := (servers.Binary{Name: "consul", Path: path, Version: "9.8.7", Source: servers.FromPath}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if !strings.Contains(log.String(), "consul 9.8.7 (PATH: "+path) {
		t.Errorf("the log does not say so: %s", log.String())
	}
}

// One that does not say its version is an error, not replaced by another.
func TestBrokenServerOnPathIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "nomad"), []byte("#!/bin/sh\necho hello\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	if got, err := servers.Nomad(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "hello") {
		t.Errorf("%+v, %v: want an error that quotes it", got, err)
	}
}

// PostgreSQL is a package of the distribution, and what is missing is named.
func TestPostgresIsFoundOrMissed(t *testing.T) {
	got, err := servers.Postgres(t.Context(), nil)
	if err != nil {
		if !strings.Contains(err.Error(), "apt-get install postgresql") {
			t.Errorf("what to do is not said: %v", err)
		}
		return
	}
	if got.Version == "" || !filepath.IsAbs(got.Path) {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(got.Path), "initdb")); err != nil {
		t.Errorf("initdb is not beside it: %v", err)
	}
}
