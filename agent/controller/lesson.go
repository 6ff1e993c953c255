package controller

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/rollback"
)

// lesson is what was learned, for or in one release, of a colour that serves.
type lesson struct {
	release string
	past    map[string]rollback.Past
	text    json.RawMessage // as the record keeps it
}

// These bound what a record keeps of a lesson: a colour of a thousand instances has
// more to tell than is worth keeping.
const (
	maxPast   = 16 << 10 // bytes of one trigger's
	maxLesson = 32 << 10 // bytes of all together
)

// learned is what a record keeps of one trigger's lesson.
type learned struct {
	// Of tells the trigger it was learned for: another one of the same name has
	// another past.
	Of   string        `json:"of"`
	Past rollback.Past `json:"past"`
}

func newLesson(release string, triggers []rollback.Named, past map[string]rollback.Past) *lesson {
	out := map[string]json.RawMessage{}
	size := 0
	for _, t := range triggers { // in the policy's order, which says what is dropped
		p, ok := past[t.Name]
		if !ok {
			continue
		}
		text, err := json.Marshal(learned{fingerprint(t), p})
		if err == nil && len(text) <= maxPast && size+len(text) <= maxLesson {
			out[t.Name] = text
			size += len(text)
		}
	}
	l := &lesson{release: release, past: past}
	if len(out) > 0 {
		l.text, _ = json.Marshal(out) // of valid JSON, which cannot fail
	}
	return l
}

// remembered is what a record has kept for these triggers. What is not as it was
// written is none: anybody with the right may write there.
func remembered(text json.RawMessage, triggers []rollback.Named) map[string]rollback.Past {
	var all map[string]learned
	if len(text) == 0 || len(text) > 2*maxLesson || json.Unmarshal(text, &all) != nil {
		return nil
	}
	out := map[string]rollback.Past{}
	for _, t := range triggers {
		if k, ok := all[t.Name]; ok && k.Of == fingerprint(t) && k.Past.Sound() {
			out[t.Name] = k.Past
		}
	}
	return out
}

func fingerprint(t rollback.Named) string {
	text, _ := json.Marshal(t) // as the policy's own hash does
	return fmt.Sprintf("%x", sha256.Sum256(text))[:12]
}

// taught adds what was learned for the release in flight to an event that changes
// its state: there it costs no write of its own.
func (l *loop) taught(s deployment.Service, ev deployment.Event) deployment.Event {
	if a := l.lesson.Load(); a != nil && s.InFlight() && s.Deployment.ID == a.release && s.Deployment.Cutover == nil {
		ev.Baseline = a.text
	}
	return ev
}
