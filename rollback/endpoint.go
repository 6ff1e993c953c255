package rollback

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/measure"
)

// notInNames are characters that neither metrics nor labels have in their names.
const notInNames = " \t\r\n{}()[]\"',="

// metaKey is what Consul takes as a key of a service's meta.
var metaKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// validateWindow refuses a window that is no use.
func validateWindow(d *hclbody.Decoder, window time.Duration) {
	if window < time.Second || window > 24*time.Hour {
		d.Errorf("window", "Wrong value for window", "The window of %s is out of range; it must be between 1s and 24h.", window)
	}
}

// Endpoint is where counters are read, and which of them.
type Endpoint struct {
	Scheme string `json:",omitempty"` // https; empty: http
	Path   string
	Port   string
	TLS    *measure.TLS `json:",omitempty"`
	// Callers are services whose instances are read instead of the colour's own:
	// what fails between the two shows only on their side.
	Callers []string `json:",omitempty"`
	// Where are labels that a series has to have; placeholders stand for the
	// colour's own.
	Where map[string]string `json:",omitempty"`
}

// declare adds the arguments to a decoder.
func (e *Endpoint) declare(d *hclbody.Decoder) {
	e.Scheme, e.Path = "http", "/metrics"
	d.String("scheme", &e.Scheme, hclbody.OneOf("http", "https"))
	d.String("path", &e.Path, hclbody.NotEmpty)
	d.String("port", &e.Port, hclbody.NotEmpty)
	d.Strings("callers", &e.Callers, hclbody.NotEmpty)
	d.StringMap("where", &e.Where)
	d.Block("tls")
}

// validate refuses what cannot be where somebody tells metrics.
func (e *Endpoint) validate(d *hclbody.Decoder, eval *hcl.EvalContext) {
	e.TLS = measure.TLSIn(d, eval)
	e.TLS.CheckScheme(d, e.Scheme)
	if e.Scheme == "http" {
		e.Scheme = "" // as it is where nothing is said
	}
	switch u, err := url.Parse("http://host" + e.Path); {
	case !strings.HasPrefix(e.Path, "/"):
		d.Errorf("path", "Invalid path", "path is %q; it must begin with a slash.", e.Path)
	case err != nil || u.Fragment != "":
		d.Errorf("path", "Invalid path", "%q is not a path and query of a URL.", e.Path)
	}
	if n, err := strconv.Atoi(e.Port); err == nil && (n < 1 || n > 65535) {
		d.Errorf("port", "Invalid port", "There is no port %s; it must be between 1 and 65535.", e.Port)
	} else if err != nil && e.Port != "" && !metaKey.MatchString(e.Port) {
		d.Errorf("port", "Invalid port", "%q is neither a number nor a key of a service's meta.", e.Port)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Where)) {
		if strings.ContainsAny(name, notInNames) {
			d.Errorf("where", "Not a label's name", "%q is not the name of a label.", name)
		}
		measure.NoStray(d, "where", e.Where[name])
	}
	if len(e.Callers) == 0 {
		return
	}
	for i, name := range e.Callers {
		if slices.Contains(e.Callers[:i], name) {
			d.Errorf("callers", "Service twice", "%s is named twice.", name)
		}
		if !metaKey.MatchString(name) {
			d.Errorf("callers", "Not a service", "%q is not the name of a Consul service.", name)
		}
	}
	if e.Port == "" {
		d.Errorf("callers", "Port is missing", "A proxy does not tell its metrics where it serves; name the port, or the key in the callers' meta that holds it.")
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(e.Where)), func(v string) bool { return strings.Contains(v, "{colour}") }) {
		d.Errorf("callers", "Colours not told apart", "Callers count the requests to both colours; say by which label those of one are told, as in where = { consul_destination_service_subset = \"{colour}\" }.")
	}
}

func (e Endpoint) source() ScrapeSource {
	return ScrapeSource{Scheme: e.Scheme, Path: e.Path, Port: e.Port, Callers: strings.Join(e.Callers, ","), TLS: e.TLS.Settings()}
}

// Sources implements Trigger.
func (e Endpoint) Sources() []ScrapeSource { return []ScrapeSource{e.source()} }

// filled is Where with what its placeholders stand for. What is not known matches
// nothing.
func (e Endpoint) filled(whom Subject) map[string]string {
	out := make(map[string]string, len(e.Where))
	for name, value := range e.Where {
		if text, err := whom.Filling().Text(value); err == nil {
			value = text
		}
		out[name] = value
	}
	return out
}
