package gates_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tealdeploy/teal/agent/deployment"
	"github.com/tealdeploy/teal/gates"
)

// peer is auth at a version, with instances of this health.
func peer(version string, health ...deployment.Health) *gates.Peer {
	p := &gates.Peer{Managed: true, Active: deployment.Blue, Version: version, Expected: len(health)}
	for _, h := range health {
		p.Instances = append(p.Instances, deployment.Instance{Health: h})
	}
	return p
}

func TestDepends(t *testing.T) {
	const ok, bad = deployment.Passing, deployment.Critical
	releasing := peer("2.1.0", ok)
	releasing.Releasing = "2.2.0 is watching"
	gone := peer("2.1.0", ok)
	gone.Managed = false
	never := &gates.Peer{Managed: true, Active: deployment.None}
	short := peer("2.1.0", ok)
	short.Expected = 3
	for name, c := range map[string]struct {
		needs   string
		peer    *gates.Peer
		verdict gates.Verdict
		reason  string
	}{
		"the very version":             {`"2.1.0"`, peer("2.1.0", ok, ok), gates.Pass, "auth is at 2.1.0 on blue, and 2 of 2 instances are healthy"},
		"the same, said otherwise":     {`"2.1"`, peer("v2.1.0", ok), gates.Pass, "is at v2.1.0"},
		"another version":              {`"2.1.0"`, peer("2.1.1", ok), gates.Fail, "auth is at 2.1.1, and 2.1.0 is needed"},
		"within a constraint":          {`">= 2.1, < 3"`, peer("2.9.3", ok), gates.Pass, "2.9.3"},
		"below it":                     {`">= 2.1, < 3"`, peer("2.0.9", ok), gates.Fail, "and >= 2.1, < 3 is needed"},
		"above it":                     {`">= 2.1, < 3"`, peer("3.0.0", ok), gates.Fail, "is needed"},
		"at least by number, not text": {`">= 2.9"`, peer("2.10.0", ok), gates.Pass, ""},
		"a name":                       {`"main-3f2a"`, peer("main-3f2a", ok), gates.Pass, ""},
		"another name":                 {`"main-3f2a"`, peer("main-77aa", ok), gates.Fail, "auth is at main-77aa, and main-3f2a is needed"},
		"a name where a number is":     {`"2.1.0"`, peer("main-77aa", ok), gates.Fail, "is needed"},
		"a name against a constraint":  {`">= 2"`, peer("main-77aa", ok), gates.Hold, "main-77aa, which is no version that >= 2 could be held against"},
		"no version is known":          {`">= 2"`, peer("", ok), gates.Hold, "auth has no version"},
		"no version is asked for":      {`""`, peer("", ok), gates.Pass, ""},
		"an instance is ill":           {`"2.1.0"`, peer("2.1.0", ok, bad), gates.Fail, "auth is not healthy: 1 of 2 instances of blue pass"},
		"an instance is missing":       {`"2.1.0"`, short, gates.Fail, "1 of 3 instances"},
		"none is there":                {`"2.1.0"`, peer("2.1.0"), gates.Fail, "0 of 1 instances"},
		"it is being released":         {`"2.1.0"`, releasing, gates.Hold, "auth is being released: 2.2.0 is watching"},
		"no such service":              {`"2.1.0"`, nil, gates.Hold, "there is no service auth that Teal manages"},
		"given back":                   {`"2.1.0"`, gone, gates.Hold, "not managed by Teal any more"},
		"never released":               {`"2.1.0"`, never, gates.Hold, "auth has not been released yet"},
	} {
		body := "service = \"auth\"\nversion = " + c.needs
		if c.needs == `""` {
			body = "service = \"auth\""
		}
		n, diags := decode(t, "gate \"depends\" \"n\" {\n"+body+"\n}")
		if diags.HasErrors() {
			t.Fatal(name, diags)
		}
		target := green()
		target.Peer = func(_ context.Context, service string) (*gates.Peer, error) {
			if service != "auth" {
				t.Errorf("asked for %s", service)
			}
			return c.peer, nil
		}
		f, err := n.Gate.Check(t.Context(), target)
		if err != nil || f.Verdict != c.verdict || !strings.Contains(f.Reason, c.reason) {
			t.Errorf("%s: %s %q, %v; want %s", name, f.Verdict, f.Reason, err, c.verdict)
		}
		if f.Figures["service"] != "auth" || f.Verdict != gates.Hold && f.Figures["version"] != c.peer.Version {
			t.Errorf("%s: evidence %v", name, f.Figures)
		}
	}
	n, _ := decode(t, "gate \"depends\" \"n\" {\nservice = \"auth\"\n}")
	target := green()
	target.Peer = func(context.Context, string) (*gates.Peer, error) {
		return nil, errors.New("the record of auth cannot be read")
	}
	if f, err := n.Gate.Check(t.Context(), target); err == nil || f.Verdict != gates.Hold {
		t.Errorf("cannot be read: %+v, %v", f, err)
	}
}

func TestMistakesInADepends(t *testing.T) {
	for body, want := range map[string]string{
		``:                                             `"service" is required`,
		`service = "a/b"`:                              "cannot be the name of a Consul service",
		"service = \"a\"\nversion = \"\"":              "must not be empty",
		"service = \"a\"\nversion = \">> 2\"":          "is no constraint",
		"service = \"a\"\nversion = \">= 2, x\"":       "is no constraint",
		"service = \"a\"\nversion = \"> 3, < 2\"":      `No version is "> 3, < 2": the constraints rule each other out.`,
		"service = \"a\"\nversion = \"~> 2.1, < 2.1\"": "rule each other out",
		"service = \"a\"\nversion = \"2.1, != 2.1\"":   "rule each other out",
	} {
		_, diags := decode(t, "gate \"depends\" \"n\" {\n"+body+"\n}")
		if !said(diags, want) {
			t.Errorf("%s\nsaid %s\nwant %s", body, diags.Error(), want)
		}
	}
	for _, version := range []string{"2.1", "main-3f2a", ">= 2.1, < 3", "> 2, < 2.0.1", "~> 2.1, != 2.1", "< 1", "!= 0", "> 3.0.0-alpha, < 3.0.0-beta"} {
		if _, diags := decode(t, fmt.Sprintf("gate \"depends\" \"n\" {\nservice = \"a\"\nversion = %q\n}", version)); diags.HasErrors() {
			t.Errorf("%s: %s", version, diags.Error())
		}
	}
}
