package breakwatertest

import (
	"context"
	"net"
)

// start opens the host's listener for the first time.
func (s *Server) start() error {
	s.life.Lock()
	defer s.life.Unlock()
	if err := s.listen(); err != nil {
		return err
	}
	scheme, authority := "http", s.addr
	if s.fleet.inPipes {
		authority = s.host.Name + ".localhost"
	}
	if s.encrypted() {
		scheme = "https"
	}
	s.origin = scheme + "://" + authority
	s.base = s.origin + trimSlash(s.host.BasePath)
	return nil
}

// listen opens the listener. The caller must hold life.
func (s *Server) listen() error {
	if s.fleet.inPipes {
		if s.addr == "" { // set only once, because clients read it without a lock
			s.addr = s.host.Name + ".localhost:80"
			if s.encrypted() {
				s.addr = s.host.Name + ".localhost:443"
			}
		}
		s.pipe = newPipeListener(pipeAddr(s.addr))
		s.listener = s.pipe
	} else {
		addr := s.addr
		if addr == "" {
			addr = "127.0.0.1:0"
		}
		l, err := listen(addr)
		if err != nil {
			return err
		}
		if s.addr == "" {
			s.addr = l.Addr().String()
		}
		s.listener = l
	}
	tracked := trackedListener{s.listener, &s.conns}
	s.fleet.serving.Go(func() {
		// Serve always returns an error: that the listener was closed.
		if s.encrypted() {
			_ = s.http.ServeTLS(tracked, "", "")
		} else {
			_ = s.http.Serve(tracked)
		}
	})
	return nil
}

// setFault changes the faults and then opens or closes the listener accordingly. It
// holds life all the time, so that the listener matches the faults if two goroutines
// call it at once.
func (s *Server) setFault(change func()) {
	s.life.Lock()
	defer s.life.Unlock()
	s.mu.Lock()
	change()
	f := s.fault
	s.mu.Unlock()
	if s.stopped {
		return
	}
	closed := f.kind == kindRefused || f.kind == kindNoSuchHost
	switch {
	case closed && s.listener != nil:
		_ = s.listener.Close() // if it fails, there is nothing more to do
		s.listener = nil
	case !closed && s.listener == nil:
		if err := s.listen(); err != nil {
			panic("breakwatertest: host " + s.host.Name + " cannot listen again: " + err.Error())
		}
	}
	if closed || s.needsNewConnections(f) {
		s.conns.closeAll()
	}
}

// needsNewConnections reports whether the fault acts at the beginning of a
// connection.
func (s *Server) needsNewConnections(f Fault) bool {
	switch f.kind {
	case kindBadCertificate:
		return s.encrypted()
	case kindGoAway, kindRefusedStream:
		return s.host.HTTP2
	}
	return false
}

// stop closes the listener and all connections for good.
func (s *Server) stop() {
	s.life.Lock()
	defer s.life.Unlock()
	s.stopped = true
	if s.listener != nil {
		_ = s.listener.Close() // if it fails, there is nothing more to do
	}
	_ = s.http.Close() // the same
	s.conns.closeAll()
}

// unknown reports whether the host's name is unknown now.
func (s *Server) unknown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault.kind == kindNoSuchHost
}

func (s *Server) dialPipe(ctx context.Context) (net.Conn, error) {
	s.life.Lock()
	l := s.pipe // if it is closed, it refuses the connection
	s.life.Unlock()
	return l.dial(ctx)
}
