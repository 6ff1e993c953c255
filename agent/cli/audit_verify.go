package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/posener/complete"

	"github.com/tealdeploy/teal/agent/audit"
	"github.com/tealdeploy/teal/agent/kv"
)

type auditVerifyCommand struct {
	meta
	head  string
	agent string
}

func (c *auditVerifyCommand) options() *options {
	o := newOptions()
	o.add("Verify options", func(set *flagSet) {
		set.StringVar(&c.head, "head", "", "A `line` that was noted elsewhere and has to be there, as its number and hash: 812:9f2c… The agent's log and 'teal status' name them.")
		set.StringVar(&c.agent, "agent", "", "Hold the files against the end that the agent of this `name` noted in Consul.")
		c.output(set)
	})
	o.add("Consul options, for -agent", c.consul.define)
	return o
}

func (c *auditVerifyCommand) Synopsis() string {
	return "Find lines that were changed, moved or removed"
}

func (c *auditVerifyCommand) Help() string {
	return c.help(`
Usage: teal audit verify [options] <path>...

  Follow the chain of hashes through one agent's audit files, in whatever order
  they are given, and name each line that was changed, moved, removed or cut
  off. Without -agent no server is asked.

  A chain that is whole shows that no line was touched that others follow. It
  does not show that nobody wrote the file anew from some line on: for that,
  hold it against a hash that was noted where that person cannot write (-head,
  -agent).

  The exit code is 0 when the chain is whole, 3 when it is not, and 1 when a
  file cannot be read.

      $ teal audit verify /var/log/teal/audit.log*
      $ teal audit verify -agent teal-1 /var/log/teal/audit.log*`, c.options())
}

func (c *auditVerifyCommand) AutocompleteArgs() complete.Predictor { return complete.PredictFiles("*") }
func (c *auditVerifyCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *auditVerifyCommand) Run(args []string) int {
	args, ok := c.parse("audit verify", c.options(), args, 1, -1)
	if !ok {
		return exitError
	}
	expect, err := c.expected()
	if err != nil {
		return c.complain(err)
	}
	v, err := audit.Verify(args, expect)
	if err != nil {
		var why *fs.PathError
		if errors.As(err, &why) {
			err = fmt.Errorf("%s cannot be read: %w", why.Path, why.Err)
		}
		return c.complain(err)
	}
	code := exitOK
	if !v.Intact() {
		code = exitFailed
	}
	if c.json {
		c.document(struct {
			Intact bool `json:"intact"`
			audit.Verdict
		}{v.Intact(), v})
		return code
	}
	c.print(v)
	return code
}

func (c *auditVerifyCommand) print(v audit.Verdict) {
	var rows [][]string
	for _, p := range v.Pieces {
		what := "no lines"
		if p.Lines > 0 {
			what = fmt.Sprintf("lines %d to %d", p.First, p.Last)
		}
		rows = append(rows, []string{safe(p.File), what})
	}
	c.term.print("%s", strings.Join(table(rows), "\n"))
	if v.First > 1 {
		c.term.print("It begins with line %d: earlier files were not given.", v.First)
	}
	for _, g := range v.Gaps {
		c.term.print("%s %s", c.term.paint(yellow, "GAP"), safe(g.String()))
	}
	for _, f := range v.Findings {
		c.term.print("%s %s", c.term.paint(red, "BROKEN"), safe(f.String()))
	}
	if v.More > 0 {
		c.term.print("and %d more.", v.More)
	}
	switch {
	case !v.Intact():
		c.term.fail("the chain is broken in %s", plural(len(v.Findings)+v.More, "place", "places"))
	case v.Lines == 0:
		c.term.print("There is nothing in it.")
	default:
		c.term.print("%s: %s, the last is %d:%s", c.term.paint(greenC, "Whole"), plural(v.Lines, "line", "lines"), v.Head.Seq, v.Head.Hash)
	}
}

// expected is the line that has to be there.
func (c *auditVerifyCommand) expected() (audit.Head, error) {
	switch {
	case c.head != "" && c.agent != "":
		return audit.Head{}, errors.New("-head and -agent: give one of them")
	case c.agent != "":
		return c.noted()
	case c.head == "":
		return audit.Head{}, nil
	}
	number, hash, ok := strings.Cut(c.head, ":")
	seq, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || seq == 0 || len(hash) != len(audit.Origin) {
		return audit.Head{}, fmt.Errorf("-head %q: expected the number of a line, a colon and its SHA-256 in hex", c.head)
	}
	return audit.Head{Seq: seq, Hash: strings.ToLower(hash)}, nil
}

// noted reads what an agent noted of its file in Consul.
func (c *auditVerifyCommand) noted() (audit.Head, error) {
	s, err := c.consul.open()
	if err != nil {
		return audit.Head{}, err
	}
	key := s.keys.Audit(c.agent)
	pair, _, err := s.get(c.ctx, key, 0)
	if err != nil {
		return audit.Head{}, err
	}
	var h kv.AuditHead
	if pair == nil {
		return audit.Head{}, fmt.Errorf("agent %s has noted no audit file in Consul: there is no key %s", safe(c.agent), safe(key))
	}
	if err := json.Unmarshal(pair.Value, &h); err != nil || h.Seq == 0 || len(h.Hash) != len(audit.Origin) {
		return audit.Head{}, fmt.Errorf("%s names no line of an audit file: its agent has not written any, or somebody else has written the key", safe(key))
	}
	return audit.Head{Seq: h.Seq, Hash: h.Hash}, nil
}
