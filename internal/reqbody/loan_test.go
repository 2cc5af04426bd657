package reqbody

import (
	"io"
	"testing"
)

// used reports whether somebody may still use the buffer.
func (b *Buffer) used() bool { return b.users.Load() > 0 }

// lend returns a loan of a buffer that nobody else uses any more.
func lend(t *testing.T) (*Loan, *Buffer) {
	b, l := Get(0), new(Loan)
	b.Set([]byte("the body"))
	if l.IsOpen() {
		t.Error("a loan is open before Open")
	}
	body := l.Open(b)
	b.Release()
	if text, err := io.ReadAll(body); string(text) != "the body" || err != nil || body.Close() != nil {
		t.Errorf("read %q, %v", text, err)
	}
	if !l.IsOpen() || !b.used() {
		t.Error("the loan is not a user of its buffer after Close, which tells nothing")
	}
	return l, b
}

func TestLoan_Return(t *testing.T) {
	l, b := lend(t)
	l.Return()
	if b.used() {
		t.Error("the buffer is used after Return")
	}
	b = Get(0) // perhaps the same one, and another call's
	l.Return()
	l.Forfeit()
	if !b.used() {
		t.Error("the second Return released another call's buffer")
	}
}

func TestLoan_Forfeit(t *testing.T) {
	l, b := lend(t)
	l.Forfeit()
	l.Return()
	if !b.used() {
		t.Error("the buffer can be used again after Forfeit")
	}
}
