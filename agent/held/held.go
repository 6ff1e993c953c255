// Package held bounds how many blocking queries an agent holds open at a
// server. Consul and Nomad close a client's connections beyond
// limits.http_max_conns_per_client, 200 and 100 unless an operator says
// otherwise, whatever they are for: without a bound, the releases in flight
// would take an agent's other requests along, the renewal of its lease too.
package held

import (
	"net/http"
	"time"
)

// Bound has no more than most connections of a transport at a time to each
// server; a request beyond waits for one. After many at once they are kept for a
// moment: a server may take one that was closed for open for a while yet, and
// whoever is idle holds few.
func Bound(t *http.Transport, most int) {
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = most, most
	t.IdleConnTimeout = 3 * time.Second
}

// Queries are those that may be held at a time. It is safe for concurrent use.
type Queries struct{ places chan struct{} }

// Most is a bound of n.
func Most(n int) Queries { return Queries{make(chan struct{}, n)} }

// Hold is what to ask from on, for news since an index: that index, and the query
// counts as held until give is called; or 0, because there are too many: the
// answer comes at once then, and may be asked for again in a while. 0 is not held.
func (q Queries) Hold(index uint64) (from uint64, give func()) {
	if index == 0 {
		return 0, func() {}
	}
	select {
	case q.places <- struct{}{}:
		return index, func() { <-q.places }
	default:
		return 0, func() {}
	}
}
