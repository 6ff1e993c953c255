package agent

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/settings"
)

// A token that is renewed takes effect at the next request, with both servers,
// and a moment in which it cannot be read does no harm.
func TestRenewedTokenFile(t *testing.T) {
	noEnvironment(t)
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("X-Consul-Token") + r.Header.Get("X-Nomad-Token")
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "token")
	s := settings.Defaults()
	s.Consul.Address, s.Consul.TokenFile = server.URL, path
	s.Nomad.Address, s.Nomad.TokenFile = server.URL, path
	log := &lockedBuffer{}
	logger := hclog.New(&hclog.LoggerOptions{Output: log})

	// The file need not be there yet.
	renewed := 0
	consul, _, err := newConsul(&s, nil, logger, func() { renewed++ })
	if err != nil {
		t.Fatal(err)
	}
	nomad, err := newNomad(&s, nil, logger)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want string) {
		t.Helper()
		for name, ping := range map[string]func() error{
			"consul": func() error { return consul.Ping(t.Context()) },
			"nomad":  func() error { return nomad.Ping(t.Context()) },
		} {
			got = "nothing"
			if err := ping(); err != nil || got != want {
				t.Errorf("%s: token %q, want %q (%v)", name, got, want, err)
			}
		}
	}
	expect("")
	write(t, path, "first\n")
	expect("first")
	write(t, path+".new", "other\n") // as long, and at once
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect("other")
	write(t, path, "")
	expect("other")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("other")
	// Whoever may write in the folder makes no request wait, nor takes the agent's memory.
	for _, link := range []string{pipe(t), "/dev/zero"} {
		if err := os.Symlink(link, path); err != nil {
			t.Fatal(err)
		}
		expect("other")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	write(t, path, "third")
	expect("third")
	if log.count("cannot read the token file") != 4 || log.count("readable again") != 4 { // twice each
		t.Errorf("%s", log)
	}
	if renewed != 3 { // from nothing to the first, too: Consul was asked without one
		t.Errorf("told of %d renewals", renewed)
	}
	for _, token := range []string{"first", "other", "third"} {
		if log.count(token) > 0 {
			t.Errorf("the log holds a token\n%s", log)
		}
	}
}

// The environment's token file is no different.
func TestTokenFileOfTheEnvironment(t *testing.T) {
	noEnvironment(t)
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("X-Consul-Token")
		_, _ = w.Write([]byte(`"127.0.0.1:8300"`))
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "token") // it need not be there yet either
	t.Setenv("CONSUL_HTTP_ADDR", server.URL)
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", path)
	t.Setenv("CONSUL_HTTP_TOKEN", "of the environment")
	s := settings.Defaults()
	client, _, err := newConsul(&s, nil, hclog.NewNullLogger(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"one", "two"} {
		write(t, path, token)
		if err := client.Ping(t.Context()); err != nil || got != token {
			t.Errorf("token %q, want %q (%v)", got, token, err)
		}
	}
}

// pipe is one that nobody writes to.
func pipe(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
