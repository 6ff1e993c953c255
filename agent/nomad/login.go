package nomad

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/login"
)

// TokenHeader carries a request's ACL token.
const TokenHeader = "X-Nomad-Token"

// Logins are the tokens that one gets by logging in. Nomad takes none back: they
// end by themselves.
type Logins struct{ c *Client }

// NewLogins makes them of a client that needs no token of its own.
func NewLogins(c *Client) Logins { return Logins{c} }

// LogIn gets a token by showing a JWT to an auth method. The JWT stands for the
// request's own token, too: Nomad asks for none, but the Task API's socket does,
// and takes every identity of a workload.
func (l Logins) LogIn(ctx context.Context, method, jwt string) (login.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	w := l.c.writing(ctx, "")
	w.AuthToken = jwt
	t, _, err := l.c.api.ACLAuth().Login(&api.ACLLoginRequest{AuthMethodName: method, LoginToken: jwt}, w)
	if err != nil {
		return login.Token{}, request{c: l.c, operation: "log", what: "log in"}.failed(ctx, err)
	}
	token := login.Token{Secret: t.SecretID, Accessor: t.AccessorID}
	if t.ExpirationTime != nil {
		token.Life = max(t.ExpirationTime.Sub(t.CreateTime), time.Second) // both by Nomad's clock
	}
	return token, nil
}

// Knows says whether a token is one of Nomad's.
func (l Logins) Knows(ctx context.Context, secret string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	q := l.c.reading(ctx, "")
	q.AuthToken = secret
	_, _, err := l.c.api.ACLTokens().Self(q)
	var response api.UnexpectedResponseError
	if errors.As(err, &response) && response.HasStatusCode() &&
		(response.StatusCode() == http.StatusForbidden || response.StatusCode() == http.StatusUnauthorized || strings.Contains(response.Body(), "ACL token")) {
		return false, nil // not found, or expired
	}
	return err == nil, request{c: l.c, operation: "read", what: "read the own token"}.failed(ctx, err)
}
