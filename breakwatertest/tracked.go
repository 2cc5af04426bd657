package breakwatertest

import (
	"net"
	"sync"
	"sync/atomic"
)

// A tracker knows a server's open connections. http.Server knows them, too, but it
// closes them only when it is closed itself.
type tracker struct {
	mu       sync.Mutex
	open     map[*trackedConn]struct{}
	accepted int
}

type trackedConn struct {
	net.Conn
	tracker *tracker
	served  atomic.Int64 // requests received

	mu      sync.Mutex
	moved   sync.Cond // signals a write, and the connection's end
	written int       // in bytes
	ended   bool
}

// A trackedListener wraps each connection that it accepts.
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

// sent returns how many bytes were written.
func (c *trackedConn) sent() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// waitSent waits until n bytes were written or the connection has ended.
func (c *trackedConn) waitSent(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.written < n && !c.ended {
		c.moved.Wait()
	}
}

// reset closes the connection in such a way that the client sees a reset.
func (c *trackedConn) reset() {
	switch conn := c.Conn.(type) {
	case *net.TCPConn:
		_ = conn.SetLinger(0) // otherwise the client would see a normal end
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
