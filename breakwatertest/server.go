package breakwatertest

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Server is one running host of a [Fleet].
type Server struct {
	host   Host
	origin string
	base   string // origin and base path
	addr   string // what a client dials

	fleet *Fleet
	http  *http.Server
	conns tracker

	// life guards what listens. It is held while a port is taken back, and
	// apart from mu so that requests go on meanwhile.
	life     sync.Mutex
	listener net.Listener // nil while refused
	pipe     *pipeListener
	stopped  bool

	mu       sync.Mutex
	fault    Fault
	next     []Fault
	pace     Pace
	requests []Request
	inFlight int
	busy     map[string]int // answers under way per key and model
	serial   int
}

func newServer(f *Fleet, host Host) *Server {
	host.Models, host.Keys = slices.Clone(host.Models), slices.Clone(host.Keys)
	s := &Server{host: host, fleet: f, pace: host.Pace.withDefaults(), busy: make(map[string]int)}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.handlers.begin()
			defer f.handlers.end()
			s.serve(w, r)
		}),
		ErrorLog:    log.New(io.Discard, "", 0), // broken connections are our trade
		BaseContext: func(net.Listener) context.Context { return f.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				f.conns.Add(1)
			case http.StateClosed:
				f.conns.Done()
			}
		},
	}
	s.secure()
	return s
}

type connKey struct{}

// URL is the base URL to configure a client with, without a trailing slash.
func (s *Server) URL() string { return s.base }

// Name is the host's name.
func (s *Server) Name() string { return s.host.Name }

// Break makes every request from now on meet the fault, until another Break or
// [Server.Heal]. Requests under way go on as they began, except that a fault in
// how connections begin, such as [Refused], closes those there are. Faults inside
// a 200 show in answers only, on any [Wire].
func (s *Server) Break(f Fault) {
	s.setFault(func() { s.fault = f })
}

// BreakNext makes the next n requests for an answer meet the fault. It comes before what
// [Server.Break] set, and a second BreakNext queues behind the first.
func (s *Server) BreakNext(n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.next = append(s.next, f)
	}
}

// Heal ends all faults. It panics if the port of a refused TCP host was taken by
// another process meanwhile.
func (s *Server) Heal() {
	s.setFault(func() { s.fault, s.next = Fault{}, nil })
}

// SetPace changes how fast requests from now on are answered.
func (s *Server) SetPace(p Pace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace = p.withDefaults()
}

// InFlight is the number of requests under way. A request leaves it just before
// the last piece of its answer is sent, or when its client has left.
func (s *Server) InFlight() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}

// Requests returns the requests received since the start or [Server.Forget].
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Connections is the number of connections accepted since the start or
// [Server.Forget].
func (s *Server) Connections() int { return s.conns.count() }

// Forget empties [Server.Requests] and sets [Server.Connections] to zero.
func (s *Server) Forget() {
	s.mu.Lock()
	s.requests = nil
	s.mu.Unlock()
	s.conns.forget()
}
