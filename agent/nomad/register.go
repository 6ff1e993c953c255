package nomad

import (
	"context"
	"errors"

	"github.com/hashicorp/nomad/api"
)

// Submission is a job as its author wrote it; Nomad's page shows it.
type Submission struct {
	Source    string
	Format    string // hcl2 or json
	Variables string // as the content of a variables file
}

// Registration is a job that Nomad accepted.
type Registration struct {
	EvalID   string
	Index    uint64 // the job's new JobModifyIndex
	Warnings []string
}

// Register writes a job if it still is at enforceIndex, its JobModifyIndex;
// 0 means that no job of this ID may exist. A stopped job that was not purged
// exists: read its index and register with that. ErrConflict means that
// somebody else was first, or that an earlier try of one's own took effect.
func (c *Client) Register(ctx context.Context, job *api.Job, enforceIndex uint64, sub Submission) (Registration, error) {
	at, namespace, id := c.home(job)
	op := c.ask("register", namespace, id, "submit-job")
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	opts := &api.RegisterOptions{EnforceIndex: true, ModifyIndex: enforceIndex}
	if sub.Source != "" {
		opts.Submission = &api.JobSubmission{Source: sub.Source, Format: sub.Format, Variables: sub.Variables}
	}
	r, _, err := at.api.Jobs().RegisterOpts(job, opts, at.writing(limited, namespace))
	if err != nil {
		return Registration{}, sent(op.failed(ctx, err))
	}
	return Registration{EvalID: r.EvalID, Index: r.JobModifyIndex, Warnings: warnings(r.Warnings)}, nil
}

// Submission is the source of the job's present version; ErrNotFound when
// the job, or its source, is not there.
func (c *Client) Submission(ctx context.Context, namespace, id string) (Submission, error) {
	op := c.ask("read the source of", namespace, id, "read-job")
	job, err := c.Job(ctx, namespace, id)
	if err != nil {
		return Submission{}, err
	}
	if job == nil {
		return Submission{}, &Error{Op: op.what, Kind: ErrNotFound, Err: errors.New("there is no such job")}
	}
	limited, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, _, err := c.api.Jobs().Submission(id, int(value(job.Version)), c.reading(limited, namespace))
	if err != nil {
		return Submission{}, op.failed(ctx, err)
	}
	if s == nil || s.Source == "" {
		return Submission{}, &Error{Op: op.what, Kind: ErrNotFound, Err: errors.New("the job was registered without its source")}
	}
	return Submission{Source: s.Source, Format: s.Format, Variables: s.Variables}, nil
}
