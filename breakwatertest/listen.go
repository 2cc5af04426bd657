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

// listen needs life to be held.
func (s *Server) listen() error {
	if s.fleet.inPipes {
		if s.addr == "" { // written once, since clients read it without a lock
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
		// It always ends with the listener's closing.
		if s.encrypted() {
			_ = s.http.ServeTLS(tracked, "", "")
		} else {
			_ = s.http.Serve(tracked)
		}
	})
	return nil
}

// setFault changes the faults and then opens or closes the listener to match;
// under one lock, so that of two calls at once one wins in both.
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
		_ = s.listener.Close() // there is nothing to do about a failure
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

// needsNewConnections reports whether the fault is in how a connection begins.
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
		_ = s.listener.Close() // there is nothing to do about a failure
	}
	_ = s.http.Close() // as above
	s.conns.closeAll()
}

// unknown reports whether the host's name is not to be found.
func (s *Server) unknown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault.kind == kindNoSuchHost
}

func (s *Server) dialPipe(ctx context.Context) (net.Conn, error) {
	s.life.Lock()
	l := s.pipe // a closed one refuses by itself
	s.life.Unlock()
	return l.dial(ctx)
}
