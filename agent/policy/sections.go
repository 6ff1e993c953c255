package policy

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/rollback"
)

// section is a block of a service that may stand at most once.
type section struct {
	name    string
	declare func(*hclbody.Decoder)
	check   func(*hclbody.Decoder, *hcl.EvalContext) // after declare's values were read; may be nil
}

func (s section) decode(body hcl.Body, eval *hcl.EvalContext) hcl.Diagnostics {
	d := hclbody.New(s.name, eval)
	s.declare(d)
	d.Decode(body)
	if s.check != nil {
		s.check(d, eval)
	}
	return d.Diagnostics()
}

// sections are the blocks that fill in p, in the order of a release.
func sections(p *Policy) []section {
	return []section{
		{"launch", p.Launch.declare, p.Launch.check},
		approvalSection(&p.Approval),
		cutoverSection(&p.Cutover),
		{"jobs", p.Jobs.declare, nil},
		{"watch", p.Watch.declare, p.Watch.check},
		{"soak", p.Soak.declare, nil},
	}
}

func (l *Launch) declare(d *hclbody.Decoder) {
	d.Duration("deadline", &l.Deadline)
	d.Duration("healthy_for", &l.HealthyFor, hclbody.ZeroAllowed)
	d.Duration("keep_failed", &l.KeepFailed, hclbody.ZeroAllowed)
}

func (l *Launch) check(d *hclbody.Decoder, _ *hcl.EvalContext) {
	if l.HealthyFor >= l.Deadline {
		d.Errorf("healthy_for", "Launch can never succeed",
			"Instances would have to be healthy for %s, but the launch is given up after %s.", l.HealthyFor, l.Deadline)
	}
}

// protocols are those a router can serve. Only the resolver moves tcp.
var protocols = []string{"http", "http2", "grpc", "tcp"}

func cutoverSection(c *Cutover) section {
	onEdit := map[bool]string{false: "hold", true: "repair"}[c.Repair]
	return section{
		name: "cutover",
		declare: func(d *hclbody.Decoder) {
			d.String("router", &c.Router, hclbody.OneOf(Routers...))
			d.String("protocol", &c.Protocol)
			d.String("on_edit", &onEdit, hclbody.OneOf("hold", "repair"))
			d.Duration("timeout", &c.Timeout)
			d.Block("probe")
		},
		check: func(d *hclbody.Decoder, eval *hcl.EvalContext) {
			c.Repair = onEdit == "repair"
			switch {
			case c.Protocol == "":
			case !slices.Contains(protocols, c.Protocol):
				d.Errorf("protocol", "Wrong value for protocol", "%q is not a protocol that traffic can be moved for; expected one of %s.", c.Protocol, strings.Join(protocols, ", "))
			case c.Protocol == "tcp" && c.Router == "service-router":
				d.Errorf("protocol", "Router cannot serve tcp", `A service-router takes http, http2 or grpc. For tcp set router = "service-resolver".`)
			}
			for _, block := range d.Found("probe")[:min(1, len(d.Found("probe")))] {
				c.Probe = &Probe{}
				d.Append(section{"probe", c.Probe.declare, c.Probe.check}.decode(block.Body, eval))
			}
		},
	}
}

func (p *Probe) declare(d *hclbody.Decoder) {
	d.String("url", &p.URL, hclbody.Required, hclbody.NotEmpty)
	d.String("expect", &p.Expect)
	d.StringMap("headers", &p.Header)
}

func (p *Probe) check(d *hclbody.Decoder, _ *hcl.EvalContext) {
	if p.URL == "" {
		return // already reported
	}
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		d.Errorf("url", "Wrong URL", "An absolute http or https URL is required, such as \"http://edge.example.com:8080/version\".")
	}
	for _, name := range sortedKeys(p.Header) {
		if !headerName.MatchString(name) || strings.ContainsAny(p.Header[name], "\r\n\x00") {
			d.Errorf("headers", "Wrong header", "The header %q has a name or a value that HTTP does not allow.", name)
		}
	}
}

// headerName is a token as RFC 9110 section 5.6.2 has it.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (j *Jobs) declare(d *hclbody.Decoder) {
	d.Duration("handover_deadline", &j.HandoverDeadline, hclbody.ZeroAllowed)
}

func (w *Watch) declare(d *hclbody.Decoder) {
	d.Duration("for", &w.For, hclbody.ZeroAllowed)
	d.Duration("interval", &w.Interval)
	d.Blocks("trigger", "kind", "name")
	d.Block("unknown")
	d.Block("early")
}

func (w *Watch) check(d *hclbody.Decoder, eval *hcl.EvalContext) {
	if w.For > 0 && w.Interval > w.For {
		d.Errorf("interval", "Watch never looks", "The interval of %s is longer than the whole watch of %s.", w.Interval, w.For)
	}
	names := unique{}
	for _, block := range d.Found("trigger") {
		named, diags := rollback.DecodeNamed(block, eval)
		d.Append(append(diags, names.add("trigger", block)...))
		w.Triggers = append(w.Triggers, named)
		if f, ok := named.Trigger.(rollback.Figures); ok && w.For > 0 && f.Interval > w.For {
			d.Append(hcl.Diagnostics{{
				Severity: hcl.DiagError,
				Summary:  "Asked once",
				Detail: fmt.Sprintf("The trigger %q asks every %s, and the watch lasts %s: what is answered at its beginning would stand for all of it. Take a shorter interval.",
					named.Name, f.Interval, w.For),
				Subject: block.DefRange.Ptr(),
			}})
		}
	}
	for _, block := range d.Found("unknown")[:min(1, len(d.Found("unknown")))] {
		d.Append(section{"unknown", func(d *hclbody.Decoder) {
			d.Duration("for", &w.Unknown.For, hclbody.ZeroAllowed)
			d.String("then", &w.Unknown.Then, hclbody.OneOf(rollback.Thens...))
		}, func(d *hclbody.Decoder, _ *hcl.EvalContext) {
			if d.Has("then") && !d.Has("for") {
				d.Errorf("then", "Patience never ends", "What is done when a trigger has not known for too long takes a time that is too long: set for, such as \"10m\".")
			}
		}}.decode(block.Body, eval))
	}
	for _, block := range d.Found("early")[:min(1, len(d.Found("early")))] {
		d.Append(section{"early", func(d *hclbody.Decoder) {
			d.Duration("after", &w.Early.After, hclbody.Required)
			d.Int("requests", &w.Early.Requests, hclbody.Required, hclbody.AtLeast(1))
		}, func(d *hclbody.Decoder, _ *hcl.EvalContext) {
			if w.Early.After > 0 && w.Early.After >= w.For {
				d.Errorf("after", "Never early", "The watch lasts %s, and so it cannot end early after %s.", w.For, w.Early.After)
			}
			if !slices.ContainsFunc(w.Triggers, func(t rollback.Named) bool { return slices.Contains([]string{"errors", "latency", "volume"}, t.Kind) }) {
				d.Errorf("requests", "Nobody counts requests", "Without a trigger of the kinds errors, latency or volume nobody knows how many requests the new version has answered.")
			}
		}}.decode(block.Body, eval))
	}
	if w.For == 0 && len(w.Triggers) > 0 {
		d.Errorf("for", "Triggers can never fire", "The watch lasts no time, so its triggers judge nothing. Remove them, or let the watch last.")
	}
}

func (s *Soak) declare(d *hclbody.Decoder) {
	d.Duration("for", &s.For, hclbody.ZeroAllowed)
	d.String("then", &s.Then, hclbody.OneOf(Thens...))
	d.String("newer", &s.Newer, hclbody.OneOf(Newers...))
}

// unique finds two blocks of the same name: records and messages tell them
// apart by it.
type unique map[string]hcl.Range

func (u unique) add(what string, block *hcl.Block) hcl.Diagnostics {
	name := block.Labels[1]
	if first, ok := u[name]; ok {
		return hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  fmt.Sprintf("Second %s of one name", what),
			Detail:   fmt.Sprintf("The %s %q already stands at %s. Give each its own name.", what, name, first),
			Subject:  block.LabelRanges[1].Ptr(),
		}}
	}
	u[name] = block.DefRange
	return nil
}
