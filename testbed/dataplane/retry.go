package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"

	"github.com/tealdeploy/teal/testbed/xds"
)

// replayable is the largest body that is kept for another try; Envoy too
// gives up on repeating larger ones.
const replayable = 64 << 10

// retrying sends a request to an endpoint of the chosen cluster, and again to
// the next one where the route's policy says so.
type retrying struct {
	proxy *Proxy
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	chosen := r.Context().Value(choiceKey{}).(choice)
	policy := chosen.route.Retry
	tries := 1
	if policy.Times > 0 && r.Header.Get("Upgrade") == "" {
		kept, err := keepBody(r)
		if err != nil {
			return nil, err
		}
		if kept {
			tries += int(policy.Times)
		}
	}
	for try := 1; ; try++ {
		address, ok := t.proxy.endpoint(chosen.cluster)
		if !ok {
			return nil, errNoEndpoint
		}
		out := r
		if try > 1 || tries > 1 {
			out = r.Clone(r.Context())
			if r.GetBody != nil {
				out.Body, _ = r.GetBody() // of keepBody: cannot fail
			}
		}
		if out.URL.Host = address; t.proxy.cutOff(address) {
			out.URL.Host = nowhere
		}
		response, err := t.next.RoundTrip(out)
		if try == tries || r.Context().Err() != nil || !retriable(policy, response, err) {
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", chosen.cluster.Subset, address, err)
			}
			return response, nil
		}
		t.proxy.retried.Add(1)
		if response != nil {
			_, _ = io.CopyN(io.Discard, response.Body, replayable) // lets the connection be used again
			response.Body.Close()
		}
	}
}

// endpoint is the next healthy one, round-robin.
func (p *Proxy) endpoint(c xds.Cluster) (address string, ok bool) {
	n := uint64(len(c.Endpoints))
	if n == 0 {
		return "", false
	}
	first := p.next.Add(1)
	for i := range n {
		if e := c.Endpoints[(first+i)%n]; e.Healthy {
			return e.Address, true
		}
	}
	return "", false
}

func (p *Proxy) cutOff(address string) bool {
	_, cut := p.cut.Load(address)
	return cut
}

// retriable reads the policy as Envoy documents it.
func retriable(policy xds.Retry, response *http.Response, err error) bool {
	for _, on := range policy.On {
		switch on {
		case "5xx":
			if err != nil || response.StatusCode >= 500 {
				return true
			}
		case "gateway-error":
			if err != nil || response.StatusCode >= 502 && response.StatusCode <= 504 {
				return true
			}
		case "reset":
			if err != nil {
				return true
			}
		case "connect-failure":
			var op *net.OpError
			if errors.As(err, &op) && op.Op == "dial" {
				return true
			}
		case "retriable-4xx":
			if err == nil && response.StatusCode == http.StatusConflict {
				return true
			}
		case "retriable-status-codes":
			if err == nil && slices.Contains(policy.Codes, uint32(response.StatusCode)) {
				return true
			}
		}
	}
	return false
}

// keepBody makes the body replayable, unless it is too large.
func keepBody(r *http.Request) (bool, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return true, nil
	}
	start, err := io.ReadAll(io.LimitReader(r.Body, replayable+1))
	if err != nil {
		return false, fmt.Errorf("read request: %w", err)
	}
	if len(start) > replayable {
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(start), r.Body), r.Body}
		return false, nil
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(start)), nil }
	r.Body, err = r.GetBody()
	return true, err
}
