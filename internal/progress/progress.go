// Package progress has a reader that gives up on a source that makes no
// progress. It has no state but a count, and is for one reader at a time. What
// a base transport or a caller hands in is read through it.
package progress

import "io"

// MaxEmptyReads is how many reads in a row may return neither bytes nor an
// error.
const MaxEmptyReads = 100

// A Reader ends in io.ErrNoProgress where the reader below it keeps returning
// neither bytes nor an error, which the contract of io.Reader allows. io.ReadAll
// and io.Copy would spin on that for ever. It needs nothing but its Reader.
type Reader struct {
	io.Reader
	empty int // reads in a row that brought nothing
}

// Read reads from the reader below.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 || err != nil || len(p) == 0 {
		r.empty = 0
		return n, err
	}
	if r.empty++; r.empty > MaxEmptyReads {
		return 0, io.ErrNoProgress
	}
	return 0, nil
}
