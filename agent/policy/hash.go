package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/tealdeploy/teal/gates"
)

// Hash identifies what a candidate is judged by. It changes with every setting
// that bears on the judgement or on what follows it, and not with comments,
// formatting, the jobspec, its variables, or `auto`. A gate's pass is bound to
// it together with the hash of the job.
func (p *Policy) Hash() string {
	text, err := p.judgement()
	if err != nil {
		// Load has refused such a policy: only a gate or trigger that breaks
		// its contract comes here, and a made-up hash could let a stale pass
		// count.
		panic(fmt.Sprintf("policy of %s: %v", p.Service, err))
	}
	return shortHash(string(text))
}

// SourceHash identifies everything a release comes from: the jobspec's text,
// its variables with the overrides in force, and the policy.
func (p *Policy) SourceHash(overrides map[string]string) string {
	if p.source != "" && len(overrides) == 0 {
		return p.source
	}
	return shortHash(p.Job.SourceHash(overrides), p.Hash())
}

// Version is the version the policy's variables name, or empty.
func (p *Policy) Version(overrides map[string]string) string {
	return p.Job.Version(overrides)
}

// judgement is the canonical form that Hash is taken over.
func (p *Policy) judgement() ([]byte, error) {
	return json.Marshal(struct {
		Service, Namespace, Partition string

		Launch   Launch
		Gates    []gates.Named
		Approval Approval
		Cutover  Cutover
		Jobs     Jobs
		Watch    Watch
		Soak     Soak
	}{p.Service, p.Namespace, p.Partition, p.Launch, p.Gates, p.Approval, p.Cutover, p.Jobs, p.Watch, p.Soak})
}

// shortHash is twelve hex digits of the SHA-256 over parts, each with its
// length, so that no two lists of parts read the same.
func shortHash(parts ...string) string {
	h := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
