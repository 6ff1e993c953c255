package nomad

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/hashicorp/nomad/api"
)

// The kinds of error callers branch on; errors.Is tells them apart.
var (
	// ErrNotFound: there is no such job, namespace or submission.
	ErrNotFound = errors.New("not found in Nomad")
	// ErrConflict: somebody else changed the job first. Read it again, then
	// decide again.
	ErrConflict = errors.New("changed in the meantime")
	// ErrForbidden: the token lacks a capability. The message names it.
	ErrForbidden = errors.New("permission denied by Nomad's ACLs")
	// ErrUnavailable: Nomad cannot be reached, has no leader or did not
	// answer in time. Whether a write took effect is not known. Try again.
	ErrUnavailable = errors.New("nomad is unavailable")
	// ErrInvalid: Nomad understood and said no; the same request will be
	// refused again. The message carries Nomad's own words.
	ErrInvalid = errors.New("refused by Nomad")
)

// noACLToken is what Nomad says of a token that has not the form of its own.
const noACLToken = "UUID must be 36 characters"

var errNoLeader = errors.New("no cluster leader")

// maxWords bounds what is quoted of Nomad's answers.
const maxWords = 4 << 10

// Error is a request that Nomad did not carry out.
type Error struct {
	Op   string // what was asked, with its object: `register job "api-green"`
	Kind error  // one of the sentinels
	Need string // the ACL rule that is missing, for ErrForbidden
	Err  error  // what Nomad or the network said
	// Sent says of a write that it may have been carried out, or may still be.
	Sent bool
}

// MayArrive says of an error that a write was sent, and that Nomad may have
// carried it out, or may yet: it was held up on its way, or its answer was.
func MayArrive(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Sent
}

// sent marks the error of a write. Where nobody took the connection, nothing was
// sent.
func sent(err error) error {
	var e *Error
	var network *net.OpError
	if errors.As(err, &e) && e.Kind == ErrUnavailable && !(errors.As(err, &network) && network.Op == "dial") {
		e.Sent = true
	}
	return err
}

// carriedOut marks an error of what was asked after a write that Nomad has carried
// out: what that is for comes about, whatever became of the asking.
func carriedOut(err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.Sent = true
	}
	return err
}

func (e *Error) Error() string {
	msg := e.Op + ": " + e.Kind.Error()
	if e.Kind == ErrForbidden && e.Need != "" {
		msg += "; the token needs " + e.Need
	}
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap gives both the kind and the cause.
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// request says what is asked for and what it takes, for errors.
type request struct {
	c         *Client
	operation string // a word for it, for figures
	what      string
	need      string
}

// ask describes a request about a job.
func (c *Client) ask(verb, namespace, id, capability string) request {
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	operation, _, _ := strings.Cut(verb, " ")
	return request{
		c: c, operation: operation,
		what: fmt.Sprintf("%s job %q", verb, id),
		need: fmt.Sprintf("namespace %q { capabilities = [%q] }", namespace, capability),
	}
}

// failed gives an error its kind. A caller's own cancellation stays what it
// is and is no fault of Nomad's.
func (r request) failed(ctx context.Context, err error) error {
	if err == nil {
		_ = r.c.advised(nil)
		return nil
	}
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%s: %w", r.what, cause)
	}
	e := &Error{Op: r.what, Need: r.need, Kind: ErrUnavailable, Err: err}
	defer func() {
		if r.c.failures != nil && e.Kind != ErrNotFound && e.Kind != ErrConflict {
			r.c.failures(r.operation)
		}
	}()
	var response api.UnexpectedResponseError
	if !errors.As(err, &response) || !response.HasStatusCode() {
		return r.c.advised(e)
	}
	words := strings.TrimSpace(response.Body())
	e.Kind = kindOf(response.StatusCode(), words)
	if words == "" {
		words = response.StatusText()
	}
	e.Err = errors.New(bound(words, maxWords))
	return r.c.advised(e)
}

// advised adds the way out to an error of TLS; it wants to know of answers, too.
func (c *Client) advised(err error) error {
	if advice := c.trust.Advice(err); advice != "" {
		return fmt.Errorf("%w; %s", err, advice)
	}
	return err
}

func kindOf(code int, words string) error {
	switch {
	case strings.Contains(words, "disabled by the scheduler configuration"):
		return ErrUnavailable // for all, and by an operator who will enable it again
	case code == http.StatusForbidden, strings.Contains(words, "Permission denied"), strings.Contains(words, "ACL token not found"),
		strings.Contains(words, noACLToken):
		return ErrForbidden
	case strings.Contains(words, "Enforcing job modify index"):
		return ErrConflict
	case code == http.StatusNotFound, strings.Contains(words, "parameterized job not found"):
		return ErrNotFound
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout:
		return ErrUnavailable
	case code < http.StatusInternalServerError:
		return ErrInvalid
	}
	// Nomad answers 500 both to what it will never accept and to what it
	// cannot do just now. The former are few and known; anything else is
	// worth another try until the caller's deadline.
	for _, final := range []string{
		"error occurred", "errors occurred", "nonexistent namespace", "validation failed",
		"No path to region", "Missing job", "is invalid", "quota", "error in job mutator",
		"is not a parameterized job", "metadata keys", "required meta keys", // of a dispatch
		"does not match defined listener protocol", // Consul's, of an ingress gateway's service
	} {
		if strings.Contains(words, final) {
			return ErrInvalid
		}
	}
	return ErrUnavailable
}

func bound(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + " …"
}
