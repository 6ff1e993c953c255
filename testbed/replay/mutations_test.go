package replay

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Mutations are the product with one of its safeguards taken out, and a seed
// from which on the simulation finds that within the tries given. It is the
// simulation that is tested here: one that finds none of these would prove
// nothing about the product as it is.
var mutations = []struct {
	name  string
	seed  uint64
	tries int
	found string // what the break says
	patch Patch
}{
	{"fencing", 108, 200, "wrote .* while .* led", Patch{"agent/consul/fence.go", []Edit{{
		"Verb: api.KVCheckSession, Key: fence.LeaderKey, Session: fence.Session",
		"Verb: api.KVGet, Key: fence.LeaderKey"}}}},

	{"save before act", 76, 200, "without a record|no cutover to it was decided|it serves|nothing is being released", Patch{"agent/controller/save.go", []Edit{{
		"	if err := l.save(ctx, next, ended, dropped, slices.Concat(more, notices)); err != nil {\n",
		`	if was := l.rec; stateOf(was) != stateOf(next) {
		l.work.stop()
		l.work, l.rec = nil, next
		l.publish()
		l.ensureFeed(ctx)
		l.ensureWork(ctx)
		l.rec = was
	}
	if err := l.save(ctx, next, ended, dropped, slices.Concat(more, notices)); err != nil {
`}}}},

	{"handover through none", 1, 200, "the jobs went from|still does", Patch{"agent/deployment/step.go", []Edit{{
		"	s.Jobs.Owner = None\n}\n",
		"	s.Jobs.Owner, s.Jobs.Target = to, \"\"\n}\n"}}}},

	{"health re-check at cutover", 539, 1000, "has had no passing instance", Patch{"agent/controller/moving.go", []Edit{{
		"		if !m.Rollback && j.d.Forced == nil {\n",
		"		if false {\n"}}}},

	{"gates before cutover", 346, 1000, "whose gate has not passed", Patch{"agent/controller/gating.go", []Edit{{
		"	case out.Verdict == gates.Pass && j.pol",
		"	case out.Verdict <= gates.Fail && j.pol"}, {
		"	case out.Verdict == gates.Pass:\n",
		"	case out.Verdict <= gates.Fail:\n"}}}},

	{"people's routes", 0, 200, "made the routes of people", Patch{"agent/traffic/service_router.go", []Edit{{
		"	router.Routes = unframe(&router, readMark(e.GetMeta()).colour).shift(c).build()\n",
		"	f := unframe(&router, readMark(e.GetMeta()).colour)\n	f.routes = nil\n	router.Routes = f.shift(c).build()\n"}}}},

	{"people's routes go along", 0, 200, "moved traffic to .*, and that of people's route", Patch{"agent/traffic/frame.go", []Edit{{
		"		moved.routes[i] = f.unfill(f.unfill(r, to), to.Other())\n",
		"		moved.routes[i] = f.fill(r)\n"}}}},

	{"join before campaign", 49, 200, "before the work of the one before had returned", Patch{"agent/leader/office.go", []Edit{{
		"	err := work(term, Term{\n",
		"	var err error\n	gone := make(chan error, 1)\n	go func() { gone <- work(term, Term{\n"}, {
		"		lease: o.lease,\n	})\n	close(returned)\n",
		"		lease: o.lease,\n	}) }()\n	select {\n	case err = <-gone:\n	case <-term.Done():\n	}\n	close(returned)\n"}}}},
}

// product is the root of the module under test.
const product = "../.."

// build compiles the simulation with the runtime of this package, and with
// patches of the product.
func build(t *testing.T, patches ...Patch) string {
	t.Helper()
	dir := t.TempDir()
	root, err := Goroot()
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	if err := Overlay(dir, root, Runtime, replace); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(product)
	if err != nil {
		t.Fatal(err)
	}
	if err := Overlay(dir, here, patches, replace); err != nil {
		t.Fatal(err)
	}
	overlay, err := Write(dir, replace)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "simulate")
	cmd := exec.Command("go", "test", "-c", "-vet=off", "-tags", Tag, "-overlay", overlay, "-o", binary, "./agent/controller")
	cmd.Dir = here
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// simulate runs the simulation and returns what it says; failed says that it
// found a break.
func simulate(t *testing.T, binary string, args ...string) (out string, failed bool) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"-test.run", "^TestSimulate$", "-test.v", "-test.timeout", "30m"}, args...)...)
	cmd.Env = append(os.Environ(), Env...)
	cmd.Dir = filepath.Join(product, "agent/controller")
	text, err := cmd.CombinedOutput()
	if err != nil && !strings.Contains(string(text), "--- FAIL: TestSimulate") {
		t.Fatalf("%v\n%s", err, text)
	}
	return string(text), err != nil
}

func TestMutationsAreFound(t *testing.T) {
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			out, failed := simulate(t, build(t, m.patch), "-simulate.first", "-simulate.from", fmt.Sprint(m.seed), "-simulate.seeds", fmt.Sprint(m.tries))
			broke := regexp.MustCompile(`seed (\d+): .*`).FindStringSubmatch(out)
			if !failed || broke == nil {
				t.Fatalf("not found by the seeds from %d to %d\n%s", m.seed, m.seed+uint64(m.tries)-1, out)
			}
			if !regexp.MustCompile(m.found).MatchString(broke[0]) {
				t.Errorf("something else was found than %s: %s", m.found, broke[0])
			}
			t.Logf("found by %s", broke[0])
		})
	}
}
