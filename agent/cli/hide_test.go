package cli

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestMain is also a process that hides its tokens, for TestHideTokens.
func TestMain(m *testing.M) {
	if os.Getenv("TEAL_TEST_HIDES") == "" {
		os.Exit(m.Run())
	}
	kept := HideTokens(os.Args)
	seen, err := os.ReadFile("/proc/self/cmdline")
	fmt.Println(strings.Join(kept[1:], " "))
	fmt.Println(strings.Join(strings.Split(strings.Trim(string(seen), "\x00"), "\x00")[1:], " "), err)
	os.Exit(0)
}

// Whoever lists processes sees no token, and the command has it all the same.
func TestHideTokens(t *testing.T) {
	if _, err := os.Stat("/proc/self/cmdline"); err != nil {
		t.Logf("no process list to look at here: %v", err)
		kept := HideTokens(strings.Fields("teal status -token=" + strings.Clone("hvs")))
		if !slices.Contains(kept, "-token=hvs") {
			t.Errorf("kept %v", kept)
		}
		return
	}
	for given, seen := range map[string]string{
		"status -token planted api":            "status -token xxxxxxx api",
		"status --token=planted -token-file f": "status --token=xxxxxxx -token-file f",
		"work api -token a -- run -token b":    "work api -token x -- run -token b",
		"status -token":                        "status -token",
		"status -token=":                       "status -token=",
		"deploy -var token=1 api":              "deploy -var token=1 api",
	} {
		cmd := exec.Command(os.Args[0], strings.Fields(given)...)
		cmd.Env = append(os.Environ(), "TEAL_TEST_HIDES=1")
		out, err := cmd.Output()
		if want := given + "\n" + seen + " <nil>\n"; err != nil || string(out) != want {
			t.Errorf("%v\n%s, want\n%s", err, out, want)
		}
	}
}
