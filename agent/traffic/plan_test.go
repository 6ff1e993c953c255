package traffic

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// Plan says what Prepare then does, and writes nothing.
func TestPlanTellsWhatPrepareWrites(t *testing.T) {
	for name, c := range map[string]struct {
		kind  string
		found func(w *world)
		want  []string // what each line begins with
	}{
		"nothing there": {api.ServiceRouter, func(*world) {}, []string{
			`+ service-defaults SVC: protocol "http"`, "+ service-resolver SVC: subsets blue", "+ service-router SVC: a preview route"}},
		"all there": {api.ServiceRouter, (*world).rich, []string{"~ service-resolver SVC", "~ service-router SVC"}},
		"tcp":       {api.ServiceResolver, func(*world) {}, []string{"+ service-resolver SVC: subsets blue"}},
		"prepared": {api.ServiceRouter, func(w *world) { w.prepare(w.router(api.ServiceRouter), 1) }, []string{
			"= service-resolver SVC", "= service-router SVC"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.found(w)
			before := w.contents()
			r := w.router(c.kind)
			lines, err := r.Plan(w.ctx, w.setup(deployment.Route{}, 1))
			w.must(err)
			w.sameContents("planned", before)
			if len(lines) != len(c.want) {
				t.Fatalf("%q, want %q", lines, c.want)
			}
			w.consul.forget()
			w.prepare(r, 1)
			for i, want := range c.want {
				want = strings.ReplaceAll(want, "SVC", w.service)
				if !strings.HasPrefix(lines[i], want) {
					t.Errorf("%q, want %q", lines[i], want)
				}
				kind := strings.Fields(want)[1]
				if wrote := slices.Contains(w.consul.asked, "write "+kind); wrote == (want[0] == '=') {
					t.Errorf("planned %q, and then asked %q", lines[i], w.consul.asked)
				}
			}
		})
	}
}

func TestPlanRefusesWhatPrepareRefuses(t *testing.T) {
	w := newWorld(t)
	w.put(defaults(w, "tcp"))
	_, err := w.router(api.ServiceRouter).Plan(w.ctx, w.setup(deployment.Route{}, 1))
	w.wants(err, ErrRefused)
}
