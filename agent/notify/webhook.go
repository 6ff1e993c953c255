package notify

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// webhook posts a notice as JSON to any URL.
type webhook struct {
	url    secret
	token  secret
	header map[string]string
}

func declareWebhook(d *hclbody.Decoder, dir string) func() Sender {
	w := &webhook{}
	w.url.declare(d, "url", dir)
	w.token.declare(d, "bearer_token", dir)
	d.StringMap("headers", &w.header)
	return func() Sender {
		checkTarget(d, &w.url, false)
		w.token.check(d, true)
		checkHeaders(d, w.header)
		return w
	}
}

// checkTarget checks a URL that stands in the config; one in a file may change.
func checkTarget(d *hclbody.Decoder, s *secret, optional bool) {
	s.check(d, optional)
	if s.value == "" {
		return
	}
	if wrong := usable(s.value); wrong != "" {
		d.Errorf(s.name, "Wrong URL", "%s It is not shown here, for it may hold a secret.", wrong)
	}
}

// headerName is a token as RFC 9110 section 5.6.2 has it.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

func checkHeaders(d *hclbody.Decoder, header map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		if !headerName.MatchString(name) || strings.ContainsAny(header[name], "\r\n\x00") {
			d.Errorf("headers", "Wrong header", "The header %q has a name or a value that HTTP does not allow.", name)
		}
	}
}

// Send implements Sender. The document is the notice and its text; the header
// Idempotency-Key is its ID.
func (w *webhook) Send(ctx context.Context, n Notice) error {
	target, header, secrets, err := resolve(&w.url, &w.token, w.header)
	if err != nil {
		return err
	}
	header["Idempotency-Key"] = n.ID
	return post(ctx, target, header, struct {
		Notice
		Title string `json:"title"`
		Text  string `json:"text"`
	}{n, n.Title(), n.Text()}, secrets...)
}

// resolve reads what a request needs as it is now, and what of it must not be
// shown.
func resolve(to, token *secret, given map[string]string) (target string, header map[string]string, secrets []string, err error) {
	if target, err = to.read(); err != nil {
		return "", nil, nil, err
	}
	if wrong := usable(target); wrong != "" {
		return "", nil, nil, errors.New(to.name + ": " + wrong)
	}
	header = map[string]string{}
	for name, value := range given {
		header[name] = value
		secrets = append(secrets, value)
	}
	if token.given() {
		bearer, err := token.read()
		if err != nil {
			return "", nil, nil, err
		}
		header["Authorization"] = "Bearer " + bearer
		secrets = append(secrets, bearer)
	}
	return target, header, secrets, nil
}
