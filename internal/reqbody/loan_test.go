package reqbody

import (
	"io"
	"sync"
	"testing"
)

// used reports whether somebody may still use the buffer.
func (b *Buffer) used() bool { return b.users.Load() > 0 }

// lend returns a loan of a buffer that nobody else uses any more, and its body.
func lend(t *testing.T) (*Loan, *Buffer, io.Reader) {
	b, l := Get(0), new(Loan)
	b.Set([]byte("the body"))
	if l.IsOpen() {
		t.Error("a loan is open before Open")
	}
	body := l.Open(b)
	b.Release()
	if body.Close() != nil || !l.IsOpen() || !b.used() {
		t.Error("the loan is not a user of its buffer after Close, which tells nothing")
	}
	return l, b, body
}

func TestLoan(t *testing.T) {
	type steps func(*Loan, io.Reader)
	begin := func(l *Loan, _ io.Reader) { l.Begin() }
	read := func(_ *Loan, r io.Reader) {
		if text, err := io.ReadAll(r); string(text) != "the body" || err != nil {
			t.Errorf("read %q, %v", text, err)
		}
	}
	readPart := func(_ *Loan, r io.Reader) { r.Read(make([]byte, 3)) }
	back := func(l *Loan, _ io.Reader) { l.Return() }
	forfeit := func(l *Loan, _ io.Reader) { l.Forfeit() }
	for name, tt := range map[string]struct {
		steps []steps
		used  bool
	}{
		"nothing was said":            {[]steps{read}, true},
		"sent":                        {[]steps{begin, read, back}, false},
		"sent, then forfeited":        {[]steps{begin, read, back, forfeit}, false},
		"forfeited":                   {[]steps{begin, read, forfeit, back}, true},
		"another request was sent":    {[]steps{begin, back, begin, read, back}, true},
		"another one without headers": {[]steps{back, begin, read, back}, true},
		"another one during this":     {[]steps{begin, readPart, begin, back, back}, true},
		"another one before its end":  {[]steps{begin, begin, read, back, back}, true},
		"headers without a body":      {[]steps{begin, back}, true},
		"read in part":                {[]steps{begin, readPart, back}, true},
	} {
		l, b, body := lend(t)
		for _, step := range tt.steps {
			step(l, body)
		}
		if b.used() != tt.used {
			t.Errorf("%s: the buffer is used: %v, want %v", name, b.used(), tt.used)
		}
	}
}

// A buffer is returned once, because it may be another call's afterwards.
func TestLoan_ReturnsOnce(t *testing.T) {
	l, b, body := lend(t)
	l.Begin()
	io.Copy(io.Discard, body)
	l.Return()
	if b.used() {
		t.Fatal("the buffer is used after Return")
	}
	b.users.Store(1) // another call's
	l.Return()
	if !b.used() {
		t.Error("the second Return released another call's buffer")
	}
}

// What others send with the request's context may be sent while the body is read, and
// others' bodies come into buffers that were returned.
func TestLoan_OthersBeside(t *testing.T) {
	for range 1000 {
		l, _, body := lend(t)
		var others sync.WaitGroup
		others.Go(func() {
			l.Begin()
			l.Return()
			b := Get(0)
			b.Set(append(b.Bytes(), "another!"...))
			b.Release()
		})
		l.Begin()
		if text, _ := io.ReadAll(body); string(text) != "the body" {
			t.Fatalf("read %q", text)
		}
		l.Return()
		others.Wait()
	}
}
