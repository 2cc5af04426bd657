package exchange

import "io"

// A Whole is an answer in one piece. It was read and checked before the commit, so
// the exchange can end as soon as its reader gets it.
type Whole struct {
	x    *Exchange
	body []byte
	read int // bytes of body
}

// Kind returns KindWhole.
func (w *Whole) Kind() Kind { return KindWhole }

// Observe reports the answer to c at once.
func (w *Whole) Observe(c Completion) {
	c.Pass(len(w.body), true)
	w.x.complete(c)
}

// Read implements io.Reader.
func (w *Whole) Read(p []byte) (int, error) {
	if w.read == len(w.body) {
		return 0, io.EOF
	}
	n := copy(p, w.body[w.read:])
	w.read += n
	return n, nil
}

// WriteTo implements io.WriterTo.
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

// Close does nothing: the exchange has ended.
func (w *Whole) Close() error { return nil }
