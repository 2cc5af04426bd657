package breakwater

import (
	"net/http"
	"sync"

	"github.com/breakwater-go/breakwater/internal/store"
)

// A reach says how far an answer may go, by its own Cache-Control.
type reach int

const (
	everywhere  reach = iota // in its scope
	itsOwn                   // to callers of the credential that it was asked for with
	nowhereElse              // to its one caller
)

// reachOf says how far an answer of that header may go in its scope, which is
// shared if it is several credentials'.
func reachOf(h http.Header, shared bool) reach {
	switch r := store.RestrictionOf(h, shared); {
	case r.NoStore:
		return nowhereElse
	case r.Private:
		return itsOwn
	}
	return everywhere
}

// A recorder notes when the answer that goes through a body is whole.
type recorder struct {
	header http.Header // of a good answer, as others see it; nil: it is none
	shared bool        // the scope is several credentials'

	mu       sync.Mutex // guards what follows
	reach    reach
	written  int64
	payloads int  // events with one that went through
	done     bool // nothing is missing
	whole    bool // and it is one to keep
	endpoint string
	usage    bool
	failed   []byte // the host's event that the stream broke off in; nil: none
}

// begin notes what comes for a call.
func (r *recorder) begin(c *call, resp *http.Response) {
	r.shared = c.sought.scope.Shared()
	r.Continue(resp.Header)
	if resp.StatusCode == http.StatusOK {
		r.header = store.KeptHeader(resp.Header, r.shared)
	}
}

// Continue notes how far a response may go by its headers.
func (r *recorder) Continue(h http.Header) {
	r.narrow(reachOf(h, r.shared))
}

// Private notes that what follows is for the caller alone.
func (r *recorder) Private() { r.narrow(itsOwn) }

// narrow notes that the answer goes no further than that.
func (r *recorder) narrow(to reach) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reach = max(r.reach, to)
}

// goes says how far the answer may go.
func (r *recorder) goes() reach {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reach
}

// Pass notes n more bytes, and whether they carry payload.
func (r *recorder) Pass(n int, payload bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.written += int64(n)
	if payload {
		r.payloads++
	}
}

// said is how many events with payload went through.
func (r *recorder) said() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.payloads
}

// Complete notes that nothing is missing of the answer, and whether it is one to keep.
func (r *recorder) Complete(endpoint string, keepable, usage bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done, r.endpoint, r.usage = true, endpoint, usage
	r.whole = keepable && r.header != nil && r.reach == everywhere
}

// Break notes the host's event that the stream breaks off in, for those whom it concerns.
func (r *recorder) Break(event []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = event
}

func (r *recorder) failure() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) keepable() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done && r.whole
}

// size is how many bytes the whole answer has; 0: not known yet.
func (r *recorder) size() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		return 0
	}
	return r.written
}

func (r *recorder) saysUsage() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.usage
}
