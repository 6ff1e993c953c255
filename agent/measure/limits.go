package measure

import (
	"slices"

	"github.com/tealdeploy/teal/agent/hclbody"
)

// Declare adds the limits to a decoder.
func (l *Limits) Declare(d *hclbody.Decoder) {
	d.Number("above", &l.Above)
	d.Number("below", &l.Below)
}

// Validate takes over which limits there are, and refuses those that leave
// nothing. Others name further ways to judge, which may take their place.
func (l *Limits) Validate(d *hclbody.Decoder, others ...string) {
	l.HasAbove, l.HasBelow = d.Has("above"), d.Has("below")
	switch {
	case l.HasAbove && l.HasBelow && l.Below > l.Above:
		d.Errorf("above", "Contradictory limits", "Less than %v (below) is bad, and more than %v (above) is: nothing is left that is good.", l.Below, l.Above)
	case !l.HasAbove && !l.HasBelow && !slices.ContainsFunc(others, d.Has):
		also := ""
		for _, other := range others {
			also += ", or " + other
		}
		d.Errorf("above", "Limit is missing", "Give above, below or both%s: what is more, or less, is bad.", also)
	}
}
