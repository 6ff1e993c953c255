package consul

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/login"
)

// TokenHeader carries a request's ACL token.
const TokenHeader = "X-Consul-Token"

// Logins are the tokens that one gets by logging in, and gives back.
type Logins struct{ c *Client }

// NewLogins makes them of a client that needs no token of its own.
func NewLogins(c *Client) Logins { return Logins{c} }

// LogIn gets a token by showing a JWT to an auth method. It takes no token.
func (l Logins) LogIn(ctx context.Context, method, jwt string) (login.Token, error) {
	ctx, done := l.c.bound(ctx, 0)
	defer done()
	t, _, err := l.c.api.ACL().Login(&api.ACLLoginParams{
		AuthMethod: method, BearerToken: jwt, Meta: map[string]string{"requested_by": "teal"},
	}, l.c.write(ctx))
	if err != nil {
		return login.Token{}, l.c.wrap(ctx, "log in", nil, err)
	}
	token := login.Token{Secret: t.SecretID, Accessor: t.AccessorID}
	if t.ExpirationTime != nil {
		token.Life = max(t.ExpirationTime.Sub(t.CreateTime), time.Second) // both by Consul's clock
	}
	return token, nil
}

// Knows says whether a token is one of Consul's. The local server is asked, as
// it is for the rules of a request.
func (l Logins) Knows(ctx context.Context, secret string) (bool, error) {
	ctx, done := l.c.bound(ctx, 0)
	defer done()
	q := l.c.options(ctx)
	q.Token, q.AllowStale = secret, true
	_, _, err := l.c.api.ACL().TokenReadSelf(q)
	if code := status(err); code == http.StatusForbidden || code == http.StatusUnauthorized || err != nil && strings.Contains(err.Error(), "ACL not found") {
		return false, nil
	}
	return err == nil, l.c.wrap(ctx, "read the own token", nil, err)
}

// LogOut destroys a token that a login gave; one that is gone already is no
// error.
func (l Logins) LogOut(ctx context.Context, secret string) error {
	ctx, done := l.c.bound(ctx, 0)
	defer done()
	w := l.c.write(ctx)
	w.Token = secret
	_, err := l.c.api.ACL().Logout(w)
	if code := status(err); code == http.StatusForbidden || code == http.StatusUnauthorized {
		return nil
	}
	return l.c.wrap(ctx, "log out", nil, err)
}
