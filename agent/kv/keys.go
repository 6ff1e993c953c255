// Package kv is Teal's contract in Consul KV: where each key lives, what a
// command and its result look like. The agent, the CLI and `consul kv put`
// meet here and nowhere else. It does no I/O. docs/kv.md describes it for
// operators.
package kv

import (
	"strings"

	"github.com/tealdeploy/teal/agent/deployment"
)

// DefaultPrefix is where the keys live unless the agent's config says
// otherwise.
const DefaultPrefix = "teal/"

// Keys builds the paths below one prefix.
type Keys struct{ prefix string }

// NewKeys uses prefix, with or without its trailing slash.
func NewKeys(prefix string) Keys {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return Keys{strings.TrimSuffix(prefix, "/") + "/"}
}

// Prefix is the root of all keys, ending in a slash.
func (k Keys) Prefix() string { return k.prefix }

// Leader is the agents' lock.
func (k Keys) Leader() string { return k.prefix + "leader" }

// Agents is the prefix under which each agent says who it is and which
// policies it holds; Agent is one agent's key.
func (k Keys) Agents() string           { return k.prefix + "agents/" }
func (k Keys) Agent(name string) string { return k.Agents() + name }

// Audits is the prefix under which each agent notes the end of its audit file,
// so that the file can be held against it; Audit is one agent's key.
func (k Keys) Audits() string           { return k.prefix + "audit/" }
func (k Keys) Audit(name string) string { return k.Audits() + name }

// Notices is the prefix of what is still to be told; Notice is one of them.
func (k Keys) Notices() string              { return k.prefix + "notices/" }
func (k Keys) Notice(svc, id string) string { return k.Notices() + svc + "/" + id }

// Services is the prefix of all services' keys.
func (k Keys) Services() string { return k.prefix + "services/" }

// Service is the prefix of one service's keys.
func (k Keys) Service(svc string) string { return k.Services() + svc + "/" }

// Active holds the serving colour, for scripts and templates.
func (k Keys) Active(svc string) string { return k.Service(svc) + "active" }

// State holds the record: deployment.Service as JSON.
func (k Keys) State(svc string) string { return k.Service(svc) + "state" }

// Deployments is the prefix of finished records; Deployment one of them.
func (k Keys) Deployments(svc string) string    { return k.Service(svc) + "deployments/" }
func (k Keys) Deployment(svc, id string) string { return k.Deployments(svc) + id }

// JobProcessor holds blue, green or none: who may process background jobs.
func (k Keys) JobProcessor(svc string) string { return k.Service(svc) + "job-processor-leader" }

// Workers is the prefix of a service's working workers, of one colour or all.
func (k Keys) Workers(svc string, c deployment.Colour) string {
	if !c.Valid() {
		return k.Service(svc) + "workers/"
	}
	return k.Service(svc) + "workers/" + string(c) + "/"
}

// Worker is held by a worker's session while it processes.
func (k Keys) Worker(svc string, c deployment.Colour, id string) string {
	return k.Workers(svc, c) + id
}

// Commands is the prefix of all commands; Command is where one is put.
func (k Keys) Commands() string                  { return k.prefix + "commands/" }
func (k Keys) Command(svc string, v Verb) string { return k.Commands() + svc + "/" + string(v) }

// Results is the prefix of a service's results; Result is what became of the
// last command of a verb.
func (k Keys) Results(svc string) string        { return k.prefix + "results/" + svc + "/" }
func (k Keys) Result(svc string, v Verb) string { return k.Results(svc) + string(v) }

// Approvals is the prefix of the approvers' keys; Approval is the one by which
// one of them consents to what waits of a service. Whoever may write it is that
// approver: Consul's ACLs say who.
func (k Keys) Approvals() string               { return k.prefix + "approvals/" }
func (k Keys) Approval(who, svc string) string { return k.Approvals() + who + "/" + svc }

// SplitApproval takes an approver's key apart. ok is false for keys that are not
// of the form <prefix>approvals/<who>/<svc>.
func (k Keys) SplitApproval(key string) (who, svc string, ok bool) {
	rest, found := strings.CutPrefix(key, k.Approvals())
	if !found {
		return "", "", false
	}
	who, svc, found = strings.Cut(rest, "/")
	if !found || svc == "" || strings.Contains(svc, "/") || ApproverName(who) != nil {
		return "", "", false
	}
	return who, svc, true
}

// SplitCommand takes a command's key apart. ok is false for keys that are not
// of the form <prefix>commands/<svc>/<verb>; the verb may still be unknown.
func (k Keys) SplitCommand(key string) (svc string, verb Verb, ok bool) {
	rest, found := strings.CutPrefix(key, k.Commands())
	if !found {
		return "", "", false
	}
	svc, v, found := strings.Cut(rest, "/")
	if !found || svc == "" || v == "" || strings.Contains(v, "/") {
		return "", "", false
	}
	return svc, Verb(v), true
}

// SplitState takes a record's key apart.
func (k Keys) SplitState(key string) (svc string, ok bool) {
	rest, found := strings.CutPrefix(key, k.Services())
	if !found {
		return "", false
	}
	svc, leaf, found := strings.Cut(rest, "/")
	return svc, found && leaf == "state" && svc != ""
}

// States are the records' keys of the services whose prefixes are given. What
// is no such prefix is left out.
func (k Keys) States(folders []string) []string {
	var keys []string
	for _, folder := range folders {
		rest, found := strings.CutPrefix(folder, k.Services())
		svc, ended := strings.CutSuffix(rest, "/")
		if found && ended && svc != "" && !strings.Contains(svc, "/") {
			keys = append(keys, k.State(svc))
		}
	}
	return keys
}
