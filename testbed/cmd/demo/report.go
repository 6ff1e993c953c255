package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tealdeploy/teal/testbed/world"
)

// report is build/demo.json.
type report struct {
	Consul      string    `json:"consul"`
	Nomad       string    `json:"nomad"`
	Requests    int       `json:"requests"`
	Failed      int       `json:"failed"`       // requests that a client of a healthy colour lost
	WrongColour int       `json:"wrong_colour"` // answers of the old colour after the new route reached the data plane
	Releases    []release `json:"releases"`
	// Recovered is fault injected → last bad answer to a client, of as many faults as
	// it says.
	Recovered world.Recovery `json:"fault_to_recovered"`

	story *story
}

// release is one line of it. What did not happen is null.
type release struct {
	Version    string   `json:"version"`
	Outcome    string   `json:"outcome"`
	CutoverMS  *float64 `json:"cutover_ms"`  // decision → Consul acknowledged the write
	RollbackMS *float64 `json:"rollback_ms"` // the same, for the way back
	DetectMS   *float64 `json:"detect_ms"`   // fault injected → decision
}

func (s *story) report() report {
	r := report{
		Consul: s.world.Consul[0].Binary.Version, Nomad: s.world.Nomad.Binary.Version,
		Requests: s.count.Requests, Failed: s.count.Lost, WrongColour: s.count.WrongColour,
		Recovered: s.recovery, story: s,
	}
	for _, c := range s.chapters {
		line := release{Version: c.version, Outcome: c.outcome}
		if c.cutover != nil {
			line.CutoverMS = ms(c.cutover.written)
		}
		if c.back != nil {
			line.RollbackMS = ms(c.back.written)
		}
		if c.detect != 0 {
			line.DetectMS = ms(c.detect)
		}
		r.Releases = append(r.Releases, line)
	}
	return r
}

func ms(d time.Duration) *float64 {
	n := float64(d.Microseconds()) / 1000
	return &n
}

// print is the table that the demo ends with.
func (r report) print(s *screen) {
	s.title("%-8s %-12s %-24s %-24s %-18s", "", "", "cutover", "rollback", "")
	s.line(fmt.Sprintf("%-8s %-12s %11s %12s %11s %12s  %s", "version", "outcome", "written", "routed", "written", "routed", "detected"))
	for _, c := range r.story.chapters {
		detected := ""
		if c.detect > 0 {
			detected = fmt.Sprintf("%.1f s after the fault; %d bad answers", c.detect.Seconds(), c.bad)
		} else if c.back != nil {
			detected = "by hand: " + c.back.by
		}
		s.line(fmt.Sprintf("%-8s %-12s %s %s  %s", c.version, c.outcome, c.cutover, c.back, detected))
	}
	s.line("")
	n := r.story.count
	s.line(fmt.Sprintf("%d requests in %.0f s (%.0f a second), %d failed, %d answered by the wrong colour,",
		r.Requests, r.story.took.Seconds(), r.rate(), r.Failed, r.WrongColour))
	s.line(fmt.Sprintf("%d spoiled by the faults that were injected; latency p50 %s, p99 %s.", n.Injected, n.P50.Round(10*time.Microsecond), n.P99.Round(10*time.Microsecond)))
	f := r.Recovered
	s.line(fmt.Sprintf("%d faults of %s: from the fault to the last bad answer to a client p50 %.1f s, p95 %.1f s.", f.Samples, f.Fault, f.P50/1000, f.P95/1000))
	s.line(s.paint(dim, "written: decision → Consul acknowledged the one write.  routed: decision → route at the data plane"))
	s.line(s.paint(dim, "(Consul itself gathers changes for proxies for 200 ms)."))
}

// String is a move as two columns.
func (m *move) String() string {
	if m == nil {
		return fmt.Sprintf("%11s %12s", "-", "-")
	}
	return fmt.Sprintf("%8.1f ms %9.1f ms", *ms(m.written), *ms(m.arrived))
}

func (r report) rate() float64 { return float64(r.Requests) / r.story.took.Seconds() }

func (r report) save(path string) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(body, '\n'), 0o644)
}

// leastRate is what the demo promises.
const leastRate = 200

// verdict says what was not as promised.
func (r report) verdict(rate int) error {
	var errs []error
	if r.Failed != 0 {
		errs = append(errs, fmt.Errorf("%d requests failed that no injected fault explains: %s", r.Failed, r.story.count))
	}
	if r.WrongColour != 0 {
		errs = append(errs, fmt.Errorf("%d answers came from the wrong colour", r.WrongColour))
	}
	if rate >= leastRate && r.rate() < leastRate {
		errs = append(errs, fmt.Errorf("only %.0f requests a second were asked, fewer than %d", r.rate(), leastRate))
	}
	outcomes := append([]string{"adopted", "succeeded", "rolled-back"}, slices.Repeat([]string{"rolled-back"}, r.story.faults)...)
	for i, want := range outcomes {
		if i >= len(r.Releases) || r.Releases[i].Outcome != want {
			errs = append(errs, fmt.Errorf("release %d did not end %s: %+v", i+1, want, r.Releases))
		}
	}
	return errors.Join(errs...)
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}
