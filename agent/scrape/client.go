package scrape

import (
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tealdeploy/teal/agent/ask"
	"github.com/tealdeploy/teal/agent/measure"
	"github.com/tealdeploy/teal/rollback"
)

// filesFor is how long certificates are used before their files are read anew, since
// they are renewed. Connections go on for as long: to shake hands at every look with
// every instance would cost more than the looks.
const filesFor = 10 * time.Second

// clients are those for http, and one for each set of TLS settings.
type clients struct {
	timeout time.Duration
	plain   *http.Client

	mu     sync.Mutex
	secure map[measure.TLS]*secured
}

// secured speaks TLS with what the files held when it was made.
type secured struct {
	*http.Client
	until time.Time
}

func newClients(timeout time.Duration) *clients {
	c := &clients{timeout: timeout, secure: map[measure.TLS]*secured{}}
	c.plain = &http.Client{Transport: c.transport(), CheckRedirect: sameHost}
	return c
}

// transport keeps a connection to each instance. No proxy of the agent's environment
// comes between.
func (c *clients) transport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: c.timeout}).DialContext,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// of is the client for a source. An error begins with the setting that mends it.
func (c *clients) of(source rollback.ScrapeSource) (*http.Client, error) {
	if source.Scheme != "https" {
		return c.plain, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if s := c.secure[source.TLS]; s != nil && now.Before(s.until) {
		return s.Client, nil
	}
	maps.DeleteFunc(c.secure, func(_ measure.TLS, s *secured) bool { // that of a policy which is gone, too
		if now.Before(s.until) {
			return false
		}
		s.CloseIdleConnections()
		return true
	})
	config, err := ask.TLS(source.TLS)
	if err != nil {
		return nil, err
	}
	transport := c.transport()
	transport.TLSClientConfig, transport.ForceAttemptHTTP2 = config, true
	transport.TLSHandshakeTimeout = c.timeout
	s := &secured{&http.Client{Transport: transport, CheckRedirect: sameHost}, now.Add(filesFor)}
	c.secure[source.TLS] = s
	return s.Client, nil
}
