package exchange

import "io"

// A Whole is an answer in one piece. It was read and checked before its reader
// got it, so that the exchange can end at once.
type Whole struct {
	x    *Exchange
	body []byte
	read int // bytes of body
}

// Kind says that the answer was checked.
func (w *Whole) Kind() Kind { return KindWhole }

// Bytes returns all of the answer, which nobody may change.
func (w *Whole) Bytes() []byte { return w.body }

// Observe tells c at once that nothing is missing.
func (w *Whole) Observe(c Completion) {
	c.Pass(len(w.body), true)
	w.x.completes(c)
}

func (w *Whole) Read(p []byte) (int, error) {
	if w.read == len(w.body) {
		return 0, io.EOF
	}
	n := copy(p, w.body[w.read:])
	w.read += n
	return n, nil
}

// WriteTo spares io.Copy a buffer.
func (w *Whole) WriteTo(to io.Writer) (int64, error) {
	rest := w.body[w.read:]
	if len(rest) == 0 {
		return 0, nil
	}
	n, err := to.Write(rest)
	w.read += n
	if err == nil && n < len(rest) {
		err = io.ErrShortWrite
	}
	return int64(n), err
}

// Close does nothing: the exchange is over.
func (w *Whole) Close() error { return nil }
