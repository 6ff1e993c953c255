package nomadtest

import "testing"

func TestFake(t *testing.T) {
	Contract(t, func(t *testing.T) Subject { return Subject{Client: New().Client("agent")} })
}
