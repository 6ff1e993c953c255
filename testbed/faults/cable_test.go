package faults

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// What is sent over a cable that is cut stays where it is, on both sides, and
// arrives when it is mended: the kernel has dropped it meanwhile.
func TestACableDropsPackets(t *testing.T) {
	c, err := newCable(32767)
	if errors.Is(err, errNoCable) {
		t.Log(err)
		return // packets are dropped by a Wire then, which has its own test
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	listener, err := c.listen()
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(conn, conn)
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	echo := func(text string, within time.Duration) error {
		if _, err := conn.Write([]byte(text)); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			return err
		}
		got := make([]byte, len(text))
		if _, err := io.ReadFull(conn, got); err != nil {
			return err
		}
		if string(got) != text {
			t.Errorf("%q came back, want %q", got, text)
		}
		return nil
	}
	if err := echo("whole", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := c.cut(); err != nil {
		t.Fatal(err)
	}
	if err := echo("cut", time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("over a cable that is cut: %v", err)
	}
	packets, err := c.mend()
	if err != nil || packets == 0 {
		t.Errorf("%d packets dropped, %v", packets, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	late := make([]byte, 3)
	if _, err := io.ReadFull(conn, late); err != nil || string(late) != "cut" {
		t.Errorf("%q arrived late, %v", late, err)
	}
}
