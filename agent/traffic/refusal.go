package traffic

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDeposed is returned when an entry carries a later leader's epoch. The
// caller is no leader any more and must write nothing.
var ErrDeposed = errors.New("a later leader owns this service's traffic")

// ErrRefused is wrapped by every refusal to take a service over: the message
// says what stands in the way and what to do. Trying again does not help.
var ErrRefused = errors.New("refused")

// ErrUnsettled is returned by Verify while Consul does not yet say what was
// written. Trying again does help.
var ErrUnsettled = errors.New("not settled yet")

// EditedError is returned when somebody else changed an entry that Teal
// manages. Consul does not record who.
type EditedError struct {
	Kind, Service string
	Changes       []string
}

func (e *EditedError) Error() string {
	return fmt.Sprintf("%s %s was edited by somebody else: %s; `teal resume %s` accepts the edit, "+
		"or put back what was there", e.Kind, e.Service, strings.Join(e.Changes, "; "), e.Service)
}

func refuse(kind, service, format string, args ...any) error {
	return refusal(fmt.Sprintf("%s %s: %s", kind, service, fmt.Sprintf(format, args...)))
}

// refusal is an ErrRefused in its own words.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) Unwrap() error   { return ErrRefused }

func deposed(kind, service string, theirs, ours uint64) error {
	return fmt.Errorf("%s %s carries epoch %d, ours is %d: %w", kind, service, theirs, ours, ErrDeposed)
}
