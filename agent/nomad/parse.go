package nomad

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// Parse has Nomad itself read a jobspec, with values for its variables in the
// form of a variables file, and fill in its defaults. What is wrong with it
// is an ErrInvalid in Nomad's own words, with line and column; Nomad calls
// the file input.hcl. Values for variables that the jobspec does not declare
// are ignored by Nomad. A jobspec that names no namespace is for the client's,
// as with `nomad job run`.
func (c *Client) Parse(ctx context.Context, source, variables string) (*api.Job, error) {
	job, err := c.parse(ctx, source, variables, true)
	if err != nil || c.namespace == "" || value(job.Namespace) != api.DefaultNamespace {
		return job, err
	}
	// "default" is also what Nomad fills in where there is none.
	written, err := c.parse(ctx, source, variables, false)
	if err != nil {
		return nil, err
	}
	if value(written.Namespace) == "" {
		own := c.namespace
		job.Namespace = &own
	}
	return job, nil
}

func (c *Client) parse(ctx context.Context, source, variables string, defaults bool) (*api.Job, error) {
	namespace := cmp.Or(c.namespace, api.DefaultNamespace)
	op := request{c: c, operation: "parse", what: "parse jobspec", need: fmt.Sprintf(`namespace %q { capabilities = ["parse-job"] }, or submit-job`, namespace)}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	in := &api.JobsParseRequest{JobHCL: source, Variables: variables, Canonicalize: defaults}
	job := new(api.Job)
	if _, err := c.api.Raw().Write("/v1/jobs/parse", in, job, c.writing(limited, "")); err != nil {
		return nil, op.failed(ctx, err)
	}
	if value(job.ID) == "" {
		return nil, &Error{Op: op.what, Kind: ErrInvalid, Err: fmt.Errorf("it has no job block")}
	}
	return job, nil
}
