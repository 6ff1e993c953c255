package kv

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Consent is the value of an approver's key: to what, and why. As text it is
// either the proof alone or JSON: `consul kv put teal/approvals/alice/api <proof>`.
type Consent struct {
	Proof string `json:"proof"`         // hash+policy of the candidate that waits
	Why   string `json:"why,omitempty"` // for the record
	// At and By are what the client says. They prove nothing, but make a second
	// consent to the same proof another value: Consul gives a key that is written
	// with what it holds already no new index.
	At string `json:"at,omitempty"`
	By string `json:"by,omitempty"`
}

// ParseConsent reads an approver's key. What names no proof is an error: nobody
// consents to whatever it may be that waits.
func ParseConsent(value []byte) (Consent, error) {
	text := strings.TrimSpace(string(value))
	c := Consent{Proof: text}
	if strings.HasPrefix(text, "{") {
		c = Consent{}
		dec := json.NewDecoder(strings.NewReader(text))
		dec.DisallowUnknownFields()
		err := dec.Decode(&c)
		if err == nil && dec.InputOffset() != int64(len(text)) {
			err = errors.New("something follows its end")
		}
		if err != nil {
			return Consent{}, fmt.Errorf("it is not valid: %w; expected a proof, or JSON with proof, why, at, by", err)
		}
	}
	if c.Proof == "" {
		return Consent{}, errors.New("it does not say to what: expected the proof of what waits")
	}
	return c, nil
}

// approver is what can be a folder of a key, a word of a command line and the
// name in an ACL rule without any quoting.
var approver = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// ApproverName refuses what cannot be an approver's name.
func ApproverName(name string) error {
	if !approver.MatchString(name) {
		return fmt.Errorf("%.80q cannot be the name of an approver, who has a key of that name: at most 63 letters, digits, dots, dashes, underscores and @, beginning with a letter or a digit", name)
	}
	return nil
}
