package breakwatertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// An exchange is one request that the handler serves. Its methods may panic with
// http.ErrAbortHandler, so that net/http ends the handler and breaks the connection.
// They do that to act out a fault, and when the client has left.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	ctx   context.Context
	in    Request
	op    operation
	wire  Wire
	asks  *question // nil if the body is not valid on the wire
	fault Fault
	pace  Pace
	id    int
	out   outlet
	done  func() // removes the request from those under way
	seen  *sighting
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: w, ctx: r.Context(), in: received(r)}
	x.op, x.wire = s.route(r.Method, r.URL.Path)
	leave := s.enter()
	x.done = leave
	// acquire may replace x.done, so it must be read at the end.
	defer func() {
		x.done()
		s.sawEnd(x.seen)
	}()

	s.meet(x)
	if x.fault.kind == kindNoContinue {
		defer x.refuseContinue(r)()
	}
	body, err := x.in.read(r.Body)
	if x.op == opAnswer {
		if x.asks = x.wire.question(body); x.asks != nil {
			x.in.Model, x.in.Stream, x.in.Prefix = x.asks.model, x.asks.stream, x.asks.prefix
		}
	}
	s.record(x)
	if err != nil {
		x.abort()
	}
	x.connectionFault()
	if trace := s.host.Dialect.row().Trace; trace != "" {
		x.w.Header().Set(trace, fmt.Sprintf("%s-%08d", s.host.Name, x.id))
	}
	if x.fault.kind == kindStatus {
		x.reply(x.fault.reply(x))
		return
	}
	if refusal, ok := x.authorize(); !ok {
		x.reply(refusal)
		return
	}
	switch x.op {
	case opAnswer:
		x.serveAnswer()
	case opModels:
		x.reply(reply{code: 200, contentType: "application/json", body: s.modelList()})
	case opBalance:
		x.reply(reply{code: 200, contentType: "application/json", body: balance})
	default:
		x.reply(x.refusal(dialect.NoSuchPath))
	}
}

// enter adds a request to those under way. leave removes it, once.
func (s *Server) enter() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inFlight++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.inFlight--
	})
}

// meet decides which fault the request meets.
func (s *Server) meet(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	x.id, x.pace, x.fault = s.serial, s.pace, s.fault
	if x.op == opAnswer && len(s.next) > 0 {
		x.fault, s.next = s.next[0], s.next[1:]
	}
	if x.fault.insideAnswer() && x.op != opAnswer {
		x.fault = Fault{}
	}
	x.in.Fault = x.fault.name
}

// record adds the request to Server.Requests.
func (s *Server) record(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, x.in)
	x.seen = sightingOf(x, len(s.requests))
	s.sightings = append(s.sightings, x.seen)
}

// connectionFault acts out the faults after which the client gets no byte.
func (e *exchange) connectionFault() {
	conn := e.conn()
	nth := conn.served.Add(1)
	switch e.fault.kind {
	case kindRefused, kindReset, kindNoSuchHost, kindBadCertificate:
		// Except for Reset, a request meets these only under BreakNext, or if it had
		// arrived before the fault was set.
		e.done()
		conn.reset()
		e.abort()
	case kindGoAway, kindRefusedStream:
		e.done()
		if !e.goAway(0, noError) {
			conn.reset()
		}
		e.abort()
	case kindIdleClosed:
		if nth > 1 {
			e.done()
			_ = conn.Close() // it may be closed already
			e.abort()
		}
	case kindBlackHole:
		e.hang()
	}
}

// conn returns the request's connection, without TLS.
func (e *exchange) conn() *trackedConn {
	switch c := e.ctx.Value(connKey{}).(type) {
	case *tls.Conn:
		return c.NetConn().(*trackedConn)
	case *trackedConn:
		return c
	}
	panic("breakwatertest: a connection of an unknown kind")
}

func (e *exchange) reply(p reply) {
	e.done()
	e.s.sawRefusal(e.seen, p)
	p.write(e.w)
}

func (e *exchange) abort() { panic(http.ErrAbortHandler) }

// hang waits for the client to leave or the fleet to close.
func (e *exchange) hang() {
	<-e.ctx.Done()
	e.abort()
}

func (e *exchange) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	if e.fault.kind == kindSplitAnywhere {
		e.release() // the client must not wait for the rest of an event meanwhile
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-e.ctx.Done():
		e.abort()
	}
}
