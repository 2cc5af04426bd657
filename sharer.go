package breakwater

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// A sharer is one caller of a flight, and the body of its response.
type sharer struct {
	flight *flight
	call   *call
	stop   func() bool // stops watching for the caller's end; nil: nobody watches

	// Guarded by the flight's mu.
	at   int64
	all  bool // it waits for the whole answer
	gone bool
	err  error // what it reads from now on
}

var errBehind = errors.New("breakwater: too far behind the others who share the answer")

func (f *flight) isAnswered() bool {
	select {
	case <-f.answered:
		return true
	default:
		return false
	}
}

// await waits for the answer. It reports false where that is not this caller's
// to have: who asks then asks by himself.
func (s *sharer) await() (resp *http.Response, err error, ok bool) {
	f, c := s.flight, s.call
	select {
	case <-f.answered:
	case <-c.Done():
		if s.leave(c.Err(), context.Cause(c)) {
			<-f.answered // which comes now
		}
		return nil, context.Cause(c), true
	}
	leads := s == f.leader
	if leads {
		if p := f.takePanic(); p != nil {
			panic(p)
		}
	}
	if !leads && !f.suits(c) {
		s.Close()
		return nil, nil, false
	}
	c.endAs(f.call)
	switch {
	case f.err != nil:
		return nil, f.err, true
	case !leads && f.resp.StatusCode == http.StatusOK && !f.cameFor(c.form()):
		resp, err = s.recast()
		return resp, err, resp != nil || err != nil
	}
	resp = s.response()
	if f.whole {
		resp.Body = bodyOf(f.data, f.end)
	} else {
		resp.Body = s
		s.watch()
	}
	return resp, nil, true
}

// suits reports whether what came is this caller's, too. What was said to one
// credential is nobody else's, but for answers: they are the scope's. What is
// not to be stored is not to be used for another call at all: RFC 9111,
// section 5.2.2.5.
func (f *flight) suits(c *call) bool {
	goes := f.record.goes()
	switch {
	case f.err != nil && !f.call.exhausted, goes == nowhereElse:
		return false
	case f.err != nil, f.call.exhausted, f.resp.StatusCode != http.StatusOK, goes == itsOwn:
		return f.call.credential() == c.credential()
	}
	return true
}

// cameFor reports whether a call that wants that form can have the answer as it
// comes.
func (f *flight) cameFor(wants form) bool {
	return wants == f.form && wants.given(f.streams) == f.streams
}

func (f *flight) takePanic() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.panicked
	f.panicked = nil
	return p
}

// response is what came, for this caller, but for the body. Others than the
// leader see what a hit would show; of a failure, which is shared by callers of
// one credential, what it says of trying again.
func (s *sharer) response() *http.Response {
	f := s.flight
	resp := new(http.Response)
	*resp = *f.resp
	resp.Request = s.call.req
	switch {
	case s == f.leader:
		resp.Header = f.resp.Header.Clone()
		return resp
	case f.record.header != nil:
		resp.Header = f.record.header.Clone()
	default:
		resp.Header = f.resp.Header.Clone()
		delete(resp.Header, "Set-Cookie") // they may have sessions of their own
	}
	resp.Trailer = nil
	return resp
}

// watch has the caller's end end its part.
func (s *sharer) watch() {
	s.stop = context.AfterFunc(s.call, func() { s.leave(s.call.Err(), context.Cause(s.call)) })
}

// recast waits for the whole answer and gives it as the caller wants it, nil if
// that cannot be.
func (s *sharer) recast() (*http.Response, error) {
	s.watch()
	defer s.Close()
	f, c := s.flight, s.call
	data, err := s.whole()
	if err != nil || data == nil {
		return nil, err
	}
	e := f.entry(data)
	body, ok := e.in(c, false)
	if !ok {
		return nil, nil
	}
	resp := s.response()
	if gives := c.form().given(e.Streamed); gives != e.Streamed {
		recastHeader(resp.Header, gives)
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = bodyOf(body, io.EOF), int64(len(body)), nil
	return resp, nil
}

// whole waits for the whole answer; nil: it is not to be had.
func (s *sharer) whole() ([]byte, error) {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	s.all = true
	for {
		switch {
		case f.over, !f.judged:
			return nil, nil
		case s.err != nil:
			return nil, s.err
		case f.complete > 0:
			return f.data[:f.complete:f.complete], nil
		case f.end != nil:
			return nil, nil
		}
		f.waitLocked()
	}
}

// waitLocked waits for more.
func (f *flight) waitLocked() {
	f.wanting = true
	f.want.Signal()
	f.more.Wait()
}

// Read gives the caller the next bytes.
func (s *sharer) Read(p []byte) (int, error) {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		switch rest := f.data[min(max(s.at-f.base, 0), int64(len(f.data))):]; {
		case s.err != nil:
			return 0, s.err
		case len(rest) > 0:
			n := copy(p, rest)
			s.at += int64(n)
			return n, nil
		case f.end != nil:
			if p := f.panicked; p != nil { // of an Observer, say: somebody has to hear of it
				f.panicked = nil
				panic(p)
			}
			if s.stop != nil {
				s.stop()
			}
			return 0, f.end
		}
		f.waitLocked()
	}
}

// Close ends this caller's part, and the exchange if it was the last one's.
func (s *sharer) Close() error {
	if s.stop != nil {
		s.stop()
	}
	s.leave(nil, http.ErrBodyReadAfterClose)
	if f := s.flight; f.isEmpty() { // if by a cancel: a body need not heed that
		f.closeBody()
		f.cancel(errClosed)
	}
	return nil
}

// leave takes the sharer out, and reports whether it was the last, whose part
// it is to close the body; err is why, if the caller's context has ended. What
// it reads from now on ends in cause.
func (s *sharer) leave(err, cause error) (last bool) {
	f := s.flight
	f.mu.Lock()
	if s.gone {
		f.mu.Unlock()
		return false
	}
	f.dropLocked(s, cause)
	last = len(f.sharers) == 0
	var body io.Closer
	if last {
		f.empty, f.left = true, err
		if err == nil { // nobody else is to begin to close it: it is closed when Close returns
			body, f.body = f.body, nil
		}
	}
	f.more.Broadcast()
	f.want.Signal()
	f.mu.Unlock()
	if body != nil {
		body.Close()
	}
	if last && err != nil {
		f.cancel(cause)
	}
	return last
}

func (f *flight) isEmpty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.empty
}

func (f *flight) dropLocked(s *sharer, err error) {
	s.gone, s.err = true, err
	delete(f.sharers, s)
}

// bodyOf is a body from memory that ends in end.
func bodyOf(data []byte, end error) io.ReadCloser {
	if end != io.EOF {
		return failing(data, end)
	}
	b := &bytesBody{}
	b.Reset(data)
	return b
}
