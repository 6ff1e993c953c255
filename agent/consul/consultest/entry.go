package consultest

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/agent/deep"
)

// entry is a config entry as it is stored, without indexes. decoded is shared
// and never changed.
type entry struct {
	text    []byte
	decoded api.ConfigEntry
}

// blank is an empty entry of a kind, nil for kinds the fake does not have.
func blank(kind string) api.ConfigEntry {
	switch kind {
	case api.ServiceDefaults:
		return &api.ServiceConfigEntry{}
	case api.ProxyDefaults:
		return &api.ProxyConfigEntry{}
	case api.ServiceRouter:
		return &api.ServiceRouterConfigEntry{}
	case api.ServiceSplitter:
		return &api.ServiceSplitterConfigEntry{}
	case api.ServiceResolver:
		return &api.ServiceResolverConfigEntry{}
	}
	return nil
}

// Entry is consul.Client's.
func (c *Client) Entry(ctx context.Context, kind, name string) (e api.ConfigEntry, err error) {
	key := kind + "/" + name
	_, err = c.read(ctx, "Entry", key, 0, func(s *Server, at uint64) found {
		e = nil
		if v, ok := s.entries.at(key, at); ok {
			e = reply(v)
		}
		return found{index: s.entries.last}
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// EntriesIndex is consul.Client's.
func (c *Client) EntriesIndex(ctx context.Context) (uint64, error) {
	return c.read(ctx, "EntriesIndex", "", 0, func(s *Server, at uint64) found {
		return found{index: s.entriesIndex(at)}
	})
}

// EachEntry is consul.Client's.
func (c *Client) EachEntry(ctx context.Context, kind string,
	known func(name string, modified uint64) bool, see func(api.ConfigEntry)) (uint64, error) {
	if blank(kind) == nil {
		return 0, refused("list "+kind+" entries", "invalid config entry kind: %s", kind)
	}
	var list []version[entry]
	last, err := c.read(ctx, "EachEntry", kind, 0, func(s *Server, at uint64) found {
		list = nil
		s.entries.under(kind+"/", at, func(_ string, v version[entry]) { list = append(list, v) })
		return found{index: s.entriesIndex(at)}
	})
	if err != nil {
		return 0, err
	}
	for _, v := range list {
		if !known(v.value.decoded.GetName(), v.modify) {
			see(reply(v))
		}
	}
	return last, nil
}

// entriesIndex is that of the table of all entries, as it was at an index.
func (s *Server) entriesIndex(at uint64) uint64 { return max(min(s.entries.last, at), 1) }

// reply is a stored entry as it is answered: the reader's own, with indexes.
func reply(v version[entry]) api.ConfigEntry {
	e := v.value.copy()
	setIndexes(e, v.create, v.modify)
	return e
}

func (e entry) copy() api.ConfigEntry { return deep.Copy(e.decoded) }

func setIndexes(e api.ConfigEntry, create, modify uint64) {
	v := reflect.ValueOf(e).Elem()
	v.FieldByName("CreateIndex").SetUint(create)
	v.FieldByName("ModifyIndex").SetUint(modify)
}

// received is an entry as Consul takes it: in its own form, without indexes.
func received(e api.ConfigEntry) (entry, error) {
	text, err := json.Marshal(e)
	if err != nil {
		return entry{}, err
	}
	own := blank(e.GetKind())
	if own == nil {
		return entry{}, fmt.Errorf("invalid config entry kind: %s", e.GetKind())
	}
	if err := json.Unmarshal(text, own); err != nil {
		return entry{}, err
	}
	setIndexes(own, 0, 0)
	switch own := own.(type) {
	case *api.ServiceRouterConfigEntry:
		for _, r := range own.Routes {
			if r.Match == nil || r.Match.HTTP == nil {
				continue
			}
			for i, m := range r.Match.HTTP.Methods {
				r.Match.HTTP.Methods[i] = strings.ToUpper(m)
			}
		}
	case *api.ServiceConfigEntry:
		own.Protocol = strings.ToLower(own.Protocol)
		if own.TransparentProxy == nil {
			own.TransparentProxy = &api.TransparentProxyConfig{}
		}
	case *api.ProxyConfigEntry:
		if own.TransparentProxy == nil {
			own.TransparentProxy = &api.TransparentProxyConfig{}
		}
	}
	if text, err = json.Marshal(own); err != nil {
		return entry{}, err
	}
	stored := blank(e.GetKind())
	return entry{text, stored}, json.Unmarshal(text, stored)
}

// SetEntry is consul.Client's.
func (c *Client) SetEntry(ctx context.Context, e api.ConfigEntry, index uint64) (bool, error) {
	op := fmt.Sprintf("write %s %q", e.GetKind(), e.GetName())
	sent, err := received(e)
	if err != nil {
		return false, refused(op, "%w", err)
	}
	return write(ctx, c, "SetEntry", e.GetKind()+"/"+e.GetName(), func(s *Server) (bool, error) {
		return s.setEntry(op, sent, index)
	})
}

func (s *Server) setEntry(op string, sent entry, index uint64) (bool, error) {
	key := sent.decoded.GetKind() + "/" + sent.decoded.GetName()
	if err := validate(sent.decoded); err != nil {
		return false, refused(op, "%w", err)
	}
	now, exists := s.entries.at(key, s.index)
	switch {
	case exists && string(now.value.text) == string(sent.text):
		return true, nil // whatever the index says: Consul's rule
	case !exists && index != 0, exists && now.modify != index:
		return false, nil
	}
	if err := s.checkGraph(sent.decoded.GetKind(), sent.decoded.GetName(), sent.decoded); err != nil {
		return false, refused(op, "%w", err)
	}
	s.putEntry(key, &sent, s.next())
	return true, nil
}

// DeleteEntry is consul.Client's.
func (c *Client) DeleteEntry(ctx context.Context, kind, name string, index uint64) (bool, error) {
	key := kind + "/" + name
	return write(ctx, c, "DeleteEntry", key, func(s *Server) (bool, error) {
		now, exists := s.entries.at(key, s.index)
		switch {
		case !exists:
			return true, nil
		case now.modify != index:
			return false, nil
		}
		if err := s.checkGraph(kind, name, nil); err != nil {
			return false, refused(fmt.Sprintf("delete %s %q", kind, name), "%w", err)
		}
		s.putEntry(key, nil, s.next())
		return true, nil
	})
}

// Chain is consul.Client's. The fake has no namespaces: namespace is ignored.
func (c *Client) Chain(ctx context.Context, service, _ string) (chain *api.CompiledDiscoveryChain, err error) {
	var refusal error
	_, err = c.read(ctx, "Chain", service, 0, func(s *Server, _ uint64) found {
		chain, refusal = compile(service, s.entry)
		return found{index: s.entries.last}
	})
	if err == nil && refusal != nil {
		err = refused(fmt.Sprintf("read discovery chain of %q", service), "%w", refusal)
	}
	if err != nil {
		return nil, err
	}
	return chain, nil
}

// entry is what is stored now, nil when there is none.
func (s *Server) entry(kind, name string) api.ConfigEntry {
	if v, ok := s.entries.at(kind+"/"+name, s.index); ok {
		return v.value.decoded
	}
	return nil
}
