package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/nomad/api"
	"github.com/posener/complete"
)

type initCommand struct {
	meta
	nomad   nomadFlags
	job     string
	service string
	to      string
}

func (c *initCommand) options() *options {
	o := newOptions()
	o.add("Init options", func(set *flagSet) {
		set.StringVar(&c.job, "job", "", "The Nomad `job` to begin with.")
		set.StringVar(&c.service, "service", "", "The `service` whose traffic is moved, when the job has several.")
		set.StringVar(&c.to, "o", "", "The policy `file` to write; the jobspec goes beside it. Defaults to <service>.hcl; - prints the policy and writes nothing.")
		set.BoolVar(&c.noColor, "no-color", false, "Print without colour. NO_COLOR does the same.")
	})
	o.add("Nomad options", c.nomad.define)
	return o
}

func (c *initCommand) Synopsis() string { return "Write a first policy from a running job" }

func (c *initCommand) Help() string {
	return c.help(`
Usage: teal init -job <job> [options]

  Write a starting policy for a service that already runs as an ordinary Nomad
  job, and the jobspec it was submitted with beside it. Nomad is only read,
  and no file is ever overwritten. Nothing changes until an agent gets the
  policy; it then takes the running job over as it is.

      $ teal init -job api
      $ teal validate api.hcl
      $ cp api.hcl api.nomad.hcl policies/`, c.options())
}

func (c *initCommand) AutocompleteArgs() complete.Predictor { return complete.PredictNothing }
func (c *initCommand) AutocompleteFlags() complete.Flags    { return c.options().predict() }

func (c *initCommand) Run(args []string) int {
	args, ok := c.parse("init", c.options(), args, 0, 1)
	if !ok {
		return exitError
	}
	if c.job == "" && len(args) == 1 { // teal init api
		c.job, args = args[0], nil
	}
	if c.job == "" || len(args) > 0 {
		c.term.fail("which job? 'teal init -job api' reads it from Nomad.")
		return exitError
	}
	client, err := c.nomad.open()
	if err != nil {
		return c.complain(err)
	}
	start, err := c.beginning(client)
	if err != nil {
		return c.complain(err)
	}
	if c.to == "-" {
		fmt.Fprint(c.term.out, start.policy())
		return exitOK
	}
	return c.write(start)
}

// beginning reads from Nomad what a first policy needs.
func (c *initCommand) beginning(client *api.Client) (beginning, error) {
	q := (&api.QueryOptions{}).WithContext(c.ctx)
	job, _, err := client.Jobs().Info(c.job, q)
	if err != nil {
		return beginning{}, c.nomad.explain(err, c.job)
	}
	start, err := begin(job, c.service)
	if err != nil {
		return beginning{}, err
	}
	if job.Version == nil {
		return start, nil
	}
	q = (&api.QueryOptions{Namespace: deref(job.Namespace)}).WithContext(c.ctx)
	submission, _, err := client.Jobs().Submission(c.job, int(*job.Version), q)
	if err != nil {
		var status api.UnexpectedResponseError
		if !errors.As(err, &status) || status.StatusCode() != 404 {
			return beginning{}, c.nomad.explain(err, c.job)
		}
	}
	return start, start.submitted(submission)
}

// write creates both files, or neither.
func (c *initCommand) write(start beginning) int {
	if c.to == "" {
		c.to = start.service + ".hcl"
	}
	jobspec := filepath.Join(filepath.Dir(c.to), start.jobspecName())
	if jobspec == filepath.Clean(c.to) {
		return c.complain(fmt.Errorf("%s is where the jobspec goes; give the policy another name with -o", jobspec))
	}
	if start.source != "" {
		if err := create(jobspec, start.source); err != nil {
			return c.complain(err)
		}
	}
	if err := create(c.to, start.policy()); err != nil {
		if start.source != "" {
			err = errors.Join(err, os.Remove(jobspec))
		}
		return c.complain(err)
	}
	c.term.print("Wrote %s: the policy of %s.", c.to, start.service)
	if start.source != "" {
		c.term.print("Wrote %s: the jobspec as it was submitted.", jobspec)
	} else {
		c.term.note("%s Nomad does not have the text this job was submitted with. Put its jobspec at %s.", c.term.paint(yellow, "Note:"), jobspec)
	}
	c.term.print("Next: look it over, 'teal validate %s', and give both files to the agent.", c.to)
	return exitOK
}

// create writes a file that must not exist yet.
func create(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	switch {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s exists already, and is not overwritten. -o writes somewhere else", path)
	case err != nil:
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(path))
	}
	return nil
}
