package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/world"
)

// workerJobspec is examples/jobs/reports.nomad.hcl under another name, with
// its worker's script, or its whole command, replaced.
func (s *stage) workerJobspec(service string, replace ...string) string {
	s.t.Helper()
	text, err := s.Example("jobs", "reports.nomad.hcl")
	s.must(err)
	text = world.Renamed(text, "reports", service)
	text = strings.ReplaceAll(text, "teal/services/reports/", s.Keys.Service(service))
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			s.t.Fatalf("the example's jobspec has no %q", replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// journal is what workers wrote, a line each: colour, word.
type journal struct {
	s    *stage
	path string
}

func (s *stage) journal(name string) journal { return journal{s, filepath.Join(s.Dir, name)} }

func (j journal) lines() []string {
	file, err := os.Open(j.path)
	if os.IsNotExist(err) {
		return nil
	}
	j.s.must(err)
	defer file.Close()
	var all []string
	for scan := bufio.NewScanner(file); scan.Scan(); {
		all = append(all, scan.Text())
	}
	return all
}

// owner is who may process jobs.
func (s *stage) owner(service string, want deployment.Colour) {
	s.t.Helper()
	s.must(s.AwaitKey(s.soon(), s.Keys.JobProcessor(service), func(p *consulapi.KVPair) bool {
		return p != nil && string(p.Value) == string(want)
	}))
}

// more waits until the journal has more lines of a colour.
func (j journal) more(colour deployment.Colour, word string) {
	j.s.t.Helper()
	j.reaches(colour, word, count(j.lines(), string(colour)+" "+word)+1)
}

// reaches waits until the journal has so many lines of a colour.
func (j journal) reaches(colour deployment.Colour, word string, n int) {
	j.s.t.Helper()
	line := string(colour) + " " + word
	j.s.must(cluster.Await(j.s.soon(), func(context.Context) error {
		if count(j.lines(), line) < n {
			return fmt.Errorf("no %d lines %q in %v", n, line, j.lines())
		}
		return nil
	}))
}

func count(lines []string, line string) int {
	n := 0
	for _, l := range lines {
		if l == line {
			n++
		}
	}
	return n
}

// The usual one-line check with the consul command decides which colour's
// workers process jobs; the key passes through none at each handover.
func TestJobsOneLineCheck(t *testing.T) {
	s := open(t, "jobs1")
	s.agent("a")
	j := s.journal("journal")
	v := world.Service{Name: "jobs1", Version: "1.0.0", Count: 1,
		Jobspec: s.workerJobspec("jobs1",
			`echo "$ENVIRONMENT_NAME processes one job"`, `echo "$ENVIRONMENT_NAME works" >> `+j.path,
			"sleep 1\n", "sleep 0.2\n")}
	first := s.begin(v)
	s.owner("jobs1", first.To)
	j.more(first.To, "works")

	values := s.history(s.Keys.JobProcessor("jobs1"))
	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	d := s.comes("jobs1", "2.0.0", deployment.Soaking)
	s.owner("jobs1", d.To)
	j.more(d.To, "works")
	s.teal(0, "rollback", "jobs1")
	s.owner("jobs1", d.From)
	j.more(d.From, "works")
	if got := values(); !slices.Equal(got, []string{string(d.From), "none", string(d.To), "none", string(d.From)}) {
		t.Errorf("the key said %v", got)
	}
}

// history follows a key's values until it is asked for them.
func (s *stage) history(key string) (values func() []string) {
	s.t.Helper()
	var seen []string
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(s.t.Context())
	ready := make(chan struct{})
	var first sync.Once
	go func() {
		done <- s.AwaitKey(ctx, key, func(p *consulapi.KVPair) bool {
			if p != nil && (len(seen) == 0 || seen[len(seen)-1] != string(p.Value)) {
				seen = append(seen, string(p.Value))
			}
			first.Do(func() { close(ready) })
			return false
		})
	}()
	<-ready
	return func() []string {
		cancel()
		<-done
		return seen
	}
}

// Under `teal work` the two colours never process at the same time, also when
// the old worker takes its time to finish what it has begun.
func TestJobsTealWork(t *testing.T) {
	s := open(t, "jobs2")
	s.agent("a")
	j := s.journal("journal")
	script := filepath.Join(s.Dir, "worker.sh")
	// One job at a time; SIGTERM lets it finish the one at hand.
	s.must(s.WriteFile("worker.sh", fmt.Sprintf(`trap 'stop=1' TERM
echo "$ENVIRONMENT_NAME begins" >> %[1]s
while [ -z "$stop" ]; do
  echo "$ENVIRONMENT_NAME works" >> %[1]s
  sleep 0.5
done
sleep 1
echo "$ENVIRONMENT_NAME ends" >> %[1]s
`, j.path)))
	v := world.Service{Name: "jobs2", Version: "1.0.0", Count: 1,
		Jobspec: s.workerJobspec("jobs2",
			`command = "/bin/sh"`, fmt.Sprintf("command = %q", s.World.Teal),
			`args    = ["${NOMAD_TASK_DIR}/worker.sh"]`,
			fmt.Sprintf(`args    = ["work", "-prefix", %q, "-service", "jobs2", "--", "/bin/sh", %q]`, s.Keys.Prefix(), script))}
	first := s.begin(v)
	s.owner("jobs2", first.To)
	j.more(first.To, "works")

	v.Version, v.Soak = "2.0.0", time.Hour
	s.write(v)
	d := s.comes("jobs2", "2.0.0", deployment.Soaking)
	s.owner("jobs2", d.To)
	j.more(d.To, "works")
	rec, err := s.Record(s.soon(), "jobs2")
	s.must(err)
	if rec.Jobs.Owner != d.To || !strings.Contains(rec.Jobs.Outcome, "released") {
		t.Errorf("the handover on record: %+v", rec.Jobs)
	}

	s.teal(0, "rollback", "jobs2")
	s.owner("jobs2", d.From)
	j.more(d.From, "works")
	j.apart()
}

// apart wants no colour to begin before the other has ended.
func (j journal) apart() {
	j.s.t.Helper()
	working := ""
	for i, line := range j.lines() {
		colour, word, _ := strings.Cut(line, " ")
		switch {
		case word == "begins" && working == "":
			working = colour
		case word == "ends" && working == colour:
			working = ""
		case word == "works" && working == colour:
		default:
			j.s.t.Fatalf("line %d is %q while %q processes:\n%s", i+1, line, working, strings.Join(j.lines(), "\n"))
		}
	}
}

// The agent's death does not stop workers, and a worker that does not let go
// is waited for no longer than the policy says.
func TestJobsOutliveTheAgent(t *testing.T) {
	s := open(t, "jobs3")
	a := s.agent("a")
	j := s.journal("journal")
	script := filepath.Join(s.Dir, "worker.sh")
	s.must(s.WriteFile("worker.sh", fmt.Sprintf(`trap '' TERM
while true; do
  echo "$ENVIRONMENT_NAME works" >> %[1]s
  sleep 0.2
done
`, j.path)))
	v := world.Service{Name: "jobs3", Version: "1.0.0", Count: 1, Jobs: `handover_deadline = "2s"`,
		Jobspec: s.workerJobspec("jobs3",
			`command = "/bin/sh"`, fmt.Sprintf("command = %q", s.World.Teal),
			`args    = ["${NOMAD_TASK_DIR}/worker.sh"]`,
			fmt.Sprintf(`args    = ["work", "-prefix", %q, "-service", "jobs3", "-kill-timeout", "30s", "--", "/bin/sh", %q]`, s.Keys.Prefix(), script))}
	first := s.begin(v)
	j.more(first.To, "works")
	s.must(a.Kill())
	for range 5 {
		j.more(first.To, "works")
	}
	s.must(a.Start(s.soon()))
	v.Version = "2.0.0"
	s.write(v)
	d := s.ends("jobs3", "2.0.0", deployment.Succeeded)
	s.owner("jobs3", d.To)
	rec, err := s.Record(s.soon(), "jobs3")
	s.must(err)
	if rec.Jobs.Outcome != "forced" {
		t.Errorf("that the deadline passed is not on record: %+v", rec.Jobs)
	}
}
