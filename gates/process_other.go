//go:build !unix

package gates

import (
	"context"
	"errors"
	"io"
)

// runGroup refuses: without process groups nothing makes sure that all of a
// command has ended.
func runGroup(context.Context, []string, []string, string, io.Writer) (int, error) {
	return 0, errors.New("exec gates need process groups: run the agent on a Unix")
}
