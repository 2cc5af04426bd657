package breakwatertest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// exchange is one request on its way through the handler. Its methods end the
// handler by panicking with http.ErrAbortHandler, which net/http turns into a
// broken connection: there is nothing else to do once a client has left.
type exchange struct {
	s     *Server
	w     http.ResponseWriter
	ctx   context.Context
	in    Request
	chat  *chatRequest // nil if the body is no chat request
	fault Fault
	pace  Pace
	id    int
	done  func() // ends the counting of the request
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	x := &exchange{s: s, w: w, ctx: r.Context()}
	leave := s.enter()
	x.done = leave
	// Not x.done as it is now: by then it may give back a concurrency slot too.
	defer func() { x.done() }()

	var err error
	x.in, x.chat, err = received(r)
	operation := s.operation(r)
	s.record(x, operation == "chat")
	if err != nil {
		x.abort()
	}
	x.connectionFault()
	if s.host.Dialect == DialectDeepSeek {
		w.Header().Set("X-Ds-Trace-Id", fmt.Sprintf("%s-%08d", s.host.Name, x.id))
	}
	if x.fault.kind == kindStatus {
		x.reply(x.fault.status(s.host.Dialect))
		return
	}
	if refusal, ok := s.authorize(x.in.Key); !ok {
		x.reply(refusal)
		return
	}
	switch operation {
	case "chat":
		x.serveChat()
	case "models":
		x.reply(reply{code: 200, contentType: "application/json", body: s.modelList()})
	case "balance":
		x.reply(reply{code: 200, contentType: "application/json", body: balance})
	default:
		x.reply(failure{
			status: 404, message: "Not Found", kind: "invalid_request_error", code: "not_found",
		}.reply(s.host.Dialect))
	}
}

// operation is what the request asks for, "" if there is no such thing.
func (s *Server) operation(r *http.Request) string {
	path, ok := strings.CutPrefix(r.URL.Path, trimSlash(s.host.BasePath))
	if !ok {
		return ""
	}
	if trimSlash(s.host.BasePath) == "" {
		for _, prefix := range []string{"/v1/", "/beta/"} {
			if rest, ok := strings.CutPrefix(path, prefix); ok {
				path = "/" + rest
				break
			}
		}
	}
	switch r.Method + " " + path {
	case "POST /chat/completions":
		return "chat"
	case "GET /models":
		return "models"
	case "GET /user/balance":
		return "balance"
	}
	return ""
}

// enter counts a request in; the function it returns counts it out, once.
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

// record decides which fault the request meets and keeps the request.
func (s *Server) record(x *exchange, isChat bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serial++
	x.id, x.pace, x.fault = s.serial, s.pace, s.fault
	if isChat && len(s.next) > 0 {
		x.fault, s.next = s.next[0], s.next[1:]
	}
	if x.fault.insideAnswer() && !isChat {
		x.fault = Fault{}
	}
	x.in.Fault = x.fault.name
	s.requests = append(s.requests, x.in)
}

// connectionFault acts out the faults that leave the client without a byte.
func (x *exchange) connectionFault() {
	switch x.fault.kind {
	case kindRefused, kindReset:
		// Refused, when the request was already in, or under BreakNext.
		x.done()
		if conn, ok := x.ctx.Value(connKey{}).(*trackedConn); ok {
			conn.reset()
		}
		x.abort()
	case kindBlackHole:
		x.hang()
	}
}

func (x *exchange) reply(p reply) {
	x.done()
	p.write(x.w)
}

func (x *exchange) abort() { panic(http.ErrAbortHandler) }

// hang waits for the client to leave or the fleet to close.
func (x *exchange) hang() {
	<-x.ctx.Done()
	x.abort()
}

func (x *exchange) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-x.ctx.Done():
		x.abort()
	}
}

// send writes a piece and flushes it, so that it leaves as one.
func (x *exchange) send(piece string) {
	if _, err := x.w.Write([]byte(piece)); err != nil {
		x.abort()
	}
	x.flush()
}

func (x *exchange) flush() {
	if err := http.NewResponseController(x.w).Flush(); err != nil {
		x.abort()
	}
}
