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

// A Server is one running host of a [Fleet]. It is safe for concurrent use.
type Server struct {
	host   Host
	origin string
	base   string // the origin and the base path
	addr   string // the address that clients dial

	fleet *Fleet
	http  *http.Server
	conns tracker

	// life guards the fields below it. It is separate from mu, because it is held
	// while a port is opened again, and requests must not wait for that.
	life     sync.Mutex
	listener net.Listener // nil while refused
	pipe     *pipeListener
	stopped  bool

	mu        sync.Mutex
	keys      []string // that are accepted; empty: any
	fault     Fault
	next      []Fault
	pace      Pace
	requests  []Request
	sightings []*sighting // what verdicts on clients need of them
	known     []string    // keys that were its own at some time
	inFlight  int
	busy      map[string]int // answers under way, for each key and model
	serial    int
}

func newServer(f *Fleet, host Host) *Server {
	host.Models = slices.Clone(host.Models)
	s := &Server{host: host, keys: slices.Clone(host.Keys), known: slices.Clone(host.Keys), fleet: f, pace: host.Pace.withDefaults(), busy: make(map[string]int)}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.handlers.begin()
			defer f.handlers.end()
			s.serve(w, r)
		}),
		ErrorLog:    log.New(io.Discard, "", 0), // faults break connections on purpose
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

// URL returns the base URL for a client, without a trailing slash.
func (s *Server) URL() string { return s.base }

// Name returns the host's name.
func (s *Server) Name() string { return s.host.Name }

// Break gives every later request the fault f, until another Break or
// [Server.Heal]. Requests under way are not affected, except that faults of
// connections, such as [Refused], close the open ones. A fault inside a 200 affects
// only requests for an answer, on any [Wire].
func (s *Server) Break(f Fault) {
	s.setFault(func() { s.fault = f })
}

// BreakNext gives the next n requests for an answer the fault f, instead of that of
// [Server.Break]. A second BreakNext takes effect after the first.
func (s *Server) BreakNext(n int, f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.next = append(s.next, f)
	}
}

// Heal ends all faults. It panics if another process has taken the port of a
// [Refused] host.
func (s *Server) Heal() {
	s.setFault(func() { s.fault, s.next = Fault{}, nil })
}

// SetPace sets the pace of the answers to later requests.
func (s *Server) SetPace(p Pace) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace = p.withDefaults()
}

// SetKeys sets the keys that later requests must have, in place of those of [Host].Keys, as
// when keys are rotated.
func (s *Server) SetKeys(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = slices.Clone(keys)
	s.known = append(s.known, keys...)
}

// InFlight returns the number of requests under way. A request counts until just
// before the last piece of its answer is sent, or until its client has left.
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

// Connections returns the number of connections accepted since the start or
// [Server.Forget].
func (s *Server) Connections() int { return s.conns.count() }

// Forget clears [Server.Requests] and sets [Server.Connections] to zero.
func (s *Server) Forget() {
	s.mu.Lock()
	s.requests, s.sightings = nil, nil
	s.mu.Unlock()
	s.conns.forget()
}
