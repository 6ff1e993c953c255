package scale

import (
	"context"
	"errors"
	"fmt"
	"time"

	consulapi "github.com/hashicorp/consul/api"

	"github.com/tealdeploy/teal/testbed/world"
)

// echo is the floor of a command: somebody who watches a prefix by one blocking
// query and answers what is put there in one transaction, without looking at
// it. Nobody obeys a command sooner on this machine.
type echo struct {
	world  *world.World
	cancel context.CancelFunc
	done   chan struct{}
	n      int
}

const (
	echoAsk    = "scale-echo/ask/"
	echoAnswer = "scale-echo/answer"
)

func newEcho(w *world.World) *echo {
	ctx, cancel := context.WithCancel(context.Background())
	e := &echo{world: w, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(e.done)
		e.answer(ctx)
	}()
	return e
}

func (e *echo) answer(ctx context.Context) {
	client := e.world.ConsulClient()
	for index := uint64(0); ctx.Err() == nil; {
		pairs, meta, err := client.KV().List(echoAsk, (&consulapi.QueryOptions{WaitIndex: index}).WithContext(ctx))
		if err != nil {
			index = 0
			continue // it is ended, or the sample fails for want of an answer
		}
		index = meta.LastIndex
		for _, p := range pairs {
			_, _, _, _ = client.Txn().Txn(consulapi.TxnOps{
				{KV: &consulapi.KVTxnOp{Verb: consulapi.KVCheckIndex, Key: p.Key, Index: p.ModifyIndex}},
				{KV: &consulapi.KVTxnOp{Verb: consulapi.KVDelete, Key: p.Key}},
				{KV: &consulapi.KVTxnOp{Verb: consulapi.KVSet, Key: echoAnswer, Value: p.Value}},
			}, (&consulapi.QueryOptions{}).WithContext(ctx))
		}
	}
}

// sample is one question until its answer.
func (e *echo) sample(ctx context.Context) (time.Duration, error) {
	e.n++
	word := fmt.Sprint(e.n)
	began := time.Now()
	if err := e.world.Put(ctx, echoAsk+"word", word); err != nil {
		return 0, err
	}
	err := e.world.AwaitKey(ctx, echoAnswer, func(p *consulapi.KVPair) bool { return p != nil && string(p.Value) == word })
	if err != nil {
		return 0, errors.Join(errors.New("the floor of a command"), err)
	}
	return time.Since(began), nil
}

func (e *echo) close() {
	e.cancel()
	<-e.done
}
