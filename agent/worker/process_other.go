//go:build !unix

package worker

import "errors"

// start refuses: without process groups nothing makes sure that all of a
// command has ended.
func start(Config, uint64) (Running, error) {
	return nil, errors.New("teal work needs process groups: run it on a Unix")
}
