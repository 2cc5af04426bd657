package breakwatertest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A pipeConn is one end of an in-memory connection.
type pipeConn struct {
	in, out       *half
	local, remote net.Addr
	closing       sync.Once
}

func (c *pipeConn) Read(p []byte) (int, error) {
	n, err := c.in.take(p)
	return n, c.opError("read", err)
}

func (c *pipeConn) Write(p []byte) (int, error) {
	n, err := c.out.put(p)
	return n, c.opError("write", err)
}

// opError wraps an error as net's connections do, so that a client's errors.As and
// checks of Timeout have the same result as on TCP.
func (c *pipeConn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return &net.OpError{Op: op, Net: "pipe", Source: c.local, Addr: c.remote, Err: err}
}

func (c *pipeConn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		c.out.mark(func() { c.out.sent = true })
		c.in.mark(func() { c.in.unwanted = true })
		err = nil
	})
	return c.opError("close", err)
}

// reset closes the connection so that the other end gets ECONNRESET.
func (c *pipeConn) reset() {
	c.out.mark(func() { c.out.reset = true })
	c.in.mark(func() { c.in.reset = true })
	_ = c.Close() // it may be closed already
}

func (c *pipeConn) LocalAddr() net.Addr  { return c.local }
func (c *pipeConn) RemoteAddr() net.Addr { return c.remote }

func (c *pipeConn) SetDeadline(t time.Time) error {
	c.in.setLimit(&c.in.read, t)
	c.out.setLimit(&c.out.write, t)
	return nil
}

func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.in.setLimit(&c.in.read, t)
	return nil
}

func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.out.setLimit(&c.out.write, t)
	return nil
}

// A pipeAddr is a host and port that exist only in memory.
type pipeAddr string

func (pipeAddr) Network() string  { return "pipe" }
func (a pipeAddr) String() string { return string(a) }

// A pipeListener accepts connections without a network.
type pipeListener struct {
	addr   pipeAddr
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener(addr pipeAddr) *pipeListener {
	return &pipeListener{addr: addr, queue: make(chan net.Conn), closed: make(chan struct{})}
}

// dial waits until the server accepts. If the listener is closed, dial returns the
// same error as for a closed TCP port.
func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := newPipe(pipeAddr("client"), l.addr)
	select {
	case <-l.closed: // checked alone first, because select chooses at random
		return nil, l.refusal()
	default:
	}
	select {
	case l.queue <- server:
		return client, nil
	case <-l.closed:
		return nil, l.refusal()
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: l.addr, Err: ctx.Err()}
	}
}

func (l *pipeListener) refusal() error {
	return &net.OpError{
		Op: "dial", Net: "tcp", Addr: l.addr,
		Err: os.NewSyscallError("connect", syscall.ECONNREFUSED),
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.queue:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.addr }
