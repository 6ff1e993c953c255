package consul

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"github.com/hashicorp/consul/api"
)

// The kinds of error callers branch on; errors.Is tells them apart.
var (
	// ErrForbidden: the token lacks a rule. The message names it.
	ErrForbidden = errors.New("permission denied by Consul's ACLs")
	// ErrUnavailable: Consul cannot be reached, has no leader, or did not
	// answer in time. Whether a write took effect is not known. Try again.
	ErrUnavailable = errors.New("consul is unavailable")
	// ErrConflict: somebody else wrote first. Read again, then decide again.
	ErrConflict = errors.New("changed in the meantime")
	// ErrDeposed: the fence no longer holds; the writer leads no more.
	ErrDeposed = errors.New("no longer the leader")
	// ErrNoSession: the session expired or was destroyed.
	ErrNoSession = errors.New("session does not exist")
	// ErrInvalid: Consul understood and said no; the same request will be
	// refused again. The message carries Consul's own words.
	ErrInvalid = errors.New("refused by Consul")
)

// Rule is an ACL rule as it is written in a policy.
type Rule struct{ Resource, Name, Access string }

func (r Rule) String() string {
	if r.Name == "" && !strings.HasSuffix(r.Resource, "_prefix") { // operator, mesh and the like have no names
		return fmt.Sprintf(`%s = "%s"`, r.Resource, r.Access)
	}
	return fmt.Sprintf(`%s %q { policy = "%s" }`, r.Resource, r.Name, r.Access)
}

// Error is a request that Consul did not carry out.
type Error struct {
	Op   string // what was asked, with its object: `write key "teal/leader"`
	Kind error  // one of the sentinels
	Rule *Rule  // the rule that is missing, for ErrForbidden
	Err  error  // what Consul or the network said
}

func (e *Error) Error() string {
	msg := e.Op + ": " + e.Kind.Error()
	if e.Rule != nil {
		msg += "; the token needs the rule " + e.Rule.String()
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap gives both the kind and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// passedOn is what a Consul agent puts before the answer of the server that it
// passed a request on to, once for each that did.
const passedOn = "rpc error making call: "

// away are the texts of answers that say nothing of the request itself:
// Consul's servers are electing a leader, starting, stopping or throttling.
var away = []string{
	"No cluster leader", "no cluster leader", "leadership lost", "leadership transfer in progress", "node is not the leader",
	"Raft leader not found", "Not ready to serve consistent reads", "Rate limit reached", "rate limit exceeded",
	"No known Consul servers", "No path to datacenter", "raft is already shutdown", "timed out enqueuing operation",
}

// broken are the ends of answers that tell of a connection between Consul's
// own agents. Elsewhere in an answer they may be part of a name.
var broken = []string{"EOF", "connection refused", "connection reset by peer", "broken pipe", "timeout", "shutdown", "stream closed"}

// lacks finds the rule in Consul's own refusal:
// "token with AccessorID '…' lacks permission 'key:write' on \"teal/leader\"".
var lacks = regexp.MustCompile(`lacks permission '(\w+):(\w+)'(?: on "([^"]*)")?`)

// wrap gives err its kind. rule is what op needs, for servers that do not say
// so themselves. A context that the caller ended stays what it is.
func wrap(ctx context.Context, op string, rule *Rule, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && context.Cause(ctx) != errBound {
		return fmt.Errorf("%s: %w", op, ctx.Err())
	}
	e := &Error{Op: op, Err: err}
	var status api.StatusError
	var network net.Error
	var dial *url.Error
	var own *Error
	switch {
	case errors.As(err, &own) && own.Op == op:
		return err
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrInvalid), errors.Is(err, ErrForbidden):
		return fmt.Errorf("%s: %w", op, err)
	case context.Cause(ctx) == errBound:
		e.Kind, e.Err = ErrUnavailable, errBound
	case errors.As(err, &status):
		e.Err = errors.New(strings.TrimSpace(status.Body))
		e.Kind, e.Rule = kind(status.Code, status.Body), nil
	case errors.As(err, &network), errors.As(err, &dial):
		e.Kind = ErrUnavailable
	default:
		e.Kind = kind(500, err.Error())
	}
	if e.Kind == ErrForbidden {
		e.Rule = missing(err.Error(), rule)
	}
	return e
}

func kind(code int, body string) error {
	switch {
	case code == 403, strings.Contains(body, "Permission denied"), strings.Contains(body, "ACL not found"):
		return ErrForbidden
	case code == 429, code == 502, code == 503, code == 504:
		return ErrUnavailable
	}
	if code < 500 {
		return ErrInvalid
	}
	body = strings.TrimPrefix(strings.TrimSpace(body), "Failed request: ") // as the api package says of transactions
	for strings.HasPrefix(body, passedOn) {
		body = strings.TrimPrefix(body, passedOn)
	}
	if strings.HasPrefix(body, "rpc error") { // it could not be passed on
		return ErrUnavailable
	}
	for _, text := range away {
		if strings.Contains(body, text) {
			return ErrUnavailable
		}
	}
	for _, text := range broken {
		if strings.HasSuffix(body, text) {
			return ErrUnavailable
		}
	}
	return ErrInvalid
}

func missing(body string, rule *Rule) *Rule {
	if m := lacks.FindStringSubmatch(body); m != nil {
		return &Rule{Resource: m[1], Access: m[2], Name: m[3]}
	}
	return rule
}

// filtered reports an answer from which the ACLs silently removed something:
// judging by what is left would mistake "may not see" for "is not there".
func filtered(op string, rule Rule, meta *api.QueryMeta) error {
	if meta == nil || !meta.ResultsFilteredByACLs {
		return nil
	}
	return &Error{Op: op, Kind: ErrForbidden, Rule: &rule, Err: errors.New("results were filtered")}
}

// status is the HTTP status in err, 0 when it has none.
func status(err error) int {
	var s api.StatusError
	if errors.As(err, &s) {
		return s.Code
	}
	return 0
}
