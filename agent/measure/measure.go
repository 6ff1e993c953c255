// Package measure holds what is asked of metrics services and how their answers
// are judged: a query of Prometheus or a number in somebody's JSON, and limits. It
// asks nobody; see agent/ask.
package measure

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Query is what is asked: a Prometheus or a Document.
type Query interface {
	// Fill puts in what placeholders stand for.
	Fill(Filling) (Query, error)
	// Target is who is asked, for messages.
	Target() string
}

// Historic is a Query of somebody who knows the past too.
type Historic interface {
	Query
	// Over asks for all that was so far back, at a distance of step.
	Over(length, step time.Duration) Query
}

// Filling tells what a placeholder stands for. What is not known is an error: a
// question about no version in particular would be answered for another one.
type Filling map[string]string

// Placeholders are those that queries and URLs may hold, braces and all.
var Placeholders = []string{"{colour}", "{version}", "{service}"}

// Text fills a plain text in.
func (f Filling) Text(text string) (string, error) {
	return f.fill(text, func(s string) string { return s })
}

// fill replaces placeholders, each value through escape.
func (f Filling) fill(text string, escape func(string) string) (string, error) {
	for _, p := range Placeholders {
		if !strings.Contains(text, p) {
			continue
		}
		value := f[strings.Trim(p, "{}")]
		if value == "" {
			return "", fmt.Errorf("%s stands in it, and the release's %s is not known", p, strings.Trim(p, "{}"))
		}
		text = strings.ReplaceAll(text, p, escape(value))
	}
	return text, nil
}

// Value is one number of an answer.
type Value struct {
	Name   string // labels, or the path to it; empty if there is nothing to tell apart
	Number float64
}

// Verdict is what limits say of an answer.
type Verdict int

// Unknown is the zero value on purpose.
const (
	Unknown Verdict = iota
	Within
	Beyond
)

// Limits are what all numbers of an answer have to keep to.
type Limits struct {
	Above, Below       float64 // bad when a number is more, or less
	HasAbove, HasBelow bool
	// Empty is what an answer without a single number means.
	Empty Verdict
}

// Finding is an answer held against limits.
type Finding struct {
	Verdict Verdict
	Reason  string
	Figures map[string]float64
}

// Judge holds numbers against the limits. All have to be within; a number that is
// none, which is how Prometheus writes 0/0, says nothing, and makes the whole
// answer unknown unless another one is beyond.
func (l Limits) Judge(values []Value) Finding {
	out := Finding{Figures: map[string]float64{"values": float64(len(values))}}
	if l.HasAbove {
		out.Figures["above"] = l.Above
	}
	if l.HasBelow {
		out.Figures["below"] = l.Below
	}
	if len(values) == 0 {
		out.Verdict, out.Reason = l.Empty, "the answer holds no series"
		return out
	}
	worst, strange := -1, -1
	for i, v := range values {
		switch {
		case math.IsNaN(v.Number) || math.IsInf(v.Number, 0):
			if strange < 0 {
				strange = i
			}
		case worst < 0 || l.excess(v.Number) > l.excess(values[worst].Number):
			worst = i
		}
	}
	if worst >= 0 {
		out.Figures["value"] = values[worst].Number
	}
	switch {
	case worst >= 0 && l.excess(values[worst].Number) > 0:
		out.Verdict, out.Reason = Beyond, l.say(values[worst])
	case strange >= 0:
		v := values[strange]
		out.Reason = fmt.Sprintf("%s, which is no figure to go by (0/0 makes one such)", of(v, strconv.FormatFloat(v.Number, 'g', -1, 64)))
	default:
		out.Verdict, out.Reason = Within, l.say(values[worst])
	}
	if len(values) > 1 {
		out.Reason += fmt.Sprintf(", of %d series", len(values))
	}
	return out
}

// excess is by how much a number is beyond; none or less: it is within.
func (l Limits) excess(n float64) float64 {
	most := math.Inf(-1)
	if l.HasAbove {
		most = n - l.Above
	}
	if l.HasBelow {
		most = max(most, l.Below-n)
	}
	return most
}

func (l Limits) say(v Value) string {
	var limits []string
	if l.HasBelow {
		limits = append(limits, "at least "+number(l.Below))
	}
	if l.HasAbove {
		limits = append(limits, "at most "+number(l.Above))
	}
	return fmt.Sprintf("%s, and %s is expected", of(v, number(v.Number)), strings.Join(limits, " and "))
}

func of(v Value, n string) string {
	if v.Name == "" {
		return "it is " + n
	}
	return v.Name + " is " + n
}

func number(n float64) string { return strconv.FormatFloat(n, 'g', 6, 64) }
