// Package load asks a service steadily and counts what it answers.
//
// The load is open: requests begin when the rate says, whether or not earlier
// ones have been answered, so that a stall shows as requests in flight and
// late answers and not as a lower rate.
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Config says what to ask, and how often.
type Config struct {
	URL     string
	Rate    int           // requests a second
	Header  http.Header   // added to each; may be nil
	Timeout time.Duration // of one request; 10 s when 0
	Keep    int           // failures kept with their details; 20 when 0

	// Uncoloured is the colour that an instance without one counts as: a job
	// that ran before Teal came knows none.
	Uncoloured string
}

// Generator counts while Run asks.
type Generator struct {
	config Config
	client *http.Client

	mu      sync.Mutex
	answers []answer
	count   Count
	changes []routeChange
}

// New makes a generator; Run starts it.
func New(config Config) *Generator {
	if config.Timeout == 0 {
		config.Timeout = 10 * time.Second
	}
	if config.Keep == 0 {
		config.Keep = 20
	}
	return &Generator{
		config: config,
		client: &http.Client{
			Timeout: config.Timeout,
			Transport: &http.Transport{
				DialContext:         (&net.Dialer{Timeout: config.Timeout}).DialContext,
				MaxIdleConnsPerHost: 256,
				IdleConnTimeout:     time.Minute,
				DisableCompression:  true,
			},
		},
		count: Count{Colours: map[string]int{}, Versions: map[string]int{}, LostOn: map[string]int{}},
	}
}

// Run asks until ctx ends, and returns when the last answer has come. The
// requests under way then are waited for, not cut off.
func (g *Generator) Run(ctx context.Context) error {
	if g.config.Rate <= 0 {
		return fmt.Errorf("load: rate %d: expected at least 1 a second", g.config.Rate)
	}
	var asked sync.WaitGroup
	defer g.client.CloseIdleConnections()
	defer asked.Wait()
	began := time.Now()
	gap := time.Second / time.Duration(g.config.Rate)
	pace := time.NewTimer(0)
	defer pace.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-pace.C:
		}
		for due := int(time.Since(began)/gap) + 1; n < due; n++ { // makes up for a late timer
			asked.Go(g.ask)
		}
		pace.Reset(time.Until(began.Add(time.Duration(n) * gap)))
	}
}

func (g *Generator) ask() {
	// Not the context of Run: the end of the load must not lose a request.
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, g.config.URL, nil)
	if err != nil {
		g.note(answer{begun: time.Now()}, time.Now(), err)
		return
	}
	for name, values := range g.config.Header {
		request.Header[name] = values
	}
	a := answer{begun: time.Now()}
	err = g.fetch(request, &a)
	g.note(a, time.Now(), err)
}

func (g *Generator) fetch(request *http.Request, a *answer) error {
	response, err := g.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	a.cluster = response.Header.Get("X-Served-By-Cluster")
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return err
	}
	a.injected = response.Header.Get("X-Fault") == "injected" && response.StatusCode >= 500
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %.200s", response.StatusCode, body)
	}
	var said struct{ Colour, Version string }
	if err := json.Unmarshal(body, &said); err != nil {
		return fmt.Errorf("answer %.200q: %w", body, err)
	}
	a.colour, a.version = said.Colour, said.Version
	if a.colour == "none" && g.config.Uncoloured != "" {
		a.colour = g.config.Uncoloured
	}
	return nil
}
