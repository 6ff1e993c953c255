package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// raise makes a token the service's, unless a greater one is that already.
const raise = `
insert into fence (service, token) values ($1, $2)
on conflict (service) do update set token = excluded.token
where fence.token <= excluded.token`

// pass finds the fence only while no greater token has been raised. The lock
// is shared by all workers of this token, and whoever raises a greater one
// waits for the transactions that hold it: what they write is written before.
const pass = `
select from fence
where service = $1 and fence.token <= $2
for share`

// store writes as long as no greater token has written.
type store struct {
	conn    *pgx.Conn
	service string
	token   int64
}

// open connects and raises the fence to the token.
func open(ctx context.Context, url, service string, token int64) (*store, error) {
	config, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	// A worker that is stopped in the middle of a transaction holds the fence,
	// and its successor would wait for it: PostgreSQL ends such a transaction.
	config.RuntimeParams["idle_in_transaction_session_timeout"] = "5s"
	s := &store{service: service, token: token}
	if s.conn, err = pgx.ConnectConfig(ctx, config); err != nil {
		return nil, err
	}
	if err := s.behind(ctx, s.conn, raise); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// write does all of do, or nothing when the token is no longer the greatest.
func (s *store) write(ctx context.Context, do func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		if err := s.behind(ctx, tx, pass); err != nil {
			return err
		}
		return do(tx)
	})
}

// behind runs one of the two statements; that it finds no row is the refusal.
func (s *store) behind(ctx context.Context, db interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, statement string) error {
	found, err := db.Exec(ctx, statement, s.service, s.token)
	if err == nil && found.RowsAffected() == 0 {
		err = fmt.Errorf("token %d is refused: %s has been written with a greater one since", s.token, s.service)
	}
	return err
}

func (s *store) close(ctx context.Context) { _ = s.conn.Close(ctx) } // there is nothing left to lose
