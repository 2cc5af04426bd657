package breakwatertest

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is about the size of a socket's buffer. Without a bound, a client that
// stops reading would never slow its host down.
const pipeBuffer = 64 << 10

// newPipe returns the two ends of an in-memory connection. Unlike net.Pipe it has a
// buffer: with net.Pipe a write waits for a read, so a host could not send its
// headers before the client has sent the whole request. Reads and writes wait only on
// a sync.Cond, because a synctest bubble counts that as durably blocked.
func newPipe(client, server net.Addr) (*pipeConn, *pipeConn) {
	up, down := newHalf(), newHalf()
	return &pipeConn{in: down, out: up, local: client, remote: server},
		&pipeConn{in: up, out: down, local: server, remote: client}
}

// A half is one direction of a connection.
type half struct {
	mu     sync.Mutex
	change *sync.Cond
	data   []byte

	sent     bool  // the writer has closed; after the data, reads return EOF
	unwanted bool  // the reader has closed, so that writes fail
	reset    bool  // the connection was reset
	read     limit // the reader's deadline
	write    limit // the writer's deadline
}

func newHalf() *half {
	h := &half{}
	h.change = sync.NewCond(&h.mu)
	return h
}

// A limit is a deadline. Its timer only wakes the waiting goroutines, which then look
// at the time. So a timer that fires after the deadline was moved does no harm.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func (h *half) setLimit(l *limit, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.at = at
	over := h.sent || h.unwanted || h.reset // no call waits from now on
	if wait := time.Until(at); !over && !at.IsZero() && wait > 0 {
		l.timer = time.AfterFunc(wait, h.wake)
	}
	h.change.Broadcast()
}

func (h *half) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change.Broadcast()
}

func (h *half) take(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.unwanted:
			return 0, net.ErrClosed
		case h.read.passed():
			return 0, os.ErrDeadlineExceeded
		case h.reset:
			return 0, os.NewSyscallError("read", syscall.ECONNRESET)
		case len(p) == 0:
			return 0, nil
		case len(h.data) > 0:
			n := copy(p, h.data)
			h.data = h.data[n:]
			h.change.Broadcast()
			return n, nil
		case h.sent:
			return 0, io.EOF
		}
		h.change.Wait()
	}
}

func (h *half) put(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	written := 0
	for {
		switch {
		case h.sent:
			return written, net.ErrClosed
		case h.write.passed():
			return written, os.ErrDeadlineExceeded
		case h.reset:
			return written, os.NewSyscallError("write", syscall.ECONNRESET)
		case h.unwanted:
			return written, os.NewSyscallError("write", syscall.EPIPE)
		case len(p) == 0:
			return written, nil
		}
		if n := min(len(p), pipeBuffer-len(h.data)); n > 0 {
			h.data = append(h.data, p[:n]...)
			p, written = p[n:], written+n
			h.change.Broadcast()
			continue
		}
		h.change.Wait()
	}
}

// mark changes the state and wakes all waiting goroutines. It also stops the timers,
// because a timer that is left would keep a bubble's clock running.
func (h *half) mark(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	for _, l := range []*limit{&h.read, &h.write} {
		if l.timer != nil && (h.unwanted || h.sent || h.reset) {
			l.timer.Stop()
			l.timer = nil
		}
	}
	h.change.Broadcast()
}
