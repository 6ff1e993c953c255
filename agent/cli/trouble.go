package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/hashicorp/consul/api"
)

// unreachable is trouble that may pass: Consul does not answer, or has no
// leader.
type unreachable struct{ text string }

func (e unreachable) Error() string { return e.text }

// denied is Consul's ACLs saying no.
type denied struct{ text string }

func (e denied) Error() string { return e.text }

func passing(err error) bool {
	var u unreachable
	return errors.As(err, &u)
}

// outcome is an error with an exit code of its own.
type outcome struct {
	text string
	code int
}

func (e outcome) Error() string { return e.text }

// code is the exit code of an error.
func code(err error) int {
	var d denied
	var o outcome
	switch {
	case errors.As(err, &o):
		return o.code
	case passing(err):
		return exitUnreachable
	case errors.As(err, &d):
		return exitRefused
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return exitUnknown
	}
	return exitError
}

// complain prints an error and returns its exit code.
func (m *meta) complain(err error) int {
	if errors.Is(err, context.Canceled) {
		m.term.note("Interrupted.")
		return exitUnknown
	}
	m.term.fail("%v", err)
	return code(err)
}

// explain says what went wrong with Consul, and the way out.
func (s *store) explain(err error, access, key string) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	status, body := answered(err)
	switch {
	case strings.Contains(body, "ACL not found"):
		return denied{"Consul does not know this token. Check CONSUL_HTTP_TOKEN, -token or -token-file."}
	case status == http.StatusUnauthorized, status == http.StatusForbidden, strings.Contains(body, "Permission denied"):
		return s.deny(access, key)
	case status >= 500:
		return unreachable{fmt.Sprintf("Consul at %s answers, but cannot serve: %s.", s.address, strings.TrimSuffix(body, "."))}
	case status != 0 && s.trust.Advice(err) != "":
		return fmt.Errorf("Consul at %s: %s. %s.", s.address, strings.TrimSuffix(body, "."), s.trust.Advice(err))
	case status != 0:
		return fmt.Errorf("Consul refused to %s %s: %d %s", access, key, status, body)
	}
	why := err
	var u *url.Error
	if errors.As(err, &u) {
		why = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		why = op.Err
		var sys *os.SyscallError
		if errors.As(why, &sys) {
			why = sys.Err
		}
	}
	if advice := s.trust.Advice(err); advice != "" {
		return unreachable{fmt.Sprintf("cannot reach Consul at %s: %v. %s.", s.address, why, sentence(advice))}
	}
	return unreachable{fmt.Sprintf("cannot reach Consul at %s: %v. Is it running there? -http-addr or CONSUL_HTTP_ADDR says where.", s.address, why)}
}

// sentence begins with a capital letter.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// answered takes Consul's answer out of an error; 0 when there was none. The
// client turns a transaction's answer into bare text, without its status.
func answered(err error) (status int, body string) {
	var e api.StatusError
	if errors.As(err, &e) {
		return e.Code, safe(strings.TrimSpace(e.Body))
	}
	if body, ok := strings.CutPrefix(err.Error(), "Failed request: "); ok {
		return http.StatusInternalServerError, safe(strings.TrimSpace(body))
	}
	return 0, ""
}

func (s *store) deny(access, key string) error {
	return denied{fmt.Sprintf("Consul's ACLs do not allow to %s %s. The token needs:\n\n    %s\n\nCONSUL_HTTP_TOKEN, -token or -token-file give the token.", access, key, s.rule(access, key))}
}

// rule is what docs/acl.md gives for a key: what is only read of a service
// goes together.
func (s *store) rule(access, key string) string {
	for _, part := range []string{s.keys.Services(), s.keys.Prefix() + "results/"} {
		if rest, ok := strings.CutPrefix(key, part); ok {
			if svc, _, ok := strings.Cut(rest, "/"); ok {
				key = part + svc + "/"
			}
		}
	}
	resource := "key"
	if strings.HasSuffix(key, "/") {
		resource = "key_prefix"
	}
	return fmt.Sprintf("%s %q { policy = %q }", resource, key, access)
}

// explainTxn does the same for a transaction that was not applied. It is nil
// when only the compare-and-set failed.
func (s *store) explainTxn(errs api.TxnErrors, access, key string) error {
	for _, e := range errs {
		if strings.Contains(e.What, "Permission denied") {
			return s.deny(access, key)
		}
		if !strings.Contains(e.What, "index is stale") {
			return fmt.Errorf("Consul refused to %s %s: %s", access, key, e.What)
		}
	}
	return nil
}
