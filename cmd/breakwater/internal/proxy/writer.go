package proxy

import (
	"net/http"
	"sync"
	"time"
)

// A writer is the answer to a client. It notes what was sent, and cuts a client that takes nothing of what
// is there. Time passes only within a Write or Flush, so a model may be as slow as it likes.
type writer struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration

	status int
	bytes  int64
	first  time.Time // of the first byte of the body

	mu    sync.Mutex // guards the rest, which the timer uses
	timer *time.Timer
	busy  bool // a Write or Flush is under way
	cut   bool // it took too long
}

func newWriter(w http.ResponseWriter, limit time.Duration) *writer {
	return &writer{ResponseWriter: w, control: http.NewResponseController(w), limit: limit}
}

// Unwrap is for http.ResponseController.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader notes the status.
func (w *writer) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write passes p on, within the limit.
func (w *writer) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.first.IsZero() {
		w.first = time.Now()
	}
	w.begin()
	n, err := w.ResponseWriter.Write(p)
	w.end()
	w.bytes += int64(n)
	return n, err
}

// FlushError sends what is there, within the limit.
func (w *writer) FlushError() error {
	w.begin()
	err := w.control.Flush()
	w.end()
	return err
}

func (w *writer) begin() {
	w.mu.Lock()
	w.busy = true
	if w.timer == nil {
		w.timer = time.AfterFunc(w.limit, w.expire)
	} else {
		w.timer.Reset(w.limit)
	}
	w.mu.Unlock()
}

func (w *writer) end() {
	w.mu.Lock()
	w.busy = false
	w.timer.Stop()
	w.mu.Unlock()
}

// expire ends the write under way. net/http fails it, and all that follow, once the deadline
// is over.
func (w *writer) expire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy && !w.cut {
		w.cut = true
		w.control.SetWriteDeadline(time.Unix(1, 0))
	}
}

// isCut reports whether the client took nothing for too long.
func (w *writer) isCut() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cut
}
