package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/user"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/kv"
)

// withdrawWithin bounds taking a command back after the waiting has ended.
const withdrawWithin = 3 * time.Second

// send puts a command where the leading agent takes it and waits for the
// answer to exactly this command. A command that nobody takes in time is
// withdrawn: it must not be obeyed hours later by the next agent. The error
// is about the sending; a refusal is a Result.
func (m *meta) send(s *store, svc string, verb kv.Verb, c kv.Command) (kv.Result, error) {
	ctx, cancel := context.WithTimeout(m.ctx, m.timeout)
	defer cancel()
	c.By = whoami()
	value, err := json.Marshal(c)
	if err != nil {
		return kv.Result{}, err
	}
	key := s.keys.Command(svc, verb)
	// Who may not see the answer must not find that out after the deed.
	if _, _, err := s.get(ctx, s.keys.Result(svc, verb), 0); err != nil {
		return kv.Result{}, m.late(err, key)
	}
	index, err := m.put(ctx, s, svc, verb, value)
	if err != nil {
		return kv.Result{}, err
	}

	var result kv.Result
	answered := false
	err = s.watch(ctx, s.keys.Result(svc, verb), func(p *api.KVPair) bool {
		result, answered = answer(p, index)
		return answered
	}, func(error) {})
	if answered {
		return overtaken(result, index)
	}
	if ctx.Err() == nil {
		return kv.Result{}, fmt.Errorf("%w\n\nThe command itself was put, and an agent will take it", err)
	}

	after, stop := context.WithTimeout(context.WithoutCancel(m.ctx), withdrawWithin)
	defer stop()
	gone, err := s.withdraw(after, key, index)
	switch {
	case err != nil:
		return kv.Result{}, fmt.Errorf("the command may still be at %s, waiting for an agent: %w", key, err)
	case !gone: // taken at the last moment
		p, _, err := s.get(after, s.keys.Result(svc, verb), 0)
		if err == nil {
			if result, ok := answer(p, index); ok {
				return overtaken(result, index)
			}
		}
		return kv.Result{}, outcome{fmt.Sprintf("an agent took the command, but has not answered yet. 'teal status %s' shows what it does.", svc), exitUnknown}
	case m.ctx.Err() != nil:
		return kv.Result{}, outcome{"interrupted; no agent had taken the command, and it was withdrawn.", exitUnknown}
	}
	return kv.Result{}, m.nobody(after, s)
}

// put creates the command's key, after any other command of the same verb
// that still waits there.
func (m *meta) put(ctx context.Context, s *store, svc string, verb kv.Verb, value []byte) (uint64, error) {
	key := s.keys.Command(svc, verb)
	told := false
	var at uint64
	for {
		index, created, err := s.create(ctx, key, value)
		if created || err != nil {
			return index, m.late(err, key)
		}
		p, next, err := s.get(ctx, key, at)
		if err != nil {
			return 0, m.late(err, key)
		}
		at = next
		if p == nil {
			at = 0
			continue
		}
		if !told {
			told = true
			by := "somebody"
			if other, err := kv.ParseCommand(p.Value); err == nil && other.By != "" {
				by = safe(other.By)
			}
			m.term.note("Another %s of %s, by %s, has not been taken by an agent yet; waiting for it.", verb, svc, by)
		}
	}
}

// late explains why a command could not even be put.
func (m *meta) late(err error, key string) error {
	if err == nil || m.ctx.Err() != nil {
		return err
	}
	if code(err) == exitUnknown {
		return outcome{fmt.Sprintf("another command at %s is still waiting for an agent; yours was not sent. If no agent leads ('teal status' tells), 'consul kv delete %s' clears it.", key, key), exitUnreachable}
	}
	return err
}

// nobody says why a command was not taken.
func (m *meta) nobody(ctx context.Context, s *store) error {
	leader, err := s.leader(ctx)
	switch {
	case err != nil:
		return err
	case leader == "":
		return outcome{fmt.Sprintf("no agent leads, so nobody took the command within %s; it was withdrawn. 'teal status' shows the agents.", m.timeout), exitUnreachable}
	}
	return outcome{fmt.Sprintf("agent %s leads but did not take the command within %s; it was withdrawn. Its log and 'teal status' tell more.", leader, m.timeout), exitUnknown}
}

// answer reads a result; ok when it is of this command or a later one.
func answer(p *api.KVPair, index uint64) (kv.Result, bool) {
	var r kv.Result
	if p == nil || json.Unmarshal(p.Value, &r) != nil || r.Index < index {
		return kv.Result{}, false
	}
	return r, true
}

// overtaken turns the result of a later command into an error: ours was taken
// and answered, but the answer is gone.
func overtaken(r kv.Result, index uint64) (kv.Result, error) {
	if r.Index == index {
		return r, nil
	}
	return kv.Result{}, outcome{"the command was taken, but a later one of the same kind has replaced its answer. 'teal status' and 'teal history' show what happened.", exitUnknown}
}

// whoami is user@host, for the record. It proves nothing; Consul's ACLs do.
func whoami() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil && u.Username != "" {
		name = u.Username
	}
	if name == "" {
		name = "unknown"
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return name
	}
	return name + "@" + host
}
