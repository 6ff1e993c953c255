package nomad

import (
	"context"
	"fmt"

	"github.com/hashicorp/nomad/api"
)

// Parse has Nomad itself read a jobspec, with values for its variables in the
// form of a variables file, and fill in its defaults. What is wrong with it
// is an ErrInvalid in Nomad's own words, with line and column; Nomad calls
// the file input.hcl. Values for variables that the jobspec does not declare
// are ignored by Nomad.
func (c *Client) Parse(ctx context.Context, source, variables string) (*api.Job, error) {
	op := request{what: "parse jobspec", need: `namespace "default" { capabilities = ["parse-job"] }, or submit-job`}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	in := &api.JobsParseRequest{JobHCL: source, Variables: variables, Canonicalize: true}
	job := new(api.Job)
	if _, err := c.api.Raw().Write("/v1/jobs/parse", in, job, c.writing(limited, "")); err != nil {
		return nil, op.failed(ctx, err)
	}
	if value(job.ID) == "" {
		return nil, &Error{Op: op.what, Kind: ErrInvalid, Err: fmt.Errorf("it has no job block")}
	}
	return job, nil
}
