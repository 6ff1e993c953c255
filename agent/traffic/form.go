package traffic

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deployment"
)

// form is what is particular to one kind of config entry; everything in it is
// pure. An entry given is never changed.
type form interface {
	kind() string
	// parts says which colour an entry sends requests to, its digest, and
	// what is not as Teal writes it.
	parts(e api.ConfigEntry) (c deployment.Colour, digest string, wrong []string)
	// framed is e with our frame around the user's part, all for colour c.
	framed(e api.ConfigEntry, c deployment.Colour, loose bool) api.ConfigEntry
	// moved is e with everything it sends to a colour sent to c, and whatever
	// else people made of it kept; only what c needs to work is put back.
	moved(e api.ConfigEntry, c deployment.Colour, loose bool) api.ConfigEntry
	// plain is the user's part: e without our frame and mark; nothing left to
	// speak of makes empty true.
	plain(e api.ConfigEntry) (p api.ConfigEntry, empty bool)
	// blank is an entry without content.
	blank(t Target) api.ConfigEntry
	// pinned lists what of a person's edit Teal cannot carry.
	pinned(e api.ConfigEntry) []string
	// differs says in what an edited entry is not what the record keeps.
	differs(t Target, e api.ConfigEntry) []string
	// adds says what our part of an entry is, for a plan.
	adds(e api.ConfigEntry) string
	// notes lists what a person should know of an edit that is carried.
	notes(e api.ConfigEntry) []string
}

// otherContent is said of an edit of which no more is known.
const otherContent = "its content is not what Teal wrote"

// inspect says what an entry says.
func inspect(f form, e api.ConfigEntry) Observed {
	m := readMark(e.GetMeta())
	colour, digest, wrong := f.parts(e)
	o := Observed{
		Service: e.GetName(), Namespace: e.GetNamespace(), Partition: e.GetPartition(),
		Exists: true, Owner: m.owner, Epoch: m.epoch, Move: m.move,
		Colour: colour, Digest: digest, Index: e.GetModifyIndex(),
	}
	o.Changes = wrong
	switch {
	case m.owner == "" || m.digest == "":
		o.Changes = append(o.Changes, "Teal's marks in Meta are gone")
	case m.digest != digest:
		o.Changes = append(o.Changes, otherContent)
	}
	if m.colour.Valid() && colour != m.colour {
		o.Changes = append(o.Changes, fmt.Sprintf("Teal sent requests to %s, it sends them to %s", m.colour, colour))
	}
	o.Edited = len(o.Changes) > 0
	return o
}

// stamped is framed with the mark that says so.
func stamped(f form, t Target, e api.ConfigEntry, c deployment.Colour, loose bool, move string) api.ConfigEntry {
	created := readMark(e.GetMeta()).created || e.GetModifyIndex() == 0
	out := f.framed(e, c, loose)
	_, digest, _ := f.parts(out)
	setMeta(out, mark{t.Owner, t.Epoch, c, move, digest, created}.write(e.GetMeta()))
	return out
}

// movedTo is moved with the mark that says so. An edit stays recognisable as
// one: only accepting it makes it Teal's.
func movedTo(f form, t Target, e api.ConfigEntry, c deployment.Colour, move string) api.ConfigEntry {
	m, o := readMark(e.GetMeta()), inspect(f, e)
	out := f.moved(e, c, t.Route.Loose)
	if !o.Edited {
		_, m.digest, _ = f.parts(out)
	}
	m.owner, m.epoch, m.colour, m.move = t.Owner, t.Epoch, c, move
	setMeta(out, m.write(e.GetMeta()))
	return out
}

// original is the user's part of an entry as the record keeps it; ok is false
// if there is none.
func original(f form, t Target, e api.ConfigEntry) (text string, ok bool) {
	p, empty := f.plain(e)
	if empty && readMark(e.GetMeta()).created {
		return "", false
	}
	data, err := json.Marshal(asFound(f, t, p))
	if err != nil { // an entry came from JSON and goes back to it
		panic(fmt.Sprintf("%s %s is not JSON: %v", e.GetKind(), e.GetName(), err))
	}
	return string(data), true
}

// restored is the entry the record keeps, blank if it keeps none.
func restored(f form, t Target) (api.ConfigEntry, error) {
	text, ok := t.Route.Original[f.kind()]
	if !ok {
		return f.blank(t), nil
	}
	e, err := api.DecodeConfigEntryFromJSON([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s %s: the record's original cannot be read: %w", f.kind(), t.Service, err)
	}
	if e.GetKind() != f.kind() || e.GetName() != t.Service {
		return nil, fmt.Errorf("%s %s: the record's original is the %s of %q: somebody else has written it", f.kind(), t.Service, e.GetKind(), e.GetName())
	}
	return e, nil
}

// asFound is the entry the record keeps, to the letter, if plain means the same
// as that; otherwise people changed it meanwhile, and it is plain.
func asFound(f form, t Target, plain api.ConfigEntry) api.ConfigEntry {
	if _, ok := t.Route.Original[f.kind()]; !ok {
		return plain
	}
	found, err := restored(f, t)
	if err != nil { // what people have now is worth more than what cannot be read
		return plain
	}
	same, _ := f.plain(f.framed(found, deployment.Blue, false))
	if sameJSON(same, plain) {
		return found
	}
	return plain
}

func sameJSON(a, b api.ConfigEntry) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// setMeta replaces the Meta of an entry that is ours to change.
func setMeta(e api.ConfigEntry, meta map[string]string) {
	switch e := e.(type) {
	case *api.ServiceRouterConfigEntry:
		e.Meta = meta
	case *api.ServiceResolverConfigEntry:
		e.Meta = meta
	case *api.ServiceConfigEntry:
		e.Meta = meta
	default:
		panic(fmt.Sprintf("no router writes a %s", e.GetKind()))
	}
}

// indexed gives an entry that is ours to change the index it is written by.
func indexed(e api.ConfigEntry, index uint64) api.ConfigEntry {
	switch e := e.(type) {
	case *api.ServiceRouterConfigEntry:
		e.ModifyIndex = index
	case *api.ServiceResolverConfigEntry:
		e.ModifyIndex = index
	case *api.ServiceConfigEntry:
		e.ModifyIndex = index
	default:
		panic(fmt.Sprintf("no router writes a %s", e.GetKind()))
	}
	return e
}

// copied is a copy of an entry whose top-level fields may be changed.
func copied(e api.ConfigEntry) api.ConfigEntry {
	switch e := e.(type) {
	case *api.ServiceRouterConfigEntry:
		c := *e
		return &c
	case *api.ServiceResolverConfigEntry:
		c := *e
		return &c
	case *api.ServiceConfigEntry:
		c := *e
		return &c
	}
	panic(fmt.Sprintf("no router writes a %s", e.GetKind()))
}
