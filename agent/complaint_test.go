package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
)

func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lockedBuffer{}
		c := complaint{log: hclog.New(&hclog.LoggerOptions{Output: log}), what: "fly"}
		say := func(kind error, times int) {
			t.Helper()
			for range 10 {
				c.about(&consul.Error{Op: "fly", Kind: kind})
				time.Sleep(patience / 5)
			}
			c.over()
			if log.count("cannot fly; trying again") != times || log.count("no longer: cannot fly") != times {
				t.Errorf("%v: want %d\n%s", kind, times, log)
			}
		}
		say(consul.ErrUnavailable, 0) // the elector's to tell
		say(consul.ErrInvalid, 1)
		c.about(&consul.Error{Op: "fly", Kind: consul.ErrInvalid}) // in passing
		c.over()
		say(consul.ErrForbidden, 2)
		c.about(&consul.Error{Op: "fly", Kind: consul.ErrForbidden}) // time mends none
		c.over()
		if log.count("trying again") != 3 {
			t.Errorf("%s", log)
		}
		c.alone = true
		say(consul.ErrUnavailable, 4)
	})
}
