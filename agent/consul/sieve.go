package consul

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hashicorp/consul/api"
)

// sieve takes the entries of a list one by one as they arrive. Consul answers
// every change of one entry with all of them, tens of megabytes where there are
// thousands, and the api package would hold them three times over.
type sieve struct {
	known func(name string, modified uint64) bool
	see   func(api.ConfigEntry)
}

type sieveKey struct{}

// sieving is a transport that hands the body of an answer to the request's
// sieve, if it has one, and an empty list to whoever asked.
type sieving struct{ http.RoundTripper }

func (t sieving) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(r)
	s, ok := r.Context().Value(sieveKey{}).(sieve)
	if err == nil && ok && answer.StatusCode == http.StatusOK {
		answer.Body = &sieved{s: s, body: answer.Body, rest: strings.NewReader("[]")}
	}
	return answer, err
}

// sieved is an empty list, once all of the real one has been seen.
type sieved struct {
	s    sieve
	body io.ReadCloser
	rest io.Reader
	done bool
}

func (b *sieved) Read(p []byte) (int, error) {
	if !b.done {
		if err := b.s.all(b.body); err != nil {
			return 0, err
		}
		b.done = true
	}
	return b.rest.Read(p)
}

func (b *sieved) Close() error { return b.body.Close() }

// errNoList: what is no list says nothing of which entries there are.
var errNoList = errors.New("the answer is not one list of entries")

// all reads a list to its end.
func (s sieve) all(body io.Reader) error {
	list := json.NewDecoder(body)
	switch begin, err := list.Token(); {
	case err != nil:
		return err
	case begin == nil: // null: there are none
		return ended(list)
	case begin != json.Delim('['):
		return errNoList
	}
	for item := (listed{}); list.More(); {
		if err := list.Decode(&item); err != nil {
			return err
		}
		if s.known(item.head.Name, item.head.ModifyIndex) {
			continue
		}
		e, err := api.DecodeConfigEntryFromJSON(item.text)
		if err != nil {
			return fmt.Errorf("%s: %w", item.head.Name, err)
		}
		s.see(e)
	}
	if _, err := list.Token(); err != nil {
		return err
	}
	return ended(list)
}

// ended says whether nothing follows what was read.
func ended(list *json.Decoder) error {
	switch _, err := list.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil && !errors.As(err, new(*json.SyntaxError)):
		return err
	}
	return errNoList
}

// listed is one entry of a list: what tells whether it is known, and its text.
type listed struct {
	head struct {
		Name        string
		ModifyIndex uint64
	}
	text []byte
}

// UnmarshalJSON keeps the text in the place of the last one.
func (l *listed) UnmarshalJSON(text []byte) error {
	l.text = append(l.text[:0], text...)
	l.head.Name, l.head.ModifyIndex = "", 0
	return json.Unmarshal(text, &l.head)
}

// EachEntry reads all config entries of a kind that the token may see, one by
// one: known is asked of each whether its caller has it, by name and
// ModifyIndex, and see is given those it has not. Both are called before
// EachEntry returns, also for a part of the entries when it returns an error.
//
// The index that it returns is to be compared with that of EntriesIndex. It
// does not block: Consul would hash all entries for it at each write of any,
// while the proxies wait for the same processors.
func (c *Client) EachEntry(ctx context.Context, kind string,
	known func(name string, modified uint64) bool, see func(api.ConfigEntry)) (uint64, error) {
	patient := *c
	patient.timeout *= entriesTimeout
	ctx, done := patient.bound(ctx, 0)
	defer done()
	asking := patient.read(context.WithValue(ctx, sieveKey{}, sieve{known, see}), 0)
	_, meta, err := c.api.ConfigEntries().List(kind, asking)
	if err != nil {
		return 0, c.wrap(ctx, fmt.Sprintf("list %s entries", kind), entryRule(kind, "", "read"), err)
	}
	return meta.LastIndex, nil
}

// entriesTimeout is how many times longer than for others an answer with all
// entries is waited for: before Consul gives it, it computes a hash over them,
// which takes it a second with ten thousand, and many on a busy machine. Who
// asked again meanwhile would make it worse.
const entriesTimeout = 12
