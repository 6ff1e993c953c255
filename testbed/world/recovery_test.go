package world

import (
	"testing"
	"time"
)

func TestRecovery(t *testing.T) {
	var r Recovery
	for i := range 30 {
		r.Add(time.Duration(30-i)*time.Second, time.Duration(i)*time.Millisecond)
		if i == 0 && (r.Samples != 1 || r.P50 != 30000 || r.P95 != 30000) {
			t.Errorf("of one: %+v", r)
		}
	}
	if r.Samples != 30 || r.P50 != 15000 || r.P95 != 29000 || r.Decided != 14 {
		t.Errorf("%+v", r)
	}
}
