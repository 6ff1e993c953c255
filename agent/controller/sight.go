package controller

import (
	"maps"
	"slices"

	"github.com/hashicorp/go-hclog"

	"github.com/tealdeploy/teal/rollback"
)

// sight says in the log which triggers lose sight of the colour during a watch, and
// which see again. In the record it matters only at the end.
type sight struct {
	log  hclog.Logger
	lost map[string]bool
}

// look takes who cannot tell at present. That a watch which has just begun has seen
// nothing yet is no news.
func (s *sight) look(unable []rollback.Unable) {
	now := map[string]bool{}
	for _, u := range unable {
		if u.Never {
			continue
		}
		now[u.Trigger] = true
		if !s.lost[u.Trigger] {
			s.log.Warn("a trigger cannot tell any more: nothing is taken back for that, and the watch does not end well meanwhile", "trigger", u.Trigger, "reason", u.Reason)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.lost)) {
		if !now[name] {
			s.log.Info("a trigger can tell again", "trigger", name)
		}
	}
	s.lost = now
}
