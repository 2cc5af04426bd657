package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// listeners are the sockets of a Server that runs.
type listeners struct {
	clients *bounded
	admin   net.Listener // nil: there is none
}

// A CutError says that calls were ended because their time to drain was over.
type CutError struct{ Calls int64 }

// Error says how many.
func (e *CutError) Error() string {
	return fmt.Sprintf("%d calls were not over when the time to drain was: their clients got an error", e.Calls)
}

// Listen opens the addresses of the configuration. Run serves them.
func (s *Server) Listen() error {
	l, err := net.Listen("tcp", s.fixed.Listen)
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() && s.settings.Load().auth.isOpen() {
		l.Close() // a name such as localhost may lead anywhere
		return &openError{s.fixed.Listen}
	}
	all := &listeners{clients: newBounded(l, s.fixed.Limits.Connections)}
	if s.fixed.Admin != "" {
		if all.admin, err = net.Listen("tcp", s.fixed.Admin); err != nil {
			l.Close()
			return fmt.Errorf("admin: %w", err)
		}
	}
	s.listening.Store(all)
	return nil
}

// Addr returns the address that clients connect to, once Listen has returned.
func (s *Server) Addr() net.Addr { return s.listening.Load().clients.Addr() }

// AdminAddr returns the address of Config.Admin, or nil.
func (s *Server) AdminAddr() net.Addr {
	if l := s.listening.Load().admin; l != nil {
		return l.Addr()
	}
	return nil
}

// connections returns how many connections of clients are open.
func (s *Server) connections() int {
	if l := s.listening.Load(); l != nil {
		return int(l.clients.open.Load())
	}
	return 0
}

// Run serves until ctx ends, and then until the calls that are under way are over, at most for
// Config.Drain, or until now is closed. Then it ends them: streams with an event that says so,
// and each with an error. It returns a [*CutError] if there were any, nil if there were none,
// and any other error if it cannot serve.
func (s *Server) Run(ctx context.Context, now <-chan struct{}) error {
	listening := s.listening.Load()
	if listening == nil {
		return errors.New("Run needs Listen first")
	}
	clients := s.server(s)
	admin := s.server(http.HandlerFunc(s.ServeAdmin))
	failed := make(chan error, 2)
	serve := func(srv *http.Server, l net.Listener) {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("%w", err)
		}
	}
	var l net.Listener = listening.clients
	if s.cert.Load() != nil {
		clients.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cert.Load(), nil },
		}
		l = tls.NewListener(l, clients.TLSConfig)
	}
	go serve(clients, l)
	if listening.admin != nil {
		go serve(admin, listening.admin)
	}
	defer admin.Close()
	defer clients.Close()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	return s.drain(clients, now)
}

// drain ends the service.
func (s *Server) drain(clients *http.Server, now <-chan struct{}) error {
	s.draining.Store(true)
	if s.fixed.Grace > 0 {
		s.log.Info("shutting down: calls are taken for a while, and /readyz says no", slog.Duration("grace", s.fixed.Grace))
		clients.SetKeepAlivesEnabled(false)
		select {
		case <-time.After(s.fixed.Grace):
		case <-now:
		}
	}
	s.log.Info("shutting down: waiting for calls under way", slog.Int64("calls", s.calls.Load()), slog.Duration("drain", s.fixed.Drain))
	ctx, cancel := context.WithTimeout(context.Background(), s.fixed.Drain)
	defer cancel()
	go func() {
		select {
		case <-now:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := clients.Shutdown(ctx)
	if err == nil {
		return nil
	}
	s.endCalls()
	last, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	if clients.Shutdown(last) != nil {
		clients.Close()
	}
	if n := s.cutCalls.Load(); n > 0 {
		return &CutError{n}
	}
	return nil
}

// lastWords is how long calls have to tell their clients that they were ended.
const lastWords = 2 * time.Second

// server returns an http.Server for a handler.
func (s *Server) server(h http.Handler) *http.Server {
	l := s.fixed.Limits
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 1000, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		ReadHeaderTimeout: l.HeaderTime,
		IdleTimeout:       l.IdleTime,
		MaxHeaderBytes:    l.Header,
		// It tells of connections that broke, which clients cause.
		ErrorLog: log.New(debugLog{s.log}, "", 0),
	}
}

// debugLog writes the lines of net/http to the log, without what a client may have put into them.
type debugLog struct{ log *slog.Logger }

// Write writes a line. That of a panic, a mistake in the proxy, ends in where it happened.
func (d debugLog) Write(p []byte) (int, error) {
	if first, stack, _ := bytes.Cut(p, []byte("\n")); bytes.Contains(first, []byte("panic")) {
		d.log.Error("panic", slog.String("stack", string(stack)))
	} else {
		d.log.Debug("a connection broke, or brought no request")
	}
	return len(p), nil
}

// bounded is a net.Listener with a bound of connections.
type bounded struct {
	net.Listener
	open   atomic.Int64
	free   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func newBounded(l net.Listener, n int) *bounded {
	return &bounded{Listener: l, free: make(chan struct{}, n), closed: make(chan struct{})}
}

// Accept returns the next connection, once there is room for it.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.free <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	b.open.Add(1)
	return &counted{Conn: c, of: b}, nil
}

// Close closes the listener.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// counted is a connection of bounded.
type counted struct {
	net.Conn
	of   *bounded
	once sync.Once
}

// CloseWrite lets net/http close its half first, so that a client that is still sending gets the
// answer that says why nobody reads on.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection.
func (c *counted) Close() error {
	c.once.Do(func() {
		c.of.open.Add(-1)
		<-c.of.free
	})
	return c.Conn.Close()
}
