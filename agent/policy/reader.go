package policy

import (
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
)

// Load reads the policies of path once: a file, or a directory with policy
// files in it. The set holds what is free of mistakes; the diagnostics hold
// all mistakes of all files, and services that depend on one another. The set
// is never nil.
func Load(path string) (*Set, hcl.Diagnostics) {
	r := newReader(path)
	set, diags, _ := r.read(false)
	return set, append(diags, r.cycles(set)...)
}

// reader reads a path again and again, each time only what has changed. It is
// used by one goroutine; within a round it reads and decodes in parallel.
type reader struct {
	path  string
	units map[string]*unit    // policy files by path
	named map[string]*version // files that policies name, by absolute path
	last  *Set
	diags hcl.Diagnostics // that came with last
	fault string          // why path could not be listed
	begun bool            // path was listed once
}

// unit is one policy file as last decoded.
type unit struct {
	decoded
	version *version // without its text
	uses    []use    // in the order in which they are named
}

// use is a named file as it was when the unit was decoded.
type use struct{ path, hash string }

func newReader(path string) *reader {
	return &reader{path: filepath.Clean(path), units: map[string]*unit{}, named: map[string]*version{}, last: Empty()}
}

// read looks at every file's time stamp, or with always at its text, and
// decodes those that differ. Changed says whether anything does since the last
// time.
func (r *reader) read(always bool) (_ *Set, _ hcl.Diagnostics, changed bool) {
	paths, err := policyFiles(r.path)
	if err != nil {
		// Nothing is known of any file, so everything stays as it is.
		changed = r.fault != err.Error()
		r.fault = err.Error()
		diag := &hcl.Diagnostic{
			Severity: hcl.DiagError,
			Summary:  "Policies cannot be read",
			Detail:   fmt.Sprintf("It was asked for the policies of %s, but %s. Policies that were in force stay in force.", r.path, err),
		}
		return r.last, hcl.Diagnostics{diag}, changed
	}
	changed = r.fault != ""
	r.fault = ""
	slices.Sort(paths)

	named := &round{last: r.named, always: always, files: map[string]*glance{}}
	read := make([]*unit, len(paths))
	var decoded atomic.Bool
	inParallel(len(paths), func(i int) {
		u, fresh := r.readUnit(paths[i], named.look, always)
		read[i] = u
		if fresh {
			decoded.Store(true)
		}
	})
	units := make(map[string]*unit, len(paths))
	for i, path := range paths {
		units[path] = read[i]
	}
	changed = changed || decoded.Load()
	changed = changed || len(units) != len(r.units) || !r.begun
	r.begun = true
	r.units = units
	r.named = named.versions()
	if !changed {
		return r.last, r.diags, false
	}
	r.last, r.diags = r.combine(paths)
	return r.last, r.diags, true
}

// round is one round's view of the files that policies name: each is looked at
// once, however many name it.
type round struct {
	last   map[string]*version
	always bool

	mu    sync.Mutex
	files map[string]*glance
}

type glance struct {
	once    sync.Once
	version *version
}

func (r *round) look(path string) *version {
	r.mu.Lock()
	g := r.files[path]
	if g == nil {
		g = &glance{}
		r.files[path] = g
	}
	r.mu.Unlock()
	g.once.Do(func() {
		g.version = readVersion(path, r.last[path], r.always)
	})
	return g.version
}

func (r *round) versions() map[string]*version {
	all := make(map[string]*version, len(r.files))
	for path, g := range r.files {
		g.version.text = "" // policies hold it, packed
		all[path] = g.version
	}
	return all
}

// inParallel calls f for 0 to n-1 on all processors, and returns when all
// calls have.
func inParallel(n int, f func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	all.Wait()
}

// readUnit returns a policy file's unit, and whether it had to be decoded.
func (r *reader) readUnit(path string, look func(string) *version, always bool) (*unit, bool) {
	last := r.units[path]
	var lastVersion *version
	if last != nil {
		lastVersion = last.version
	}
	v := readVersion(path, lastVersion, always)
	if last != nil && v.hash == last.version.hash && v.hash != "" && !last.outdated(look) {
		v.text = ""
		last.version = v
		return last, false
	}
	if v == lastVersion {
		v = readVersion(path, nil, true) // its text was not kept
	}
	u := &unit{version: v}
	if v.err != nil {
		u.diags = hcl.Diagnostics{{
			Severity: hcl.DiagError,
			Summary:  "Policy file cannot be read",
			Detail:   upperFirst(v.err.Error()) + ".",
			Subject:  &hcl.Range{Filename: path, Start: hcl.InitialPos, End: hcl.InitialPos},
		}}
		same := last != nil && last.version.err != nil && last.version.err.Error() == v.err.Error()
		return u, !same
	}
	u.decoded = decode([]byte(v.text), path, func(named string) (string, error) {
		version := look(named)
		if version.err == nil && version.text == "" {
			version = readVersion(named, nil, true) // it was not kept
		}
		if now := (use{named, version.hash}); !slices.Contains(u.uses, now) {
			u.uses = append(u.uses, now)
		}
		return textOf(named, version)
	})
	v.text = ""
	if len(u.diags) == 0 {
		u.file = nil // only printing needs it, and thousands of them weigh
	}
	return u, true
}

// outdated says whether a file that the unit names has changed since. It looks
// at all of them, so that they stay known.
func (u *unit) outdated(look func(string) *version) bool {
	outdated := false
	for _, use := range u.uses {
		outdated = look(use.path).hash != use.hash || outdated
	}
	return outdated
}

// combine makes one set of all units. A service keeps its last good policy
// where the file it stands in has mistakes, or where two blocks claim it.
func (r *reader) combine(paths []string) (*Set, hcl.Diagnostics) {
	good := make(map[string]*Policy, len(r.last.policies))
	claims := make(map[string]declaration, len(r.last.policies))
	broken := map[string]hcl.Diagnostics{}
	sources := map[string]*hcl.File{}
	var diags hcl.Diagnostics
	for _, path := range paths {
		u := r.units[path]
		diags = append(diags, u.diags...)
		if len(u.diags) > 0 && u.file != nil {
			sources[path] = u.file
		}
		if !u.diags.HasErrors() {
			for _, p := range u.policies {
				good[p.Service] = p
			}
		}
		for _, claim := range u.declared {
			if u.diags.HasErrors() {
				broken[claim.service] = append(broken[claim.service], u.diags...)
			}
			first, taken := claims[claim.service]
			if !taken {
				claims[claim.service] = claim
				continue
			}
			diag := second(claim, first)
			diags = append(diags, diag)
			broken[claim.service] = append(broken[claim.service], diag)
			for _, file := range []string{first.at.Filename, path} {
				sources[file] = r.source(file)
			}
		}
	}
	for service := range broken { // two claims void each other
		delete(good, service)
	}
	for _, p := range r.last.policies {
		if _, ok := good[p.Service]; ok {
			continue
		}
		_, claimed := claims[p.Service]
		u := r.units[p.File]
		unreliable := u != nil && u.diags.HasErrors() // whether it still claims the service, nobody can say
		if !claimed && !unreliable {
			continue // its block has gone: the service is no longer ours
		}
		good[p.Service] = p
		if broken[p.Service] == nil {
			broken[p.Service] = u.diags
		}
	}

	set := newSet(slices.Collect(maps.Values(good)))
	set.Broken, set.Sources = broken, sources
	for _, path := range paths {
		set.Files[path] = r.units[path].version.hash
	}
	for path, v := range r.named {
		set.Files[path] = v.hash
	}
	return set, diags
}

// source is a file's text for printing.
func (r *reader) source(path string) *hcl.File {
	if u := r.units[path]; u != nil && u.file != nil {
		return u.file
	}
	v := readVersion(path, nil, true)
	return &hcl.File{Bytes: []byte(v.text)}
}

// second is the diagnostic for a service that two blocks claim.
func second(claim, first declaration) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Two policies for one service",
		Detail:   fmt.Sprintf("The service %q already has a policy at %s. Remove one of the two; until then the last good one stays in force.", claim.service, first.at),
		Subject:  claim.at.Ptr(),
	}
}
