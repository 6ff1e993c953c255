package jobspec

import (
	"encoding/json"
	"fmt"
	"sort"

	"github.com/hashicorp/nomad/api"
)

// Change is one value that differs between two jobs.
type Change struct {
	Path string // such as TaskGroups[web].Tasks[server].Config.image
	Old  string // JSON; empty when it was not there
	New  string // JSON; empty when it is no longer there
}

func (c Change) String() string {
	switch {
	case c.Old == "":
		return fmt.Sprintf("+ %s: %s", c.Path, c.New)
	case c.New == "":
		return fmt.Sprintf("- %s: %s", c.Path, c.Old)
	}
	return fmt.Sprintf("~ %s: %s => %s", c.Path, c.Old, c.New)
}

// Diff lists what changes from a to b, less colour and whatever else Teal or
// the server writes, in a stable order. Counts are included. It compares
// jobspecs; what Nomad would do about it is told by Nomad's own plan.
func Diff(a, b *api.Job) ([]Change, error) {
	var trees [2]map[string]any
	for i, job := range []*api.Job{a, b} {
		tree, err := spec(job, "")
		if err != nil {
			return nil, fmt.Errorf("read job %s: %w", text(job.ID), err)
		}
		trees[i] = tree
	}
	var changes []Change
	compare("", trees[0], trees[1], &changes)
	changes = append(changes, countChanges(Counts(a), Counts(b))...)
	sort.SliceStable(changes, func(i, j int) bool { return changes[i].Path < changes[j].Path })
	return changes, nil
}

func countChanges(a, b map[string]int) []Change {
	var changes []Change
	for g, n := range b {
		if old, ok := a[g]; ok && old != n {
			changes = append(changes, Change{"TaskGroups[" + g + "].Count", fmt.Sprint(old), fmt.Sprint(n)})
		}
	}
	return changes
}

func compare(path string, a, b any, changes *[]Change) {
	if am, bm, ok := both[map[string]any](a, b); ok {
		for _, k := range union(am, bm) {
			p := k
			if path != "" {
				p = path + "." + k
			}
			compare(p, am[k], bm[k], changes)
		}
		return
	}
	if al, bl, ok := both[[]any](a, b); ok {
		if an, bn := named(al), named(bl); an != nil && bn != nil {
			for _, k := range union(an, bn) {
				compare(path+"["+k+"]", an[k], bn[k], changes)
			}
			return
		}
	}
	old, now := show(a), show(b)
	if old != now {
		*changes = append(*changes, Change{path, old, now})
	}
}

func both[T any](a, b any) (x, y T, ok bool) {
	x, ok = a.(T)
	if !ok {
		return x, y, false
	}
	y, ok = b.(T)
	return x, y, ok
}

// named takes a list of blocks with distinct names as a map; nil when it is
// not one.
func named(list []any) map[string]any {
	m := make(map[string]any, len(list))
	for _, v := range list {
		block, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		name, ok := block["Name"].(string)
		if !ok || name == "" || m[name] != nil {
			return nil
		}
		m[name] = block
	}
	return m
}

func union(a, b map[string]any) []string {
	keys := make([]string, 0, len(a))
	for k := range a {
		keys = append(keys, k)
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys
}

func show(v any) string {
	if v == nil {
		return ""
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}
