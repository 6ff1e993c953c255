package agent

import (
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/agent/consul"
)

// patience is how long something may go wrong before people are told: what
// was registered a moment ago has not reached Consul's servers yet.
const patience = 3 * time.Second

// complaint tells once of what goes on going wrong, and once that it is over.
// That Consul is away is the elector's to tell, once it runs.
type complaint struct {
	log   hclog.Logger
	what  string // cannot …
	alone bool   // nobody else tells yet that Consul is away
	since time.Time
	told  bool
}

func (c *complaint) about(err error) {
	if c.since.IsZero() {
		c.since = time.Now()
	}
	if c.told || errors.Is(err, consul.ErrUnavailable) && !c.alone ||
		!errors.Is(err, consul.ErrForbidden) && time.Since(c.since) < patience {
		c.log.Debug("cannot "+c.what, "error", err)
		return
	}
	c.told = true
	c.log.Warn("cannot "+c.what+"; trying again", "error", err)
}

func (c *complaint) over() {
	if c.told {
		c.log.Info("no longer: cannot "+c.what, "after", time.Since(c.since).Round(time.Millisecond).String())
	}
	c.since, c.told = time.Time{}, false
}
