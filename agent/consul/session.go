package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// NewSession creates a session on the local Consul agent's node (unless
// s.Node says otherwise) and returns its ID. It is sent as it stands: unlike
// in the api package a LockDelay of 0 means none, where that package leaves
// it out and the server takes 15 s.
func (c *Client) NewSession(ctx context.Context, s *api.SessionEntry) (string, error) {
	body := map[string]any{"LockDelay": s.LockDelay.String()}
	for name, value := range map[string]string{"Name": s.Name, "Node": s.Node, "Behavior": s.Behavior, "TTL": s.TTL} {
		if value != "" {
			body[name] = value
		}
	}
	// The node's own check is always bound: without it, a dead machine would
	// hold its locks until the TTL has passed.
	body["NodeChecks"] = []string{"serfHealth"}
	if len(s.NodeChecks) > 0 {
		body["NodeChecks"] = s.NodeChecks
	}
	if len(s.ServiceChecks) > 0 {
		body["ServiceChecks"] = s.ServiceChecks
	}
	ctx, done := c.bound(ctx, 0)
	defer done()
	var out struct{ ID string }
	_, err := c.api.Raw().Write("/v1/session/create", body, &out, c.write(ctx))
	if err != nil {
		return "", c.wrap(ctx, fmt.Sprintf("create session %q", s.Name), &Rule{"session_prefix", s.Node, "write"}, err)
	}
	return out.ID, nil
}

// RenewSession starts the session's TTL anew and returns the TTL Consul gave
// it. ErrNoSession: it is gone, and so are its locks.
func (c *Client) RenewSession(ctx context.Context, id string) (time.Duration, error) {
	op := "renew session " + id
	ctx, done := c.bound(ctx, 0)
	defer done()
	// Not by the api package's own Renew, which loses what Consul said.
	var renewed []api.SessionEntry
	_, err := c.api.Raw().Write("/v1/session/renew/"+url.PathEscape(id), nil, &renewed, c.write(ctx))
	if status(err) == http.StatusNotFound {
		return 0, &Error{Op: op, Kind: ErrNoSession}
	}
	if err != nil {
		return 0, c.wrap(ctx, op, &Rule{"session_prefix", "", "write"}, err)
	}
	if len(renewed) != 1 {
		return 0, fmt.Errorf("%s: %d sessions in the answer", op, len(renewed))
	}
	ttl, err := time.ParseDuration(renewed[0].TTL)
	if err != nil {
		return 0, fmt.Errorf("%s: unusable TTL %q: %w", op, renewed[0].TTL, err)
	}
	return ttl, nil
}

// DestroySession ends a session and frees what it holds; one that is gone
// already is no error.
func (c *Client) DestroySession(ctx context.Context, id string) error {
	ctx, done := c.bound(ctx, 0)
	defer done()
	_, err := c.api.Session().Destroy(url.PathEscape(id), c.write(ctx))
	return c.wrap(ctx, "destroy session "+id, &Rule{"session_prefix", "", "write"}, err)
}

// sessionGone tells Consul's "invalid session" from other refusals.
func sessionGone(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Kind == ErrInvalid && e.Err != nil &&
		(strings.Contains(e.Err.Error(), "invalid session") || strings.Contains(e.Err.Error(), "not found")) {
		e.Kind = ErrNoSession
	}
	return err
}
