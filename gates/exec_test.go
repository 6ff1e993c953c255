//go:build unix

package gates_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tealdeploy/teal/gates"
)

// shell is an exec gate that runs a script.
func shell(t *testing.T, script, more string) gates.Gate {
	t.Helper()
	n, diags := decode(t, "gate \"exec\" \"x\" {\n  command = [\"/bin/sh\", \"-c\", "+strconv.Quote(script)+"]\n"+more+"\n}")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return n.Gate
}

func allowed(t *testing.T) gates.Target {
	target := green(instanceAt(t, "10.0.0.1:8080"))
	target.MayExec = true
	return target
}

func TestExecByItsExitCode(t *testing.T) {
	for script, want := range map[string]struct {
		verdict gates.Verdict
		reason  string
		log     string
	}{
		`echo fine`:                      {gates.Pass, "sh ended with 0", "fine"},
		`echo out; echo bad >&2; exit 3`: {gates.Fail, "sh ended with 3", "out bad"},
		`echo no licence; exit 75`:       {gates.Hold, "could not find out", "no licence"},
		`kill -9 $$`:                     {gates.Fail, "sh ended with 137", ""},
		`echo $TEAL_ADDRESSES $TEAL_COLOUR $TEAL_VERSION $API_TOKEN $TRIES`: {gates.Pass, "", "10.0.0.1:8080 green 2.0.0 [redacted] 3"},
		`pwd`: {gates.Pass, "", "/tmp"},
	} {
		f, err := shell(t, script, `env = { API_TOKEN = "s3cret", TRIES = "3" }`+"\ndir = \"/tmp\"").Check(t.Context(), allowed(t))
		if err != nil || f.Verdict != want.verdict || !strings.Contains(f.Reason, want.reason) || f.Figures["log"] != want.log {
			t.Errorf("%s: %s %q log %q, %v", script, f.Verdict, f.Reason, f.Figures["log"], err)
		}
	}
}

// Of a long output the end is kept, also where it is all in one line, and no rest of a
// secret with it.
func TestExecKeepsTheEndOfALongOutput(t *testing.T) {
	const long = `head -c 20000 /dev/zero | tr '\0' ' '; `
	for script, want := range map[string]string{
		long + `printf 'the end'`:                          "the end",
		`echo first; ` + long + `echo; echo the end`:       "the end",
		`printf %s "$API_TOKEN"; ` + rest + `echo the end`: "[redacted] the end",
	} {
		f, err := shell(t, script, `env = { API_TOKEN = "s3cret-of-many-letters" }`).Check(t.Context(), allowed(t))
		if err != nil || f.Figures["log"] != want {
			t.Errorf("%s: log %q, %v, want %q", script, f.Figures["log"], err, want)
		}
	}
}

// rest writes as much as leaves, of what an exec gate keeps, some letters of what was
// written before.
const rest = `head -c $((16384 - 18)) /dev/zero | tr '\0' ' '; `

// Without the agent's permission nothing is run, and what cannot be run proves
// nothing.
func TestExecHolds(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	target := allowed(t)
	target.MayExec = false
	if f, err := shell(t, "touch "+mark, "").Check(t.Context(), target); err == nil || !strings.Contains(err.Error(), "gates { exec = true }") || f.Verdict != gates.Hold {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("it was run without permission")
	}
	n, diags := decode(t, `gate "exec" "x" {
	  command = ["/nonexistent/smoke"]
	}`)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	if f, err := n.Gate.Check(t.Context(), allowed(t)); err == nil || f.Verdict != gates.Hold {
		t.Errorf("%+v, %v", f, err)
	}
}

// The agent's environment holds tokens: none of it is inherited.
func TestExecInheritsNothing(t *testing.T) {
	t.Setenv("CONSUL_HTTP_TOKEN", "agents-own")
	f, err := shell(t, "env", "").Check(t.Context(), allowed(t))
	if err != nil || f.Verdict != gates.Pass || strings.Contains(f.Figures["log"], "agents-own") || !strings.Contains(f.Figures["log"], "TEAL_SERVICE=api") {
		t.Errorf("%+v, %v", f, err)
	}
}

// gone waits until a process is no more, or a zombie that nobody reaps.
func gone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil && syscall.Kill(pid, 0) != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	t.Errorf("process %d is still there", pid)
}

// pidIn waits for a script to write down the process it started.
func pidIn(t *testing.T, path string) int {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(text), "\n") {
			pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the script did not begin")
	return 0
}

// A command is killed with all that it has started: when its time is up, when
// the release leaves its gates, and what it leaves behind when it ends.
func TestExecKillsTheWholeGroup(t *testing.T) {
	for _, c := range []struct {
		name, script string
		end          func(context.Context) (context.Context, context.CancelFunc)
		verdict      gates.Verdict
	}{
		{"time is up", "wait", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Second)
		}, gates.Fail},
		{"the release ends", "wait", context.WithCancel, gates.Hold},
		{"it ends", "exit 0", func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, gates.Pass},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			gate := shell(t, "sleep 300 >/dev/null 2>&1 & echo $! > "+file+"; "+c.script, "")
			ctx, cancel := c.end(t.Context())
			defer cancel()
			done := make(chan gates.Finding)
			go func() {
				f, _ := gate.Check(ctx, allowed(t))
				done <- f
			}()
			pid := pidIn(t, file)
			if c.name == "the release ends" {
				cancel()
			}
			if f := <-done; f.Verdict != c.verdict {
				t.Errorf("verdict %s: %s", f.Verdict, f.Reason)
			}
			gone(t, pid)
		})
	}
}

// A flood of output costs no memory; the end of it is kept, from the beginning
// of a line.
func TestExecOutputIsBounded(t *testing.T) {
	f, err := shell(t, `yes "some noise" | head -c 20000000; echo; echo the last word; exit 1`, "").Check(t.Context(), allowed(t))
	if err != nil || f.Verdict != gates.Fail || len(f.Figures["log"]) > 20<<10 || !strings.HasSuffix(f.Figures["log"], "the last word") {
		t.Errorf("%s, %v, %d bytes of log", f.Verdict, err, len(f.Figures["log"]))
	}
}

func TestMistakesInAnExec(t *testing.T) {
	for body, want := range map[string]string{
		``:                                   `"command" is required`,
		`command = []`:                       "The command is empty",
		`command = ["smoke"]`:                "write the whole path",
		"command = [\"/s\"]\ndir = \"here\"": "not where every agent would find it",
		"command = [\"/s\"]\nenv = { TEAL_COLOUR = \"blue\" }": "TEAL_COLOUR is set by Teal",
		"command = [\"/s\"]\nenv = { \"A-B\" = \"x\" }":        "cannot be the name of an environment variable",
	} {
		_, diags := decode(t, "gate \"exec\" \"n\" {\n"+body+"\n}")
		if !strings.Contains(diags.Error(), want) {
			t.Errorf("%s\nsaid %s\nwant %s", body, diags.Error(), want)
		}
	}
}
