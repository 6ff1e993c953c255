package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// errRefused says that a receiver understood a notice and does not want it:
// trying again would change nothing.
var errRefused = errors.New("refused")

// client follows no redirect: a notice goes where the config says.
var client = &http.Client{
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

const maxAnswer = 4 << 10

// post sends a document as JSON. What it may say of an error has no part of the
// secrets in it, and nothing of the URL.
func post(ctx context.Context, target string, header map[string]string, document any, secrets ...string) error {
	body, err := json.Marshal(document)
	if err != nil {
		return fmt.Errorf("%w: %s", errRefused, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return errors.New("the URL cannot be read")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "teal")
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		var why *url.Error
		if errors.As(err, &why) {
			err = why.Err // without the URL
		}
		return errors.New(shown(err.Error(), append(secrets, inside(target)...)...))
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode/100 == 2 {
		return nil
	}
	text := shown(fmt.Sprintf("answered %s: %s", response.Status, said), append(secrets, inside(target)...)...)
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusNotFound,
		code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
	case code/100 == 4:
		return fmt.Errorf("%w: %s", errRefused, text)
	}
	return errors.New(text)
}

// inside are the parts of a URL that may hold a secret: all but its host, which
// says who did not answer.
func inside(target string) []string {
	u, err := url.Parse(target)
	if err != nil {
		return []string{target}
	}
	password, _ := u.User.Password()
	return []string{u.User.Username(), password, u.EscapedPath(), u.RawQuery, u.Fragment}
}

// usable says what is wrong with a URL that notices are posted to, without
// showing it.
func usable(target string) string {
	u, err := url.Parse(target)
	switch {
	case err != nil:
		return "It cannot be read as a URL."
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return `An absolute http or https URL is required.`
	}
	return ""
}
