package rollback

import (
	"cmp"
	"maps"
	"math"
	"slices"
)

// proof is the evidence, as a logarithm, that takes traffic back.
var proof = math.Log(1 / alphaWatch)

// doubt is the evidence from which on all is no longer well.
var doubt = math.Log(10)

// misgiving is the evidence with which a watch must not end well: a version that
// is as good as the one before leaves it sooner or later, a bad one does not.
var misgiving = math.Log(3)

// maxInstances bounds how many instances are judged by themselves.
const maxInstances = 1000

// sequence tests a colour against a baseline, as a whole and each instance by
// itself: half of the weight is for the whole, and the n-th instance that is
// seen has 1/(n·(n+1)) of the other, however many there will be.
type sequence struct {
	all      evidence
	each     map[string]*member
	requests float64
	failed   float64
}

// member is the evidence against one instance.
type member struct {
	evidence
	weight float64 // logarithm
}

// reading is what an instance has counted since it was last read.
type reading struct {
	instance         string
	requests, errors float64
}

// counted is what all instances have together.
func counted(readings []reading) (requests, failed float64) {
	for _, r := range readings {
		requests += r.requests
		failed += r.errors
	}
	return requests, failed
}

func (s *sequence) add(readings []reading, b bar, past *Past) {
	if s.each == nil {
		s.each = map[string]*member{}
	}
	slices.SortFunc(readings, func(a, b reading) int { return cmp.Compare(a.instance, b.instance) })
	requests, failed := counted(readings)
	s.requests += requests
	s.failed += failed
	spread := past.spread(requests)
	s.all.add(requests, failed, b.all, spread)
	for _, r := range readings {
		m := s.each[r.instance]
		if m == nil {
			if len(s.each) == maxInstances {
				continue
			}
			n := float64(len(s.each) + 1)
			m = &member{weight: math.Log(0.5 / (n * (n + 1)))}
			s.each[r.instance] = m
		}
		m.add(r.requests, r.errors, b.instance, spread)
	}
}

// log is the evidence of all together, and the instance that adds the most to
// it, if it is one alone.
func (s *sequence) log() (sum float64, alone string) {
	whole := s.all.log() + math.Log(0.5)
	sum = logSum(whole, math.Log(0.5/float64(len(s.each)+1)))
	most := whole
	for _, id := range slices.Sorted(maps.Keys(s.each)) {
		m := s.each[id]
		e := m.log() + m.weight
		if e > most {
			most, alone = e, id
		}
		sum = logSum(sum, e)
	}
	return sum, alone
}
