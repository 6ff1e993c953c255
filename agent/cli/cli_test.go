package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write golden files anew")

// testdata is absolute: some tests change their directory.
var testdata = func() string {
	dir, err := filepath.Abs("testdata")
	if err != nil {
		panic(err)
	}
	return dir
}()

// golden compares with a file under testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join(testdata, name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; -update writes it anew\n--- got\n%s\n--- want\n%s", path, got, want)
	}
}

// buffer is written by a command while a test reads it.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type ran struct {
	code     int
	out, err string
}

// teal runs a command line as if at ten o'clock and two minutes, in UTC.
func teal(t *testing.T, args ...string) ran {
	t.Helper()
	return tealIn(t, t.Context(), nil, args...)
}

func tealIn(t *testing.T, ctx context.Context, adjust func(*terminal), args ...string) ran {
	t.Helper()
	var out, errs buffer
	term := newTerminal(&out, &errs)
	term.now = func() time.Time { return at(120) }
	term.zone = time.UTC
	if adjust != nil {
		adjust(term)
	}
	code := run(ctx, args, term)
	return ran{code, out.String(), errs.String()}
}

func (r ran) want(t *testing.T, code int, out, errs string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	if !strings.Contains(r.out, out) {
		t.Errorf("output lacks %q", out)
	}
	if !strings.Contains(r.err, errs) || (errs == "" && r.err != "") {
		t.Errorf("complaints: want %q", errs)
	}
	if t.Failed() {
		t.Logf("out:\n%s\nerr:\n%s", r.out, r.err)
	}
}

func TestHelp(t *testing.T) {
	r := teal(t, "-h")
	golden(t, "help", r.out)
	for name, made := range commands(t.Context(), newTerminal(&bytes.Buffer{}, &bytes.Buffer{})) {
		t.Run(name, func(t *testing.T) {
			r := teal(t, append(strings.Fields(name), "-h")...)
			if r.code != exitOK {
				t.Errorf("exit code %d", r.code)
			}
			golden(t, "help_"+strings.ReplaceAll(name, " ", "_"), r.out)
			c, _ := made()
			if n := len(c.Synopsis()); n == 0 || n > 50 {
				t.Errorf("synopsis of %d letters", n)
			}
			for _, line := range strings.Split(r.out, "\n") {
				if visible(line) > 80 {
					t.Errorf("wider than 80 columns: %s", line)
				}
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	t.Setenv("ENVIRONMENT_NAME", "")
	for line, want := range map[string]string{
		"dpeloy api":                     `did you mean deploy?`,
		"":                               "Usage: teal",
		"deploy":                         "an argument is missing",
		"deploy api web":                 "too many arguments: web",
		"deploy api -nonsense":           "unknown option -nonsense",
		"deploy api -var":                "missing value for -var",
		"deploy api -var version":        "expected name=value",
		"deploy api -until lunch":        "expected cutover, live or done",
		"deploy a/b":                     "slash",
		"cutover api":                    "an argument is missing",
		"cutover api purple":             `unknown colour "purple": expected blue or green`,
		"cutover api green -force":       "-force needs -why",
		"validate":                       "an argument is missing",
		"work -colour blue -- x":         "which service's jobs?",
		"work -service api -- x":         "which colour",
		"work -service api -colour red":  "unknown colour",
		"work -service api -colour blue": "no command to run",
		"init":                           "which job?",
		"agent something":                "too many arguments",
	} {
		t.Run(line, func(t *testing.T) {
			r := teal(t, strings.Fields(line)...)
			r.want(t, exitError, "", want)
			if strings.Contains(r.err, "%!") {
				t.Errorf("raw formatting: %s", r.err)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	teal(t, "version").want(t, exitOK, "teal ", "")
	teal(t, "-version").want(t, exitOK, "teal ", "")
	teal(t, "version", "-json").want(t, exitOK, `"go": "go1`, "")
}
