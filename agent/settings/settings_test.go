package settings

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"
	nomadapi "github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// emptyEnvironment takes away whatever the tests' own environment says of
// Consul and Nomad.
func emptyEnvironment(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "CONSUL_") || strings.HasPrefix(name, "NOMAD_") || strings.HasPrefix(name, "TEAL_") {
			t.Setenv(name, "") // restores it afterwards
			os.Unsetenv(name)
		}
	}
}

func load(t *testing.T, text string) *Settings {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _, diags := Load(path)
	if len(diags) > 0 {
		t.Fatalf("unexpected: %v", diags)
	}
	return s
}

// The config file in the repository shows every setting at its default.
func TestConfigFileIsTheDefaults(t *testing.T) {
	emptyEnvironment(t)
	const path = "../../config.hcl"
	got, _, diags := Load(path)
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	want := Defaults()
	want.Policies = filepath.Join(filepath.Dir(path), want.Policies)
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("config.hcl: %+v\ndefaults: %+v", *got, want)
	}

	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var set []string
	section := ""
	for line := range strings.SplitSeq(string(text), "\n") {
		if m := regexp.MustCompile(`^(\w+) \{`).FindStringSubmatch(line); m != nil {
			section = m[1] + "."
		} else if strings.HasPrefix(line, "}") {
			section = ""
		} else if m := regexp.MustCompile(`^ *(\w+) += .*(#.*)$`).FindStringSubmatch(line); m != nil {
			set = append(set, section+m[1])
		}
	}
	var known []string
	d := hclbody.New("", nil)
	got.declare(d)
	known = append(known, d.Names()...)
	for _, section := range got.sections() {
		d := hclbody.New("", nil)
		section.declare(d)
		for _, name := range d.Names() {
			known = append(known, section.name+"."+name)
		}
	}
	slices.Sort(known)
	slices.Sort(set)
	if !slices.Equal(set, known) {
		t.Errorf("set and commented in config.hcl: %v\nknown: %v", set, known)
	}
	if s, _, diags := Load(""); len(diags) > 0 || !reflect.DeepEqual(*s, Defaults()) {
		t.Errorf("without a file: %+v, %v", s, diags)
	}
}

// Nobody but this machine is served, unless a config says so.
func TestServesThisMachineOnlyByDefault(t *testing.T) {
	host, _, err := net.SplitHostPort(Defaults().HTTP.Address)
	if ip := net.ParseIP(host); err != nil || !ip.IsLoopback() {
		t.Errorf("it listens on %q: %v", Defaults().HTTP.Address, err)
	}
}

func TestPoliciesFromTheEnvironment(t *testing.T) {
	t.Setenv("TEAL_POLICIES", "/srv/policies")
	s, _, diags := Load("../../config.hcl")
	if len(diags) > 0 || s.Policies != "/srv/policies" {
		t.Errorf("policies: %q, %v", s.Policies, diags)
	}
}

func TestLoad(t *testing.T) {
	s := load(t, `
name     = "agent-${1 + 1}"
policies = "/etc/teal/policies"
prefix   = "team/teal"
log {
  level = "debug"
  json  = true
}
http {
  address = "[::1]:80"
}
lease {
  ttl = "20s"
}
service {
  name     = "teal-eu"
  register = false
}
history {
  keep = 5
}
audit {
  path       = "/var/log/teal/audit.log"
  rotate_mib = 8
}
gates {
  exec = true
}`)
	want := Settings{Name: "agent-2", Policies: "/etc/teal/policies", Prefix: "team/teal/", Log: Log{"debug", true},
		HTTP: HTTP{"[::1]:80"}, Lease: Lease{20 * time.Second}, Service: Service{"teal-eu", false}, History: History{5},
		Audit: Audit{"/var/log/teal/audit.log", 8}, Gates: Gates{true}}
	if !reflect.DeepEqual(*s, want) {
		t.Errorf("%+v\nwant %+v", *s, want)
	}
}

// All mistakes at once, each at its line.
func TestMistakes(t *testing.T) {
	lines := []string{
		`name     = "a/b"`,            // 1
		`policies = ""`,               //
		`prefix   = "/teal"`,          //
		`colour   = "teal"`,           //
		`log {`,                       // 5
		`  level = "loud"`,            //
		`}`,                           //
		`http {`,                      //
		`  address = "localhost"`,     //
		`}`,                           // 10
		`consul {`,                    //
		`  address    = "ftp://host"`, //
		`  token      = "a"`,          //
		`  token_file = "b"`,          //
		`}`,                           // 15
		`nomad {`,                     //
		`  address   = "host:4646"`,   //
		`  cert_file = "a"`,           //
		`}`,                           //
		`lease {`,                     // 20
		`  ttl = "5s"`,                //
		`}`,                           //
		`service {`,                   //
		`  name = "-"`,                //
		`}`,                           // 25
		`history {`,                   //
		`  keep = 0`,                  //
		`}`,                           //
		`log {}`,                      //
		`statsd {}`,                   // 30
		`nomad "x" {}`,                //
		`audit {`,                     //
		`  path       = ""`,           //
		`  rotate_mib = 0`,            //
		`  paht       = "x"`,          // 35
		`}`,                           //
	}
	path := filepath.Join(t.TempDir(), "config.hcl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	s, file, diags := Load(path)
	if s == nil || file == nil || !diags.HasErrors() {
		t.Fatal(diags)
	}
	var got []int
	for _, diag := range diags {
		got = append(got, diag.Subject.Start.Line)
	}
	slices.Sort(got)
	if want := []int{1, 2, 3, 4, 6, 9, 12, 14, 17, 18, 21, 24, 27, 29, 30, 31, 33, 34, 35}; !slices.Equal(got, want) {
		t.Errorf("lines %v\nwant  %v\n%v", got, want, diags)
	}
	for _, unreadable := range []string{filepath.Join(t.TempDir(), "nowhere.hcl"), t.TempDir()} {
		if _, _, diags := Load(unreadable); !diags.HasErrors() {
			t.Errorf("%s is no mistake", unreadable)
		}
	}
}

// A token is had in one way only, and a login takes a place and something to
// show.
func TestOneWayToAToken(t *testing.T) {
	for text, mistakes := range map[string]int{
		"auth_method = \"teal\"\njwt_file = \"jwt\"":                     0,
		"auth_method = \"\"\njwt_file = \"\"\ntoken_file = \"t\"":        0,
		"auth_method = \"teal\"":                                         1,
		"jwt_file = \"jwt\"":                                             1,
		"auth_method = \"teal\"\njwt_file = \"jwt\"\ntoken = \"t\"":      1,
		"auth_method = \"teal\"\njwt_file = \"jwt\"\ntoken_file = \"t\"": 1,
		"auth_method = \"teal\"\ntoken = \"t\"\ntoken_file = \"t\"":      3,
	} {
		for _, server := range []string{"consul", "nomad"} {
			path := filepath.Join(t.TempDir(), "config.hcl")
			if err := os.WriteFile(path, []byte(server+" {\n"+text+"\n}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, diags := Load(path); len(diags) != mistakes {
				t.Errorf("%s: %d mistakes in\n%s\nwant %d: %v", server, len(diags), text, mistakes, diags)
			}
		}
	}
}

// The file goes before the environment, the environment before the default.
func TestPrecedence(t *testing.T) {
	emptyEnvironment(t)
	unset := load(t, "")
	set := load(t, `
consul {
  address         = "https://file:8501"
  token           = "file"
  datacenter      = "dc-file"
  namespace       = "ns-file"
  partition       = "part-file"
  ca_file         = "ca-file"
  ca_path         = "capath-file"
  cert_file       = "cert-file"
  key_file        = "key-file"
  tls_server_name = "name-file"
  tls_skip_verify = true
}
nomad {
  address         = "https://file:4646"
  region          = "region-file"
  namespace       = "ns-file"
  token           = "file"
  ca_file         = "ca-file"
  ca_path         = "capath-file"
  cert_file       = "cert-file"
  key_file        = "key-file"
  tls_server_name = "name-file"
  tls_skip_verify = true
}`)
	check := func(what string, s *Settings, consul, nomad []string) {
		t.Helper()
		c := s.ConsulConfig()
		got := []string{c.Address, c.Token, c.TokenFile, c.Datacenter, c.Namespace, c.Partition, c.TLSConfig.CAFile, c.TLSConfig.CAPath,
			c.TLSConfig.CertFile, c.TLSConfig.KeyFile, c.TLSConfig.Address}
		if !slices.Equal(got, consul) {
			t.Errorf("%s: consul %q\nwant %q", what, got, consul)
		}
		n, err := s.NomadConfig()
		if err != nil {
			t.Fatal(err)
		}
		got = []string{n.Address, n.SecretID, n.Region, n.Namespace, n.TLSConfig.CACert, n.TLSConfig.CAPath,
			n.TLSConfig.ClientCert, n.TLSConfig.ClientKey, n.TLSConfig.TLSServerName}
		if !slices.Equal(got, nomad) {
			t.Errorf("%s: nomad %q\nwant %q", what, got, nomad)
		}
	}
	check("default", unset, []string{"localhost:8500", "", "", "", "", "", "", "", "", "", ""},
		[]string{"http://127.0.0.1:4646", "", "", "", "", "", "", "", ""})

	for name, value := range map[string]string{
		"CONSUL_HTTP_ADDR": "env:8500", "CONSUL_HTTP_TOKEN": "env", "CONSUL_HTTP_TOKEN_FILE": "tokenfile-env",
		"CONSUL_NAMESPACE": "ns-env", "CONSUL_PARTITION": "part-env",
		"CONSUL_CACERT": "ca-env", "CONSUL_CAPATH": "capath-env", "CONSUL_CLIENT_CERT": "cert-env", "CONSUL_CLIENT_KEY": "key-env",
		"CONSUL_TLS_SERVER_NAME": "name-env",
		"NOMAD_ADDR":             "http://env:4646", "NOMAD_TOKEN": "env", "NOMAD_REGION": "region-env", "NOMAD_NAMESPACE": "ns-env",
		"NOMAD_CACERT": "ca-env", "NOMAD_CAPATH": "capath-env", "NOMAD_CLIENT_CERT": "cert-env", "NOMAD_CLIENT_KEY": "key-env",
		"NOMAD_TLS_SERVER_NAME": "name-env",
	} {
		t.Setenv(name, value)
	}
	check("environment", unset,
		[]string{"env:8500", "env", "tokenfile-env", "", "ns-env", "part-env", "ca-env", "capath-env", "cert-env", "key-env", "name-env"},
		[]string{"http://env:4646", "env", "region-env", "ns-env", "ca-env", "capath-env", "cert-env", "key-env", "name-env"})
	check("file", set,
		[]string{"https://file:8501", "file", "", "dc-file", "ns-file", "part-file", "ca-file", "capath-file", "cert-file", "key-file", "name-file"},
		[]string{"https://file:4646", "file", "region-file", "ns-file", "ca-file", "capath-file", "cert-file", "key-file", "name-file"})
	if n, _ := set.NomadConfig(); !set.ConsulConfig().TLSConfig.InsecureSkipVerify || !n.TLSConfig.Insecure {
		t.Error("tls_skip_verify is lost")
	}
}

// server answers every request with its token, on a unix socket.
func server(t *testing.T) (address string, tokens <-chan string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "teal") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "api.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Get("X-Nomad-Token") + r.Header.Get("X-Consul-Token")
		_, _ = w.Write([]byte(`"10.0.0.1:8300"`))
	})}
	go func() { _ = srv.Serve(listener) }()
	t.Cleanup(func() { srv.Close() })
	return "unix://" + socket, seen
}

// Both clients reach a unix socket, with a token from a file, as in a Nomad
// task.
func TestUnixSocketAndTokenFile(t *testing.T) {
	emptyEnvironment(t)
	address, tokens := server(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := load(t, `
consul {
  address    = "`+address+`"
  token_file = "`+token+`"
}
nomad {
  address    = "`+address+`"
  token_file = "`+token+`"
}`)
	config, err := s.NomadConfig()
	if err != nil {
		t.Fatal(err)
	}
	nomad, err := nomadapi.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := nomad.Status().Leader(); err != nil || <-tokens != "secret" {
		t.Errorf("nomad: %v", err)
	}
	consul, err := consulapi.NewClient(s.ConsulConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := consul.Status().Leader(); err != nil || <-tokens != "secret" {
		t.Errorf("consul: %v", err)
	}

	// Who logs in has no token yet, whatever the environment says.
	t.Setenv("CONSUL_HTTP_TOKEN", "env")
	t.Setenv("CONSUL_HTTP_TOKEN_FILE", token)
	t.Setenv("NOMAD_TOKEN", "env")
	login := load(t, "consul {\n auth_method = \"teal\"\n jwt_file = \"jwt\"\n}\nnomad {\n auth_method = \"teal\"\n jwt_file = \"jwt\"\n}")
	if c, n := login.ConsulConfig(), login; c.Token+c.TokenFile != "" || n.Consul.JWTFile != "jwt" || n.Nomad.AuthMethod != "teal" {
		t.Errorf("consul: %q %q, %+v", c.Token, c.TokenFile, login.Consul)
	}
	if n, err := login.NomadConfig(); err != nil || n.SecretID != "" {
		t.Errorf("nomad: %q, %v", n.SecretID, err)
	}

	s.Nomad.TokenFile = filepath.Join(t.TempDir(), "nowhere")
	if _, err := s.NomadConfig(); err == nil {
		t.Error("a token file that is not there is no error")
	}
}
