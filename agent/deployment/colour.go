package deployment

import "fmt"

// Colour is one of the two places a service can run in. A version is never
// tied to a colour: each release goes to whichever colour is idle.
type Colour string

// The two colours, and the value that stands for "neither": None is what the
// job-processor key holds while ownership moves from one colour to the other,
// and the active colour of a service that has never served.
const (
	Blue  Colour = "blue"
	Green Colour = "green"
	None  Colour = "none"
)

// Colours lists both colours in the order in which people are shown them.
var Colours = []Colour{Blue, Green}

// ParseColour reads a colour as an operator types it. Only "blue" and "green"
// are colours; the error says so.
func ParseColour(s string) (Colour, error) {
	switch c := Colour(s); c {
	case Blue, Green:
		return c, nil
	}
	return None, fmt.Errorf("unknown colour %q: expected blue or green", s)
}

// Other is the opposite colour. The opposite of None is Blue: the first
// release of a service goes there.
func (c Colour) Other() Colour {
	if c == Blue {
		return Green
	}
	return Blue
}

// Valid says whether c is blue or green.
func (c Colour) Valid() bool { return c == Blue || c == Green }

func (c Colour) String() string {
	if c == "" {
		return string(None)
	}
	return string(c)
}
