package gates

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"

	"github.com/tealdeploy/teal/agent/hclbody"
	"github.com/tealdeploy/teal/agent/redact"
)

// exitUnknown is sysexits' EX_TEMPFAIL: a command that ends with it could not
// find out, which is neither a pass nor a failure.
const exitUnknown = 75

// errExecOff is told by a gate that may not run anything.
var errExecOff = errors.New("this agent runs no commands for gates: allow them in its config with gates { exec = true }, or use a nomad-job gate")

// Exec is the gate of kind "exec": a command on the leading agent's machine, as
// the agent's user. It passes when the command ends with 0, could not find out
// when it ends with 75, and fails else or when its time is up; then it is killed
// with all that it has started. It inherits nothing of the agent's environment.
type Exec struct {
	Command []string
	Env     map[string]string
	Dir     string
}

func decodeExec(body hcl.Body, eval *hcl.EvalContext) (Gate, hcl.Diagnostics) {
	g := Exec{Dir: "/"}
	d := hclbody.New(`gate "exec"`, eval)
	d.Strings("command", &g.Command, hclbody.Required)
	d.StringMap("env", &g.Env)
	d.String("dir", &g.Dir, hclbody.NotEmpty)
	d.Elsewhere(shared...)
	d.Decode(body)
	switch {
	case !d.Has("command"):
	case g.Command == nil: // no list, which was reported
	case len(g.Command) == 0:
		d.Errorf("command", "No command", `The command is empty; write command = ["/usr/local/bin/smoke", "--quick"].`)
	case !filepath.IsAbs(g.Command[0]):
		d.Errorf("command", "No absolute path", "%q is searched for nowhere; write the whole path. A line of shell is [\"/bin/sh\", \"-ec\", \"…\"].", g.Command[0])
	}
	if !filepath.IsAbs(g.Dir) {
		d.Errorf("dir", "No absolute path", "%q is not where every agent would find it; write the whole path.", g.Dir)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Env)) {
		switch {
		case !envName.MatchString(name):
			d.Errorf("env", "Wrong name of a variable", "%q cannot be the name of an environment variable.", name)
		case strings.HasPrefix(name, "TEAL_"):
			d.Errorf("env", "Contradictory gate", "%s is set by Teal: names that begin with TEAL_ are its own.", name)
		case strings.ContainsRune(g.Env[name], 0):
			d.Errorf("env", "Wrong value of a variable", "The value of %s holds a zero byte.", name)
		}
	}
	return g, d.Diagnostics()
}

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// Check implements Gate.
func (g Exec) Check(ctx context.Context, target Target) (Finding, error) {
	if !target.MayExec {
		return Finding{}, errExecOff
	}
	given, missing := target.given()
	if missing != "" {
		return Finding{Reason: missing}, nil
	}
	output := &ending{most: maxRead}
	began := time.Now()
	code, err := runGroup(ctx, g.Command, g.environment(given), g.Dir, output)
	took := time.Since(began)
	if errors.Is(ctx.Err(), context.Canceled) {
		return Finding{}, ctx.Err()
	}
	hidden := spoken(g.Env)
	f := Finding{Figures: map[string]string{"took": took.Round(time.Millisecond).String()}}
	if text := strings.TrimSpace(output.text()); text != "" {
		f.Figures[figureLog] = hidden.Scrub(hidden.Beheaded(text))
	}
	name := filepath.Base(g.Command[0])
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f.Verdict, f.Reason = Fail, fmt.Sprintf("%s did not end in time and was killed", name)
		return f, nil
	case err != nil:
		return f, fmt.Errorf("%s cannot be run: %w", name, err)
	}
	f.Figures["exit_code"] = strconv.Itoa(code)
	switch code {
	case 0:
		f.Verdict, f.Reason = Pass, name+" ended with 0"
	case exitUnknown:
		f.Reason = fmt.Sprintf("%s ended with %d: it could not find out", name, code)
	default:
		f.Verdict, f.Reason = Fail, fmt.Sprintf("%s ended with %d", name, code)
	}
	return f, nil
}

// environment is all that the command is given: nothing of the agent's, which
// holds tokens.
func (g Exec) environment(given map[string]string) []string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}
	maps.Copy(env, g.Env)
	for name, value := range given {
		env[strings.ToUpper(name)] = value
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		all = append(all, name+"="+env[name])
	}
	return all
}

// ending keeps the end of what is written to it.
type ending struct {
	most int
	kept []byte
}

func (e *ending) Write(p []byte) (int, error) {
	e.kept = append(e.kept, p...)
	if extra := len(e.kept) - e.most; extra > 0 {
		e.kept = append(e.kept[:0], e.kept[extra:]...)
	}
	return len(p), nil
}

// text leaves out a first line of which the beginning is gone, which may be the rest of
// a secret, unless there is no other.
func (e *ending) text() string {
	return redact.WholeLines(string(e.kept), e.most)
}
