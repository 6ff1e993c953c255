package traffic

import (
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// differs names the routes that a person added to a router, or took away, in
// comparison with what the record keeps. What it cannot name it leaves out.
func (f routerForm) differs(t Target, e api.ConfigEntry) []string {
	kept, err := restored(f, t)
	if err != nil {
		return nil
	}
	was := unframe(kept.(*api.ServiceRouterConfigEntry), deployment.None)
	is := unframe(e.(*api.ServiceRouterConfigEntry), readMark(e.GetMeta()).colour)
	had, has := map[string]int{}, map[string]int{}
	for _, r := range was.routes {
		had[was.canonical(r)]++
	}
	for _, r := range is.routes {
		has[was.canonical(r)]++
	}
	var changes []string
	for _, r := range is.routes {
		if text := was.canonical(r); had[text] == 0 {
			changes = append(changes, fmt.Sprintf("a route for %s was added", describeMatch(r)))
		} else {
			had[text]--
		}
	}
	for _, r := range was.routes {
		if text := was.canonical(r); has[text] == 0 {
			changes = append(changes, fmt.Sprintf("the route for %s is gone", describeMatch(r)))
		} else {
			has[text]--
		}
	}
	return changes
}

// differs says nothing more of a resolver than its parts do.
func (resolverForm) differs(Target, api.ConfigEntry) []string { return nil }
