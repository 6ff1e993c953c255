package login

import (
	"io"
	"net/http"
)

// Transport is next with the token in each request. A request that is refused
// because the server does not know the token any more is sent once more with
// another one: it has done nothing. Where no token can be had, requests fail
// and are not sent.
func (k *Keeper) Transport(next http.RoundTripper) http.RoundTripper { return transport{k, next} }

type transport struct {
	keeper *Keeper
	next   http.RoundTripper
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	secret, err := t.keeper.token(r.Context())
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	answer, err := t.next.RoundTrip(t.with(r, secret, r.Body))
	if err != nil || answer.StatusCode != http.StatusForbidden && answer.StatusCode != http.StatusUnauthorized {
		return answer, err
	}
	if r.Body != nil && r.Body != http.NoBody && r.GetBody == nil {
		return answer, nil // it cannot be sent again
	}
	other, err := t.keeper.instead(r.Context(), secret)
	if err == nil && other == "" {
		return answer, nil
	}
	_, _ = io.CopyN(io.Discard, answer.Body, 4<<10) // so that the connection can be used again
	answer.Body.Close()
	if err != nil {
		return nil, err
	}
	body := r.Body
	if r.GetBody != nil {
		if body, err = r.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.next.RoundTrip(t.with(r, other, body))
}

// with is the request with a token: a transport must not change what it is given.
func (t transport) with(r *http.Request, secret string, body io.ReadCloser) *http.Request {
	other := r.Clone(r.Context())
	other.Header.Set(t.keeper.Header, secret)
	other.Body = body
	return other
}
