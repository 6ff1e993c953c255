package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// noEnvironment takes away whatever the tests' own environment says of Consul
// and Nomad, and points both at nobody.
func noEnvironment(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "CONSUL_") || strings.HasPrefix(name, "NOMAD_") || strings.HasPrefix(name, "TEAL_") {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
	t.Setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
	t.Setenv("NOMAD_ADDR", "http://127.0.0.1:1")
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A flag goes before the file, the file before the environment, the
// environment before the default.
func TestFlagsGoFirst(t *testing.T) {
	noEnvironment(t)
	t.Setenv("TEAL_POLICIES", "/from/environment")
	config := write(t, filepath.Join(t.TempDir(), "config.hcl"), `
name     = "file"
policies = env("TEAL_POLICIES", "policies")
prefix   = "file/"
log {
  level = "warn"
}
http {
  address = "127.0.0.1:1111"
}
consul {
  address    = "file:8500"
  token_file = "/file/token"
}
nomad {
  address = "http://file:4646"
}`)
	s, err := Options{Config: config}.load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "file" || s.Policies != "/from/environment" || s.Prefix != "file/" || s.Log.Level != "warn" ||
		s.HTTP.Address != "127.0.0.1:1111" || s.Consul.Address != "file:8500" || s.Nomad.Address != "http://file:4646" || s.Log.JSON {
		t.Errorf("%+v", s)
	}
	s, err = Options{Config: config, Name: "flag", Policies: "p", Prefix: "flag", LogLevel: "trace", LogJSON: true, HTTPAddr: ":2222",
		ConsulAddr: "flag:8500", ConsulToken: "secret", NomadAddr: "http://flag:4646"}.load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "flag" || s.Policies != "p" || s.Prefix != "flag/" || s.Log.Level != "trace" || !s.Log.JSON || s.HTTP.Address != ":2222" ||
		s.Consul.Address != "flag:8500" || s.Nomad.Address != "http://flag:4646" {
		t.Errorf("%+v", s)
	}
	// A token on the command line goes before a file that the config names.
	if c := s.ConsulConfig(); c.Token != "secret" || c.TokenFile != "" {
		t.Errorf("token %q, file %q", c.Token, c.TokenFile)
	}
	// And before a login.
	config = write(t, filepath.Join(t.TempDir(), "config.hcl"), "consul {\n auth_method = \"teal\"\n jwt_file = \"/jwt\"\n}\n")
	s, err = Options{Config: config, ConsulToken: "secret"}.load()
	if err != nil {
		t.Fatal(err)
	}
	if c := s.ConsulConfig(); c.Token != "secret" || s.Consul.AuthMethod != "" {
		t.Errorf("token %q, %+v", c.Token, s.Consul)
	}
}

func TestWrongFlagsAndConfig(t *testing.T) {
	noEnvironment(t)
	_, err := New(Options{LogLevel: "loud", HTTPAddr: "here", Name: "a/b", Prefix: "/x", ConsulToken: "a", ConsulTokenFile: "b", NomadAddr: "host:4646"})
	if err == nil {
		t.Fatal("taken")
	}
	for _, flag := range []string{"-log-level", "-bind", "-name", "-prefix", "-token-file", "-nomad-addr"} {
		if !strings.Contains(err.Error(), flag) {
			t.Errorf("%s is missing in:\n%v", flag, err)
		}
	}
	config := write(t, filepath.Join(t.TempDir(), "config.hcl"), "log {\n  level = \"loud\"\n}\nlease {\n  ttl = \"1s\"\n}\n")
	_, err = New(Options{Config: config})
	if err == nil || !strings.Contains(err.Error(), "config.hcl:2: ") || !strings.Contains(err.Error(), "config.hcl:5: ") {
		t.Errorf("not all mistakes with file and line: %v", err)
	}
	_, err = New(Options{Config: filepath.Join(t.TempDir(), "nowhere.hcl")})
	if err == nil || !strings.Contains(err.Error(), "nowhere.hcl") {
		t.Errorf("%v", err)
	}
}
