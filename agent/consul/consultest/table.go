package consultest

import (
	"sort"
	"strings"
)

// kept is how many versions of a row a stale answer can reach back.
const kept = 8

// table holds rows by name, in order, each with its last versions: a stale
// read sees the table as it was at an earlier index.
type table[V any] struct {
	rows  map[string][]version[V] // oldest first; a nil value means deleted
	names []string                // sorted, of every row that ever was
	last  uint64                  // index of the last change
}

type version[V any] struct {
	value  *V
	create uint64
	modify uint64
}

func (t *table[V]) put(name string, value *V, index uint64) version[V] {
	if t.rows == nil {
		t.rows = map[string][]version[V]{}
	}
	old, known := t.rows[name]
	if !known {
		at := sort.SearchStrings(t.names, name)
		t.names = append(t.names, "")
		copy(t.names[at+1:], t.names[at:])
		t.names[at] = name
	}
	v := version[V]{value: value, create: index, modify: index}
	if n := len(old); n > 0 && old[n-1].value != nil {
		v.create = old[n-1].create
	}
	if len(old) == kept {
		old = append(old[:0:0], old[1:]...)
	}
	t.rows[name] = append(old, v)
	t.last = index
	return v
}

// at is the row as it was at an index; ok is false when there was none.
func (t *table[V]) at(name string, index uint64) (version[V], bool) {
	rows := t.rows[name]
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].modify <= index {
			return rows[i], rows[i].value != nil
		}
	}
	return version[V]{}, false
}

// under calls f for each row below prefix as it was at an index, in order,
// and returns the last change below prefix, deletions included.
func (t *table[V]) under(prefix string, index uint64, f func(name string, v version[V])) (last uint64) {
	for i := sort.SearchStrings(t.names, prefix); i < len(t.names) && strings.HasPrefix(t.names[i], prefix); i++ {
		v, ok := t.at(t.names[i], index)
		last = max(last, v.modify)
		if ok && f != nil {
			f(t.names[i], v)
		}
	}
	return last
}
