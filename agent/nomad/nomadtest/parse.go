package nomadtest

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/tealdeploy/teal/agent/nomad"
)

//go:embed testdata/contract.nomad.hcl
var contractSource string

//go:embed testdata/contract.json
var contractJob string

// AddSource tells the fake what a jobspec's text parses to: the job as JSON,
// in which ${var.NAME} and ${var.NAME:DEFAULT} stand for variables' values. A
// source that is itself such JSON needs no telling.
func (s *Server) AddSource(source, job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sources[source] = job
}

var (
	reference = regexp.MustCompile(`\$\{var\.([A-Za-z0-9_]+)(?::([^}]*))?\}`)
	binding   = regexp.MustCompile(`(?m)^\s*"?([A-Za-z0-9_]+)"?\s*=\s*(.*?)\s*$`)
)

// Parse is nomad.Client's.
func (c *Client) Parse(ctx context.Context, source, variables string) (job *api.Job, err error) {
	readErr := c.read(ctx, "Parse", "", func(uint64) { job, err = c.s.parse(source, variables) })
	if readErr != nil {
		return nil, readErr
	}
	return job, err
}

func (s *Server) parse(source, variables string) (*api.Job, error) {
	template, ok := s.sources[source]
	if !ok {
		template = source
	}
	wrong := func(line int, words string) error {
		said := fmt.Sprintf("Failed to parse job: input.hcl:%d,1-2: %s", line, words) // as Nomad has it
		return &nomad.Error{Op: "parse jobspec", Kind: nomad.ErrInvalid, Err: errors.New(said)}
	}
	values := map[string]string{}
	for _, m := range binding.FindAllStringSubmatch(variables, -1) {
		values[m[1]] = strings.Trim(m[2], `"`)
	}
	unset := ""
	filled := reference.ReplaceAllStringFunc(template, func(ref string) string {
		m := reference.FindStringSubmatch(ref)
		if v, ok := values[m[1]]; ok {
			return v
		}
		if !strings.Contains(ref, ":") {
			unset = m[1]
		}
		return m[2]
	})
	if unset != "" {
		return nil, wrong(1, fmt.Sprintf("Unset variable %q", unset))
	}
	job := new(api.Job)
	if err := json.Unmarshal([]byte(filled), job); err != nil {
		line := 1
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line += strings.Count(filled[:syntax.Offset], "\n")
		}
		return nil, wrong(line, err.Error())
	}
	if value(job.ID) == "" {
		return nil, wrong(1, "a job block is missing")
	}
	job.Canonicalize()
	return job, nil
}
