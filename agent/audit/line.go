// Package audit keeps a local file of every decision and event, one JSON
// object a line, each holding the SHA-256 of the line before it, so that a
// changed, missing or moved line is found. It never makes its caller wait, and
// never fails it: what cannot be written is counted, told, and written down as
// a gap once it can be.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tealdeploy/teal/agent/deployment"
)

// What a line is about, beside the kinds of a deployment's events.
const (
	Opened = "opened" // an agent began to write
	Closed = "closed" // it stopped as it should
	Gap    = "gap"    // events that are not in the file
)

// Origin is what the first line of a chain holds in place of a hash.
var Origin = strings.Repeat("0", 2*sha256.Size)

// Line is one line of the file, less its own sum.
type Line struct {
	Seq  uint64 `json:"seq"`
	Prev string `json:"prev"` // SHA-256 of the line before, without its newline
	Entry
}

// Entry is what a line tells.
type Entry struct {
	At         time.Time               `json:"at"`
	Agent      string                  `json:"agent"`
	Epoch      uint64                  `json:"epoch,omitempty"`
	Kind       string                  `json:"kind"`
	Service    string                  `json:"service,omitempty"`
	Deployment string                  `json:"deployment,omitempty"`
	Version    string                  `json:"version,omitempty"`
	State      string                  `json:"state,omitempty"` // after the event
	Active     string                  `json:"active,omitempty"`
	By         string                  `json:"by,omitempty"`
	Reason     string                  `json:"reason,omitempty"`
	Figures    map[string]string       `json:"figures,omitempty"`
	Gates      []deployment.GateRecord `json:"gates,omitempty"`
	Lost       uint64                  `json:"lost,omitempty"` // a gap: how many events
	Until      *time.Time              `json:"until,omitempty"`
}

const (
	maxReason  = 2000
	maxFigure  = 300
	maxFigures = 64
	// MaxLine bounds a line, for those who read it.
	MaxLine = 512 << 10
)

// quiet are events that decide nothing: progress of gates, of which the verdicts
// follow, and bookkeeping.
var quiet = map[deployment.Kind]bool{deployment.Progress: true, deployment.MarkSeen: true}

// Of is what the file tells of an event that came to a service as it is after
// it; ok is false for those that decide nothing.
func Of(after deployment.Service, ev deployment.Event) (e Entry, ok bool) {
	if quiet[ev.Kind] {
		return Entry{}, false
	}
	e = Entry{
		At: ev.At.UTC(), Kind: string(ev.Kind), Service: after.Name, Active: after.Active.String(),
		By: ev.By, Reason: cut(ev.Reason, maxReason), Gates: ev.Gates,
	}
	if d := after.Deployment; d != nil && (after.InFlight() || d.Ended.Equal(ev.At)) {
		e.Deployment, e.Version, e.State = d.ID, d.Candidate.Version, string(d.State)
	}
	names := slices.Sorted(maps.Keys(ev.Figures))
	for _, name := range names[:min(len(names), maxFigures)] {
		if e.Figures == nil {
			e.Figures = map[string]string{}
		}
		e.Figures[cut(name, maxFigure)] = cut(ev.Figures[name], maxFigure)
	}
	return e, true
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

const sumField = `,"sum":"`

// encode writes a line with its own sum at the end and no newline. The sum is
// the SHA-256 of all that stands before it, so that a slip of an editor is found
// in the last line, too, which no other line holds the hash of.
func encode(l Line) ([]byte, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	if len(body) > MaxLine-200 {
		l.Gates, l.Figures, l.Reason = nil, nil, cut(l.Reason, maxReason/2)+" (its gates and figures were too long for a line)"
		if body, err = json.Marshal(l); err != nil {
			return nil, err
		}
	}
	body = body[:len(body)-1] // its closing brace
	return fmt.Appendf(body, `%s%s"}`, sumField, digest(body)), nil
}

var (
	errNotALine = errors.New("it is no line of an audit file")
	errSum      = errors.New("its text does not match its own sum")
)

// decode reads a line without its newline.
func decode(raw []byte) (Line, error) {
	var l Line
	at := bytes.LastIndex(raw, []byte(sumField))
	if at < 0 || len(raw) != at+len(sumField)+len(Origin)+2 || !bytes.HasSuffix(raw, []byte(`"}`)) {
		return l, errNotALine
	}
	if json.Unmarshal(raw, &l) != nil || l.Seq == 0 || len(l.Prev) != len(Origin) {
		return l, errNotALine
	}
	if digest(raw[:at]) != string(raw[at+len(sumField):len(raw)-2]) {
		return l, errSum
	}
	return l, nil
}

// digest is the SHA-256 in hex.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Head is the last line of a chain: its number and its hash.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}
