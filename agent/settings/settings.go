// Package settings reads the agent's own config file. A flag goes before the
// file, the file before the environment, the environment before the default,
// as with the consul and nomad commands. It opens no connection.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/kv"
	"github.com/tealdeploy/teal/agent/notify"
	"github.com/tealdeploy/teal/agent/policy"
)

// Settings are the agent's own.
type Settings struct {
	Name     string // of this agent among the others
	Policies string // a policy file or a directory of them
	Prefix   string // of all keys in Consul KV, ending in a slash

	Log     Log
	HTTP    HTTP
	Consul  Consul
	Nomad   Nomad
	Lease   Lease
	Service Service
	History History
	Audit   Audit
	Gates   Gates
	Notify  Notify
}

// Log says what is logged, and how.
type Log struct {
	Level string // one of Levels
	JSON  bool
}

// Levels are hclog's, most talkative first.
var Levels = []string{"trace", "debug", "info", "warn", "error"}

// HTTP is where health, metrics and status are served.
type HTTP struct {
	Address string // host:port
}

// Lease bounds how long a leader that has fallen silent keeps its office.
type Lease struct {
	TTL time.Duration
}

// Service is the agent's own registration in Consul.
type Service struct {
	Name     string
	Register bool
}

// History bounds what is remembered.
type History struct {
	Keep int // finished deployments for each service
}

// Audit is where each decision is written down on this machine.
type Audit struct {
	Path      string // empty: nowhere
	RotateMiB int    // a file of this size is moved aside
}

// Gates says what gates may do beyond asking.
type Gates struct {
	Exec bool // run commands on the agent's machine, as its user
}

// Notify is who is told of releases.
type Notify struct {
	Receivers []notify.Receiver
	// Text identifies the blocks, to tell whether they were edited.
	Text string
}

// Defaults are the settings of an agent that is told nothing. It is the only
// place where defaults stand; Name is the host's.
func Defaults() Settings {
	host, err := os.Hostname()
	if err != nil || !agentName.MatchString(host) {
		host = "teal"
	}
	return Settings{
		Name:     host,
		Policies: "policies",
		Prefix:   kv.DefaultPrefix,
		Log:      Log{Level: "info"},
		HTTP:     HTTP{Address: "127.0.0.1:4680"},
		Lease:    Lease{TTL: 15 * time.Second},
		Service:  Service{Name: "teal", Register: true},
		History:  History{Keep: 20},
		Audit:    Audit{RotateMiB: 64},
	}
}

// Load reads a config file over the defaults. With an empty path there are
// only defaults. The settings are never nil; they are not to be used when the
// diagnostics have errors. The file, for printing those, may be nil.
func Load(path string) (*Settings, *hcl.File, hcl.Diagnostics) {
	s := Defaults()
	if path == "" {
		return &s, nil, nil
	}
	file, eval, diags := policy.ReadFile(path)
	if diags.HasErrors() {
		return &s, file, diags
	}
	d := hclbody.New("the agent's config", eval)
	s.declare(d)
	sections := s.sections()
	for _, section := range sections {
		d.Block(section.name)
	}
	d.Blocks("notify", "kind", "name")
	d.Decode(file.Body)
	s.check(d)
	for _, section := range sections {
		for _, block := range d.Found(section.name)[:min(1, len(d.Found(section.name)))] {
			inner := hclbody.New(section.name, eval)
			section.declare(inner)
			inner.Decode(block.Body)
			section.check(inner)
			d.Append(inner.Diagnostics())
		}
	}
	s.Notify.take(d, file, eval)
	for _, named := range []*string{&s.Policies, &s.Audit.Path} {
		if *named != "" && !filepath.IsAbs(*named) {
			*named = filepath.Join(filepath.Dir(path), *named)
		}
	}
	s.Prefix = kv.NewKeys(s.Prefix).Prefix()
	diags = append(diags, d.Diagnostics()...)
	for _, diag := range diags {
		diag.Expression, diag.EvalContext = nil, nil // may print secrets
	}
	return &s, file, diags
}

// section is a block of the config file.
type section struct {
	name    string
	declare func(*hclbody.Decoder)
	check   func(*hclbody.Decoder)
}

func (s *Settings) sections() []section {
	return []section{
		{"log", s.Log.declare, nothing},
		{"http", s.HTTP.declare, s.HTTP.check},
		{"consul", s.Consul.declare, s.Consul.check},
		{"nomad", s.Nomad.declare, s.Nomad.check},
		{"lease", s.Lease.declare, s.Lease.check},
		{"service", s.Service.declare, s.Service.check},
		{"history", s.History.declare, nothing},
		{"audit", s.Audit.declare, nothing},
		{"gates", s.Gates.declare, nothing},
	}
}

func nothing(*hclbody.Decoder) {}

func (s *Settings) declare(d *hclbody.Decoder) {
	d.String("name", &s.Name)
	d.String("policies", &s.Policies, hclbody.NotEmpty)
	d.String("prefix", &s.Prefix)
}

var (
	agentName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	serviceName = regexp.MustCompile(`^(?i:[a-z0-9]|[a-z0-9][a-z0-9-]{0,61}[a-z0-9])$`)
	keyPrefix   = regexp.MustCompile(`^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*/?$`)
)

func (s *Settings) check(d *hclbody.Decoder) {
	if !agentName.MatchString(s.Name) {
		d.Errorf("name", "Wrong name", "%q cannot name an agent: letters, digits, dots, dashes and underscores are allowed, and no more than 128 of them.", s.Name)
	}
	if !keyPrefix.MatchString(s.Prefix) {
		d.Errorf("prefix", "Wrong prefix", "%q cannot be a prefix of keys in Consul KV; it looks like \"teal/\" or \"team/teal/\".", s.Prefix)
	}
}

func (l *Log) declare(d *hclbody.Decoder) {
	d.String("level", &l.Level, hclbody.OneOf(Levels...))
	d.Bool("json", &l.JSON)
}

func (h *HTTP) declare(d *hclbody.Decoder) {
	d.String("address", &h.Address)
}

func (h *HTTP) check(d *hclbody.Decoder) {
	if _, port, err := net.SplitHostPort(h.Address); err != nil || port == "" {
		d.Errorf("address", "Wrong address", "%q is not an address to listen on; it looks like \"127.0.0.1:4680\".", h.Address)
	}
}

func (l *Lease) declare(d *hclbody.Decoder) {
	d.Duration("ttl", &l.TTL)
}

// check keeps to what Consul accepts for a session.
func (l *Lease) check(d *hclbody.Decoder) {
	if l.TTL < 10*time.Second || l.TTL > 10*time.Minute {
		d.Errorf("ttl", "Wrong lease", "%s is out of range; Consul takes sessions from 10s on, and beyond 10m a dead leader would not be missed.", l.TTL)
	}
}

func (s *Service) declare(d *hclbody.Decoder) {
	d.String("name", &s.Name)
	d.Bool("register", &s.Register)
}

func (s *Service) check(d *hclbody.Decoder) {
	if !serviceName.MatchString(s.Name) {
		d.Errorf("name", "Wrong service name", "%q cannot be the name of a Consul service.", s.Name)
	}
}

func (h *History) declare(d *hclbody.Decoder) {
	d.Int("keep", &h.Keep, hclbody.Within(1, 1000))
}

func (a *Audit) declare(d *hclbody.Decoder) {
	d.String("path", &a.Path, hclbody.NotEmpty)
	d.Int("rotate_mib", &a.RotateMiB, hclbody.Within(1, 1<<20))
}

func (g *Gates) declare(d *hclbody.Decoder) {
	d.Bool("exec", &g.Exec)
}

// take reads the notify blocks. Records and metrics tell receivers apart by their
// names alone.
func (n *Notify) take(d *hclbody.Decoder, file *hcl.File, eval *hcl.EvalContext) {
	names := map[string]hcl.Range{}
	for _, block := range d.Found("notify") {
		r, diags := notify.Decode(block, eval)
		d.Append(diags)
		if first, ok := names[r.Name]; ok {
			d.Append(hcl.Diagnostics{{
				Severity: hcl.DiagError, Summary: "Second receiver of one name",
				Detail:  fmt.Sprintf("The receiver %q already stands at %s. Give each its own name.", r.Name, first),
				Subject: block.LabelRanges[1].Ptr(),
			}})
		}
		names[r.Name] = block.DefRange
		n.Receivers = append(n.Receivers, r)
		if body, ok := block.Body.(*hclsyntax.Body); ok {
			n.Text += fmt.Sprintf("%q %q %s\n", r.Kind, r.Name, body.Range().SliceBytes(file.Bytes))
		}
	}
}

// checkServer takes the addresses that the consul and nomad commands take.
func checkServer(address string) error {
	scheme, rest, ok := strings.Cut(address, "://")
	if !ok {
		scheme, rest = "http", address
	}
	switch scheme {
	case "http", "https":
		u, err := url.Parse(scheme + "://" + rest)
		if err != nil || u.Hostname() == "" {
			return fmt.Errorf("%q has no host", address)
		}
		return nil
	case "unix":
		if !strings.HasPrefix(rest, "/") {
			return fmt.Errorf("%q has no absolute path to a socket, such as \"unix:///secrets/api.sock\"", address)
		}
		return nil
	}
	return errors.New("the scheme must be http, https or unix")
}
