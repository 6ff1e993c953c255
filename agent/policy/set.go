package policy

import (
	"cmp"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// Set is all policies of a path as they were at one moment. It is immutable,
// and shares policies with the sets before and after it.
type Set struct {
	// Broken says why a service's policy as it now stands on disk is not in
	// force. If the service is among Policies all the same, that is its last
	// good policy.
	Broken map[string]hcl.Diagnostics
	// Files are the files that were read, by path, with the SHA-256 of their
	// text: policies, jobspecs, and what file() named.
	Files map[string]string
	// Digest identifies the policies in force with their jobspecs and
	// variables. Agents with equal digests would do the same; paths,
	// comments and formatting make no difference.
	Digest string
	// Sources are the texts to print diagnostics with: of the policy files
	// that have any.
	Sources map[string]*hcl.File

	policies []*Policy // in the order of their services' names
}

// Empty is the set that has no policies.
func Empty() *Set { return newSet(nil) }

// Policies are those in force, in the order of their services' names.
func (s *Set) Policies() []*Policy { return slices.Clone(s.policies) }

// Len is how many policies are in force.
func (s *Set) Len() int { return len(s.policies) }

// Policy is the policy in force for a service, or nil.
func (s *Set) Policy(service string) *Policy {
	at, ok := slices.BinarySearchFunc(s.policies, service, func(p *Policy, service string) int {
		return cmp.Compare(p.Service, service)
	})
	if !ok {
		return nil
	}
	return s.policies[at]
}

// newSet puts policies in order and takes their digest.
func newSet(policies []*Policy) *Set {
	slices.SortFunc(policies, func(a, b *Policy) int { return cmp.Compare(a.Service, b.Service) })
	digests := make([]string, len(policies))
	for i, p := range policies {
		digests[i] = p.digest
	}
	return &Set{
		Broken:   map[string]hcl.Diagnostics{},
		Files:    map[string]string{},
		Digest:   shortHash(digests...),
		Sources:  map[string]*hcl.File{},
		policies: policies,
	}
}
