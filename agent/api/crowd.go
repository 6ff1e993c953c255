package api

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
)

// crowd is a listener that holds a bounded number of connections. A process
// may have so many files open, and those of this surface must not be the ones
// that it then lacks to talk to Consul. One connection too many takes the place
// of the one that has been idle for longest: so whoever opens many, or holds
// on to them, keeps nobody else out.
type crowd struct {
	net.Listener
	most int

	mu     sync.Mutex
	guests list.List // of *guest; who was answered last is at the end
}

func newCrowd(l net.Listener, most int) *crowd { return &crowd{Listener: l, most: most} }

// guest is one connection.
type guest struct {
	net.Conn
	crowd *crowd
	place *list.Element // guarded by crowd.mu, as is busy; nil once it has gone
	busy  bool          // an answer to it is being made
}

// Accept implements net.Listener.
func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g := &guest{Conn: conn, crowd: c}
		gone, ok := c.admit(g)
		if gone != nil {
			_ = gone.Conn.Close() // whoever reads from it closes it again
		}
		if ok {
			return g, nil
		}
	}
}

// admit gives who has to go for the new one, which is that one itself when
// all others are busy.
func (c *crowd) admit(g *guest) (gone *guest, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.guests.Len() >= c.most {
		for e := c.guests.Front(); e != nil && gone == nil; e = e.Next() {
			if other := e.Value.(*guest); !other.busy {
				gone = other
			}
		}
		if gone == nil {
			return g, false
		}
		gone.leave()
	}
	g.place = c.guests.PushBack(g)
	return gone, true
}

// leave is called with crowd.mu held.
func (g *guest) leave() {
	if g.place != nil {
		g.crowd.guests.Remove(g.place)
		g.place = nil
	}
}

// Close implements net.Conn.
func (g *guest) Close() error {
	g.crowd.mu.Lock()
	g.leave()
	g.crowd.mu.Unlock()
	return g.Conn.Close()
}

func (g *guest) set(busy bool) {
	g.crowd.mu.Lock()
	defer g.crowd.mu.Unlock()
	g.busy = busy
	if g.place != nil {
		g.crowd.guests.MoveToBack(g.place)
	}
}

type guestKey struct{}

// withGuest is for http.Server.ConnContext.
func withGuest(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, guestKey{}, conn)
}

// attend lets no connection go whose request is being worked at, until leave.
func attend(r *http.Request) (leave func()) {
	g, ok := r.Context().Value(guestKey{}).(*guest)
	if !ok {
		return func() {}
	}
	g.set(true)
	return func() { g.set(false) }
}
