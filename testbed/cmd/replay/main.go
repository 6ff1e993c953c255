// Command replay writes the overlay of package replay into a directory and
// prints the path for go's -overlay flag.
package main

import (
	"fmt"
	"os"

	"github.com/tealdeploy/teal/testbed/replay"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: replay <directory>")
		os.Exit(2)
	}
	path, err := replay.Prepare(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(path)
}
