package measure

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Access is how a metrics service lets itself be asked. Secrets are in files of
// the agent's machine, and read at each question: neither the policy nor a record
// nor a log ever holds them.
type Access struct {
	Headers     map[string]string
	HeaderFiles map[string]string // header → file that holds its value
	TLS         TLS
}

func (a *Access) declare(d *hclbody.Decoder) {
	d.StringMap("headers", &a.Headers)
	d.StringMap("header_files", &a.HeaderFiles)
	d.String("ca_file", &a.TLS.CAFile, hclbody.NotEmpty)
	d.Bool("tls_skip_verify", &a.TLS.InsecureSkipVerify)
}

// headerName is a token as RFC 9110 section 5.6.2 has it.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func (a *Access) validate(d *hclbody.Decoder, raw string) {
	if raw == "" {
		return // already reported
	}
	sample := raw
	for _, p := range Placeholders {
		sample = strings.ReplaceAll(sample, p, "x")
	}
	u, err := url.Parse(sample)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		d.Errorf("url", "Wrong URL", "An absolute http or https URL is required, such as \"http://prometheus.example.com:9090\".")
		return
	case u.User != nil:
		d.Errorf("url", "Wrong URL", "url holds credentials; put them into a file, and name it in header_files.")
	case u.Fragment != "":
		d.Errorf("url", "Wrong URL", "url holds a fragment, which is never sent.")
	}
	for what, set := range map[string]bool{"ca_file": a.TLS.CAFile != "", "tls_skip_verify": a.TLS.InsecureSkipVerify} {
		if set && u.Scheme != "https" {
			d.Errorf(what, "Certificate of nobody", "%s says which certificates to accept, but the URL is http.", what)
		}
	}
	if a.TLS.InsecureSkipVerify && a.TLS.CAFile != "" {
		d.Errorf("tls_skip_verify", "Contradictory certificates", "ca_file says whom to trust, and tls_skip_verify trusts everybody.")
	}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		if !headerName.MatchString(name) || strings.ContainsAny(a.Headers[name], "\r\n\x00") {
			d.Errorf("headers", "Wrong header", "The header %q has a name or a value that HTTP does not allow.", name)
		}
		if slices.Contains([]string{"authorization", "cookie", "x-api-key"}, strings.ToLower(name)) {
			d.Errorf("headers", "Secret in a policy", "%s is a secret, and policies are read by many; write its value into a file on the agents' machines and name that in header_files.", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(a.HeaderFiles)) {
		if !headerName.MatchString(name) {
			d.Errorf("header_files", "Wrong header", "%q is not a header's name.", name)
		}
		if _, both := a.Headers[name]; both {
			d.Errorf("header_files", "Header twice", "%s is in headers too.", name)
		}
		if a.HeaderFiles[name] == "" {
			d.Errorf("header_files", "No file", "%s names no file.", name)
		}
		absolute(d, "header_files", a.HeaderFiles[name])
	}
	absolute(d, "ca_file", a.TLS.CAFile)
}
