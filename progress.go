package breakwater

import "io"

// A progress is a reader that ends in io.ErrNoProgress where the one below it
// keeps returning neither bytes nor an error, as a reader may. io.ReadAll and
// io.Copy would spin on that for ever. What bases and callers hand in is read
// through it.
type progress struct {
	io.Reader
	idle int // reads in a row that brought nothing
}

// maxIdleReads is how often a body may return neither bytes nor an error.
const maxIdleReads = 100

func (r *progress) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 || err != nil || len(p) == 0 {
		r.idle = 0
		return n, err
	}
	if r.idle++; r.idle > maxIdleReads {
		return 0, io.ErrNoProgress
	}
	return 0, nil
}
