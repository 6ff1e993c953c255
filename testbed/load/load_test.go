package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The rate holds over a server that stalls, and each kind of bad answer is
// counted as what it is.
func TestCountsWhatBecameOfEachRequest(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 10 {
		case 1:
			<-time.After(100 * time.Millisecond) // a stall
		case 2:
			http.Error(w, "oops", http.StatusBadGateway)
			return
		case 3:
			w.Header().Set("x-fault", "injected")
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, `{"version":"2","colour":"green"}`)
	}))
	defer server.Close()
	g := New(Config{URL: server.URL, Rate: 200, Keep: 3})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	if err := g.Run(ctx); err != nil {
		t.Fatal(err)
	}
	c, took := g.Count(), time.Since(began).Seconds()
	if c.Requests < 190 || float64(c.Requests) > 200*took+1 {
		t.Errorf("%d requests in %.2f s, want 200 a second", c.Requests, took)
	}
	if c.Lost != (c.Requests+8)/10 || c.Injected != (c.Requests+7)/10 || c.Colours["green"] != c.Requests-c.Lost-c.Injected {
		t.Errorf("wrong count: %s", c)
	}
	if len(c.Failures) != 3 || !strings.Contains(c.Failures[0].Err.Error(), "502: oops") {
		t.Errorf("failures: %+v", c.Failures)
	}
}

func TestWrongColourGoesByWhenTheRequestBegan(t *testing.T) {
	zero := time.Now()
	at := func(ms int) time.Time { return zero.Add(time.Duration(ms) * time.Millisecond) }
	g := New(Config{URL: "http://127.0.0.1", Rate: 1})
	for _, a := range []struct {
		begun, ended int
		colour       string
	}{
		{10, 20, "blue"},    // before the first change: nothing is known
		{90, 120, "blue"},   // begun before the change, answered after it
		{110, 120, "green"}, // right
		{110, 120, "blue"},  // wrong
		{190, 220, "blue"},  // begun on green, the routes changed meanwhile
		{190, 195, "blue"},  // wrong: over before they changed
		{210, 220, "blue"},  // right
		{210, 220, "green"}, // wrong
	} {
		g.note(answer{begun: at(a.begun), colour: a.colour}, at(a.ended), nil)
	}
	g.note(answer{begun: at(210)}, at(220), errors.New("reset"))
	g.note(answer{begun: at(210), cluster: "green", injected: true}, at(220), nil) // wrong: it got that far
	g.note(answer{begun: at(210), cluster: "blue", injected: true}, at(220), nil)  // right
	g.RouteChanged("blue", at(200))                                                // in any order
	g.RouteChanged("green", at(100))
	if c := g.Count(); c.WrongColour != 4 || c.Lost != 1 || c.Injected != 2 {
		t.Errorf("want 4 of the wrong colour and 1 lost: %s", c)
	}
}
