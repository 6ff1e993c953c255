package hclbody

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// rule is what an attribute's value must satisfy.
type rule struct {
	required bool
	notEmpty bool
	zero     bool
	oneOf    []string
	within   *[2]float64
}

// Option narrows what an attribute may be.
type Option func(*rule)

// Required refuses a body without the attribute.
func Required(r *rule) { r.required = true }

// NotEmpty refuses the empty string.
func NotEmpty(r *rule) { r.notEmpty = true }

// ZeroAllowed lets a duration be zero; without it a duration must be positive.
func ZeroAllowed(r *rule) { r.zero = true }

// OneOf lists the only values a string may have.
func OneOf(values ...string) Option { return func(r *rule) { r.oneOf = values } }

// Within bounds a number, both ends included.
func Within(low, high float64) Option { return func(r *rule) { r.within = &[2]float64{low, high} } }

// AtLeast bounds a number from below.
func AtLeast(low float64) Option { return Within(low, math.Inf(1)) }

func (d *Decoder) add(name string, options []Option, read func(cty.Value, rule) error) {
	f := field{name: name, read: read}
	for _, option := range options {
		option(&f.rule)
	}
	d.fields = append(d.fields, f)
}

// String declares a string attribute.
func (d *Decoder) String(name string, into *string, options ...Option) {
	d.add(name, options, func(v cty.Value, r rule) error {
		s, err := text(v)
		if err != nil {
			return err
		}
		if r.notEmpty && s == "" {
			return errors.New("it must not be empty")
		}
		if r.oneOf != nil && !slices.Contains(r.oneOf, s) {
			hint := ""
			if near := nearest(s, r.oneOf); near != "" {
				hint = fmt.Sprintf(" (did you mean %q?)", near)
			}
			return fmt.Errorf("%q is not known%s; expected one of %s", s, hint, strings.Join(r.oneOf, ", "))
		}
		*into = s
		return nil
	})
}

// Strings declares a list of strings.
func (d *Decoder) Strings(name string, into *[]string, options ...Option) {
	d.add(name, options, func(v cty.Value, r rule) error {
		list, err := convert.Convert(v, cty.List(cty.String))
		if err != nil {
			return errors.New("a list of strings is required")
		}
		out := []string{}
		for _, e := range list.AsValueSlice() {
			if e.IsNull() || r.notEmpty && e.AsString() == "" {
				return errors.New("an element is empty")
			}
			out = append(out, e.AsString())
		}
		*into = out
		return nil
	})
}

// StringMap declares a map of strings; numbers and booleans in it are written
// as HCL writes them.
func (d *Decoder) StringMap(name string, into *map[string]string, options ...Option) {
	d.add(name, options, func(v cty.Value, _ rule) error {
		m, err := convert.Convert(v, cty.Map(cty.String))
		if err != nil {
			return errors.New(`a map of strings is required, such as { "key" = "value" }`)
		}
		out := map[string]string{}
		for key, e := range m.AsValueMap() {
			if e.IsNull() {
				return fmt.Errorf("the value of %q is null", key)
			}
			out[key] = e.AsString()
		}
		*into = out
		return nil
	})
}

// Bool declares a boolean attribute.
func (d *Decoder) Bool(name string, into *bool, options ...Option) {
	d.add(name, options, func(v cty.Value, _ rule) error {
		b, err := convert.Convert(v, cty.Bool)
		if err != nil || b.IsNull() {
			return errors.New("true or false is required")
		}
		*into = b.True()
		return nil
	})
}

// Number declares a finite number.
func (d *Decoder) Number(name string, into *float64, options ...Option) {
	d.add(name, options, func(v cty.Value, r rule) error {
		f, err := number(v)
		if err != nil {
			return err
		}
		if err := r.check(f); err != nil {
			return err
		}
		*into = f
		return nil
	})
}

// Int declares a whole number.
func (d *Decoder) Int(name string, into *int, options ...Option) {
	d.add(name, options, func(v cty.Value, r rule) error {
		f, err := number(v)
		if err != nil {
			return err
		}
		if err := r.check(f); err != nil {
			return err
		}
		n, err := whole(f)
		if err != nil {
			return err
		}
		*into = n
		return nil
	})
}

// Ints declares a whole number or a list of whole numbers.
func (d *Decoder) Ints(name string, into *[]int, options ...Option) {
	d.add(name, options, func(v cty.Value, r rule) error {
		elements := []cty.Value{v}
		if t := v.Type(); t.IsTupleType() || t.IsListType() || t.IsSetType() {
			elements = v.AsValueSlice()
		}
		out := []int{}
		for _, e := range elements {
			f, err := number(e)
			if err != nil {
				return err
			}
			if err := r.check(f); err != nil {
				return err
			}
			n, err := whole(f)
			if err != nil {
				return err
			}
			out = append(out, n)
		}
		if len(out) == 0 {
			return errors.New("the list is empty")
		}
		*into = out
		return nil
	})
}

// tooLong is a duration that time.ParseDuration can only find too long.
var tooLong = regexp.MustCompile(`^[0-9]+(\.[0-9]*)?(ms|[smh])([0-9]+(\.[0-9]*)?(ms|[smh]))*$`)

// Duration declares a duration such as "10s". It must be positive unless
// ZeroAllowed.
func (d *Decoder) Duration(name string, into *time.Duration, options ...Option) {
	d.add(name, options, func(v cty.Value, r rule) error {
		s, err := text(v)
		if err != nil {
			return err
		}
		took, err := time.ParseDuration(s)
		switch {
		case err != nil && tooLong.MatchString(s):
			return fmt.Errorf("%q is longer than can be reckoned with, which is 292 years", s)
		case err != nil:
			return fmt.Errorf("%q is not a duration; write a number with a unit, such as \"10s\", \"5m\" or \"24h\"", s)
		case took < 0:
			return fmt.Errorf("%q is negative", s)
		case took == 0 && !r.zero:
			return fmt.Errorf("%q must be greater than zero", s)
		}
		*into = took
		return nil
	})
}

// Value declares an attribute of any type, for those that are neither of the
// above.
func (d *Decoder) Value(name string, into *cty.Value, options ...Option) {
	d.add(name, options, func(v cty.Value, _ rule) error {
		*into = v
		return nil
	})
}

func (r rule) check(f float64) error {
	if r.within == nil || f >= r.within[0] && f <= r.within[1] {
		return nil
	}
	if math.IsInf(r.within[1], 1) {
		return fmt.Errorf("%v is too small; at least %v is required", f, r.within[0])
	}
	return fmt.Errorf("%v is out of range; it must be between %v and %v", f, r.within[0], r.within[1])
}

func text(v cty.Value) (string, error) {
	s, err := convert.Convert(v, cty.String)
	if err != nil || s.IsNull() {
		return "", errors.New("a string is required")
	}
	return s.AsString(), nil
}

// percent reads what somebody has written as percents.
func percent(v cty.Value) (share float64, ok bool) {
	if v.IsNull() || v.Type() != cty.String {
		return 0, false
	}
	text, ok := strings.CutSuffix(strings.TrimSpace(v.AsString()), "%")
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return n / 100, ok && err == nil
}

// number takes a finite number. HCL has no NaN, but it has infinities and
// numbers beyond a float64.
func number(v cty.Value) (float64, error) {
	n, err := convert.Convert(v, cty.Number)
	if err != nil || n.IsNull() {
		if share, ok := percent(v); ok {
			return 0, fmt.Errorf("a number is required; %s is written %v", v.AsString(), share)
		}
		return 0, errors.New("a number is required")
	}
	f, _ := n.AsBigFloat().Float64()
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, errors.New("a finite number is required")
	}
	return f, nil
}

// whole refuses fractions, and numbers too great to be exact.
func whole(f float64) (int, error) {
	if f != math.Trunc(f) {
		return 0, fmt.Errorf("%v is not a whole number", f)
	}
	if math.Abs(f) > 1<<53 {
		return 0, fmt.Errorf("%v is too large", f)
	}
	return int(f), nil
}

// nearest is the known name one or two slips away from the given one.
func nearest(given string, known []string) string {
	best, at := "", 3
	for _, k := range known {
		if strings.EqualFold(given, k) {
			return k
		}
		if dist := levenshtein.Distance(given, k, nil); dist < at {
			best, at = k, dist
		}
	}
	return best
}
