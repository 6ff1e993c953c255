package consul

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"
)

// entriesServer answers lists of entries by what answer writes.
func entriesServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) *Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consul-Index", "70")
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return client(t, s.URL, 10*time.Second)
}

func router(name string, index int) string {
	return fmt.Sprintf(`{"Kind":"service-router","Name":%q,"Meta":{"ModifyIndex":"1","Name":"x"},"CreateIndex":5,"ModifyIndex":%d}`, name, index)
}

// An entry is handed over while the rest is still on its way: a list of
// thousands is never held as a whole.
func TestEntriesAreSeenAsTheyArrive(t *testing.T) {
	seen := make(chan string, 10)
	c := entriesServer(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "["+router("a", 61)+","+router("b", 62)+","+router("c", 63)+",")
		w.(http.Flusher).Flush()
		select {
		case first := <-seen:
			fmt.Fprint(w, router("after-"+first, 64)+"]")
		case <-time.After(5 * time.Second): // it waits for the end of the list
		}
	})
	var asked, names []string
	next, err := c.EachEntry(t.Context(), api.ServiceRouter, func(name string, modified uint64) bool {
		asked = append(asked, fmt.Sprint(name, modified))
		return name == "a" && modified == 61 || name == "b" && modified == 1
	}, func(e api.ConfigEntry) {
		names = append(names, e.GetName())
		seen <- e.GetName()
	})
	if err != nil || next != 70 {
		t.Fatal(next, err)
	}
	if want := []string{"b", "c", "after-b"}; !slices.Equal(names, want) {
		t.Errorf("saw %v, want %v", names, want)
	}
	if want := []string{"a61", "b62", "c63", "after-b64"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

func TestListsOfEntriesThatAreNone(t *testing.T) {
	for body, fails := range map[string]bool{
		"[]": false, "null": false, "[" + router("a", 1) + "]": false,
		"": true, "[": true, "[" + router("a", 1): true, `[{"Name":"a"}]`: true, "[1]": true, `"text"`: true,
	} {
		c := entriesServer(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, body) })
		_, err := c.EachEntry(t.Context(), api.ServiceRouter, func(string, uint64) bool { return false }, func(api.ConfigEntry) {})
		if (err != nil) != fails {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// Consul takes its time over thousands of entries, and is not asked again
// meanwhile.
func TestEntriesMayTakeLong(t *testing.T) {
	requests := 0
	c := entriesServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		select {
		case <-time.After(300 * time.Millisecond):
			fmt.Fprint(w, "["+router("a", 1)+"]")
		case <-r.Context().Done():
		}
	})
	c.timeout = 50 * time.Millisecond
	n := 0
	_, err := c.EachEntry(t.Context(), api.ServiceRouter, func(string, uint64) bool { return false }, func(api.ConfigEntry) { n++ })
	if err != nil || n != 1 || requests != 1 {
		t.Errorf("%d entries by %d requests, %v", n, requests, err)
	}
	if _, _, err := c.List(t.Context(), "teal/", 0); err == nil {
		t.Error("other requests are waited for as long")
	}
}
