package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/tealdeploy/teal/testbed/cluster"
	"github.com/tealdeploy/teal/testbed/servers"
)

// Postgres is a PostgreSQL server with an empty data directory, on loopback.
// What it stores is of no worth: it does not wait for the disk.
type Postgres struct {
	*cluster.Server
	Version string

	port int
	psql string
}

// superuser is whom everybody on loopback may be.
const superuser = "postgres"

// StartPostgres runs one and waits until it answers. It ends with the cluster.
func (s *Site) StartPostgres(ctx context.Context) (*Postgres, error) {
	binary, err := servers.Postgres(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	as, err := unprivileged()
	if err != nil {
		return nil, err
	}
	data := filepath.Join(s.Dir, "postgres")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	if as != nil {
		// It has to pass through the folders above its own.
		if err := errors.Join(os.Chown(data, int(as.Uid), int(as.Gid)), os.Chmod(s.World.Dir, 0o711)); err != nil {
			return nil, err
		}
	}
	bin := filepath.Dir(binary.Path)
	init := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "--pgdata", data, "--username", superuser, "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C")
	init.Dir, init.SysProcAttr = data, &syscall.SysProcAttr{Credential: as}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p := &Postgres{Version: binary.Version, psql: filepath.Join(bin, "psql")}
	if p.port, err = s.Port(); err != nil {
		return nil, err
	}
	args := []string{"-D", data}
	for _, set := range []string{
		"listen_addresses=127.0.0.1", "port=" + strconv.Itoa(p.port), "unix_socket_directories=", "max_connections=50",
		"fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=16MB", "dynamic_shared_memory_type=mmap",
	} {
		args = append(args, "-c", set)
	}
	p.Server = s.Program(cluster.Program{
		Name: "postgres-" + s.Name, Path: binary.Path, Args: args, As: as,
		Ready: func(ctx context.Context) error {
			_, err := p.Query(ctx, "postgres", "select 1")
			return err
		},
	})
	return p, p.Start(ctx)
}

// unprivileged is whom PostgreSQL runs as: it refuses to be root.
func unprivileged() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		if who, err = user.Lookup("nobody"); err != nil {
			return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no other user: %w", err)
		}
	}
	uid, err1 := strconv.ParseUint(who.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(who.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

// URL is where a program finds a database.
func (p *Postgres) URL(database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", superuser, p.port, database)
}

// Query runs SQL and gives what it returns: a line a row, columns parted by |.
func (p *Postgres) Query(ctx context.Context, database, sql string) (string, error) {
	cmd := exec.CommandContext(ctx, p.psql, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1", "--command", sql, p.URL(database))
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%q in %s: %w: %s", sql, database, err, strings.TrimSpace(complaint.String()))
	}
	return strings.TrimSpace(string(out)), nil
}

// Create makes a database with tables.
func (p *Postgres) Create(ctx context.Context, database, schema string) error {
	if _, err := p.Query(ctx, "postgres", "create database "+database); err != nil {
		return err
	}
	_, err := p.Query(ctx, database, schema)
	return err
}
