package breakwatertest

import (
	"net"
	"sync"
	"sync/atomic"
)

// tracker remembers a server's open connections. http.Server knows them too,
// but closes them for good only together with itself.
type tracker struct {
	mu       sync.Mutex
	open     map[*trackedConn]struct{}
	accepted int
}

type trackedConn struct {
	net.Conn
	tracker *tracker
	served  atomic.Int64 // requests that came on it

	mu      sync.Mutex
	moved   sync.Cond // wakes at a write and when the connection ends
	written int       // bytes
	ended   bool
}

// trackedListener wraps each connection it accepts.
type trackedListener struct {
	net.Listener
	tracker *tracker
}

func (l trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tracked := &trackedConn{Conn: conn, tracker: l.tracker}
	tracked.moved.L = &tracked.mu
	l.tracker.mu.Lock()
	defer l.tracker.mu.Unlock()
	if l.tracker.open == nil {
		l.tracker.open = make(map[*trackedConn]struct{})
	}
	l.tracker.open[tracked] = struct{}{}
	l.tracker.accepted++
	return tracked, nil
}

func (c *trackedConn) Close() error {
	c.tracker.mu.Lock()
	delete(c.tracker.open, c)
	c.tracker.mu.Unlock()
	c.mu.Lock()
	c.ended = true
	c.moved.Broadcast()
	c.mu.Unlock()
	return c.Conn.Close()
}

func (c *trackedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += n
	c.ended = c.ended || err != nil
	c.moved.Broadcast()
	return n, err
}

// sent is how many bytes were written.
func (c *trackedConn) sent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// waitSent waits until so many bytes were written, or the connection has ended.
func (c *trackedConn) waitSent(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.written < n && !c.ended {
		c.moved.Wait()
	}
}

// reset closes the connection so that the client sees a reset, not an end.
func (c *trackedConn) reset() {
	switch conn := c.Conn.(type) {
	case *net.TCPConn:
		_ = conn.SetLinger(0) // without it the client sees a plain end
	case *pipeConn:
		conn.reset()
	}
	_ = c.Close() // it may be closed already
}

func (t *tracker) closeAll() {
	t.mu.Lock()
	var conns []*trackedConn
	for c := range t.open {
		conns = append(conns, c)
	}
	t.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // it may be closed already
	}
}

func (t *tracker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.accepted
}

func (t *tracker) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.accepted = 0
}
