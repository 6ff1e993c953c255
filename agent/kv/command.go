package kv

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"
)

// Verb is what a command asks for.
type Verb string

// The verbs. Every one but Plan changes something.
const (
	Deploy   Verb = "deploy"   // release what the policy says now; value: variables to override
	Plan     Verb = "plan"     // say what deploy would change; changes nothing
	Approve  Verb = "approve"  // value: the hash approved, or empty for what waits now
	Cutover  Verb = "cutover"  // value: the colour
	Rollback Verb = "rollback" // send traffic back to the previous colour
	Abort    Verb = "abort"    // give a release up before cutover
	Pause    Verb = "pause"    // nothing moves forward by itself
	Resume   Verb = "resume"   // go on; also accepts what Teal held for
	Release  Verb = "release"  // give the service back to plain Consul and Nomad
)

// Verbs lists the verbs in the order people are shown them.
var Verbs = []Verb{Deploy, Plan, Approve, Cutover, Rollback, Abort, Pause, Resume, Release}

// Known says whether v is a verb.
func (v Verb) Known() bool {
	for _, k := range Verbs {
		if k == v {
			return true
		}
	}
	return false
}

// VerbNames is the list for messages.
func VerbNames() string {
	names := make([]string, len(Verbs))
	for i, v := range Verbs {
		names[i] = string(v)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// Command is what an operator asks for. As a key's value it is either JSON or
// bare text, which is Arg: `consul kv put teal/commands/api/cutover green`.
type Command struct {
	Arg   string            `json:"arg,omitempty"`
	Vars  map[string]string `json:"vars,omitempty"`
	By    string            `json:"by,omitempty"` // as the client says; Consul's ACLs decide, not this
	Force bool              `json:"force,omitempty"`
	Why   string            `json:"why,omitempty"`
}

// ParseCommand reads a command key's value. Bare text is the argument; text
// that begins with "{" must be a well-formed command.
func ParseCommand(value []byte) (Command, error) {
	text := strings.TrimSpace(string(value))
	if !strings.HasPrefix(text, "{") {
		return Command{Arg: text, By: "consul kv"}, nil
	}
	var c Command
	dec := json.NewDecoder(strings.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(&c)
	if err == nil && dec.InputOffset() != int64(len(text)) {
		err = errors.New("something follows its end")
	}
	if err != nil {
		return Command{}, fmt.Errorf(`command is not valid: %w; expected bare text or JSON with arg, vars, by, force, why`, err)
	}
	if c.By == "" {
		c.By = "consul kv"
	}
	return c, nil
}

// Result is what became of a command.
type Result struct {
	// Index is the ModifyIndex of the command it answers.
	Index    uint64    `json:"index"`
	Accepted bool      `json:"accepted"`
	Reason   string    `json:"reason"`
	At       time.Time `json:"at"`
	By       string    `json:"by"` // who gave the command
	// Deployment is the ID of the deployment the command began or touched.
	Deployment string `json:"deployment,omitempty"`
	// Output is what plan found, for people.
	Output string `json:"output,omitempty"`
}

// AgentInfo is what each agent says of itself under teal/agents/<name>.
type AgentInfo struct {
	Name     string    `json:"name"`
	Address  string    `json:"address"` // of its HTTP surface
	Version  string    `json:"version"`
	Policies string    `json:"policies"`         // digest over all its policies
	Count    int       `json:"count"`            // how many
	Errors   []string  `json:"errors,omitempty"` // of policy files it could not load
	Since    time.Time `json:"since"`
	Leader   bool      `json:"leader"`
}

// AuditHead is the end of an agent's audit file as it last noted it.
type AuditHead struct {
	Name    string    `json:"name"` // of the agent
	Path    string    `json:"path"` // on its machine
	Seq     uint64    `json:"seq"`  // number of the last line
	Hash    string    `json:"hash"` // SHA-256 of it
	At      time.Time `json:"at"`
	Trouble string    `json:"trouble,omitempty"` // why it cannot be written
}
