package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
)

// Postgres gives the PostgreSQL to run: the one on PATH, or the newest where
// Debian's packages put it, which is not on PATH. It is not built from source.
// initdb and psql stand beside it.
func Postgres(ctx context.Context, log io.Writer) (Binary, error) {
	path, err := exec.LookPath("postgres")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // only a bad pattern is an error
		if len(found) == 0 {
			return Binary{}, errors.New("there is no PostgreSQL server, neither on PATH nor in /usr/lib/postgresql: install one, on Debian with `apt-get install postgresql`")
		}
		slices.Sort(found)
		path = found[len(found)-1]
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return Binary{}, err
	}
	b, err := describe(ctx, path, recipe{version: []string{"--version"}, before: "(PostgreSQL) "})
	b.Name = "postgres"
	if err == nil && log != nil {
		fmt.Fprintf(log, "using %s %s (%s)\n", b.Name, b.Version, b.Path)
	}
	return b, err
}
