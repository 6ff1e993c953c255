package rollback

// Errors seldom come one by one: a dependency that stumbles takes many requests
// with it. By how much they vary more than independent ones is measured before
// the cutover, reading by reading; assumedSpread counts like as many readings as
// assumedReadings, so that a short look is not taken for a quiet service.
const (
	assumedSpread   = 5.0
	assumedReadings = 6
	// coarse is how many readings make one of the longer stretches, by which
	// errors that last for several readings are found.
	coarse = 10
	// settled is how many readings make a look that is no longer short.
	settled = 300
)

// hiddenSpread is what is assumed of bursts that may be in the counters and were not
// looked at: with it, one that lasts for coarse readings, however bad, is no proof.
var hiddenSpread = maxStep * coarse / proof

// variation sums what a statistic of over-dispersion needs, of stretches of one
// length, whatever share of errors it is then taken around.
type variation struct {
	N        float64 `json:"n"`
	Requests float64 `json:"requests"`
	Errors   float64 `json:"errors"`
	Rates    float64 `json:"rates"`   // errors, each by its requests
	Squares  float64 `json:"squares"` // errors², each by its requests
}

func (v *variation) add(requests, failed float64) {
	if requests <= 0 {
		return
	}
	v.N++
	v.Requests += requests
	v.Errors += failed
	v.Rates += failed / requests
	v.Squares += failed * failed / requests
}

// around is the variance of errors around a share, as a multiple of what
// independent requests would have. Of Pearson's statistic, each stretch's own
// chance variance is estimated by its errors and not by the share: a single error
// where next to none was due is no cluster.
func (v variation) around(share float64) float64 {
	if v.N == 0 || share <= 0 || share >= 1 {
		return 1
	}
	beyond := v.Squares - 2*share*v.Errors + share*share*v.Requests - (1-share)*v.Rates
	return 1 + beyond/(share*(1-share)*v.N)
}

// spread measures over-dispersion: of readings, of stretches of several, and of
// the whole time that was looked at against all that the counters hold.
type spread struct {
	Fine   variation `json:"fine"`
	Coarse variation `json:"coarse"`
	open   tally     // the stretch that is not full yet
	filled int
}

func (s *spread) add(requests, failed float64) {
	s.Fine.add(requests, failed)
	s.open.requests += requests
	s.open.errors += failed
	if s.filled++; s.filled == coarse {
		s.Coarse.add(s.open.requests, s.open.errors)
		s.open, s.filled = tally{}, 0
	}
}

// factor is the spread to reckon with, at a load of so many requests a reading,
// where the counters hold so many errors, around the share of them. Errors that strike
// a share of all requests at once vary the more the more requests there are.
func (s *spread) factor(share, errors, requests float64) float64 {
	var whole variation
	whole.add(s.Fine.Requests, s.Fine.Errors)
	seen := max(1, s.Fine.around(share), s.Coarse.around(share), whole.around(share))
	seen = (seen*s.Fine.N + assumedSpread*assumedReadings) / (s.Fine.N + assumedReadings)
	if s.Fine.N > 0 {
		seen = 1 + (seen-1)*max(1, requests*s.Fine.N/s.Fine.Requests)
	}
	return max(seen, s.hidden(errors, requests))
}

// hidden is the spread of bursts that a short look may have missed: no more can fail
// at once than the counters hold of errors that nobody saw come, nor than there are
// requests.
func (s *spread) hidden(errors, requests float64) float64 {
	return (1 - s.Fine.N/settled) * min(hiddenSpread, errors-s.Fine.Errors, requests)
}
