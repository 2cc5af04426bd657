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
	s.origin = "http://" + s.addr
	if s.fleet.inPipes {
		s.origin = "http://" + s.host.Name + ".localhost"
	}
	s.base = s.origin + trimSlash(s.host.BasePath)
	return nil
}

// listen needs life to be held.
func (s *Server) listen() error {
	if s.fleet.inPipes {
		if s.addr == "" { // written once, since clients read it without a lock
			s.addr = s.host.Name + ".localhost:80"
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
		_ = s.http.Serve(tracked) // it always ends with the listener's closing
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
	refused := s.fault.kind == kindRefused
	s.mu.Unlock()
	switch {
	case s.stopped:
	case refused && s.listener != nil:
		_ = s.listener.Close() // there is nothing to do about a failure
		s.listener = nil
		s.conns.closeAll()
	case !refused && s.listener == nil:
		if err := s.listen(); err != nil {
			panic("breakwatertest: host " + s.host.Name + " cannot listen again: " + err.Error())
		}
	}
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

func (s *Server) dialPipe(ctx context.Context) (net.Conn, error) {
	s.life.Lock()
	l := s.pipe // a closed one refuses by itself
	s.life.Unlock()
	return l.dial(ctx)
}
