package consultest

import (
	"slices"

	"github.com/hashicorp/consul/api"
)

// shaping are the kinds that a discovery chain is made of.
var shaping = []string{api.ServiceRouter, api.ServiceSplitter, api.ServiceResolver}

// checkGraph refuses a change of an entry (nil: its deletion) after which some
// service's discovery chain would not compile.
func (s *Server) checkGraph(kind, name string, proposed api.ConfigEntry) error {
	look := func(k, n string) api.ConfigEntry {
		if k == kind && n == name {
			return proposed
		}
		return s.entry(k, n)
	}
	for _, service := range s.affected(kind, name) {
		if _, err := compile(service, look); err != nil {
			return err
		}
	}
	return nil
}

// affected are the services whose chains an entry has a part in.
func (s *Server) affected(kind, name string) []string {
	var services []string
	if kind == api.ProxyDefaults {
		for _, k := range shaping {
			s.entries.under(k+"/", s.index, func(_ string, v version[entry]) {
				services = append(services, v.value.decoded.GetName())
			})
		}
	} else {
		services = append(services, name)
		for e := range s.linked[name] {
			services = append(services, e.GetName())
		}
	}
	slices.Sort(services)
	return slices.Compact(services)
}

// putEntry stores an entry as it is from now on, nil for none.
func (s *Server) putEntry(key string, e *entry, index uint64) {
	if old, ok := s.entries.at(key, s.index); ok {
		for _, name := range references(old.value.decoded) {
			delete(s.linked[name], old.value.decoded)
		}
	}
	v := s.entries.put(key, e, index)
	if e != nil {
		s.link(e.decoded)
	}
	if s.observe != nil {
		change := Change{Agent: s.writer, Of: Entries, Key: key}
		if e != nil {
			change.Entry = reply(v)
		}
		s.observe(change)
	}
}

func (s *Server) link(e api.ConfigEntry) {
	for _, name := range references(e) {
		if s.linked[name] == nil {
			s.linked[name] = map[api.ConfigEntry]bool{}
		}
		s.linked[name][e] = true
	}
}

// references are the services that an entry names besides its own.
func references(e api.ConfigEntry) (names []string) {
	add := func(name string) {
		if name != "" && name != e.GetName() {
			names = append(names, name)
		}
	}
	switch e := e.(type) {
	case *api.ServiceRouterConfigEntry:
		for _, r := range e.Routes {
			if r.Destination != nil {
				add(r.Destination.Service)
			}
		}
	case *api.ServiceSplitterConfigEntry:
		for _, split := range e.Splits {
			add(split.Service)
		}
	case *api.ServiceResolverConfigEntry:
		if e.Redirect != nil {
			add(e.Redirect.Service)
		}
		for _, f := range e.Failover {
			add(f.Service)
			for _, t := range f.Targets {
				add(t.Service)
			}
		}
	}
	return names
}
