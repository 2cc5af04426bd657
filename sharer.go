package breakwater

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/sse"
	"github.com/breakwater-go/breakwater/internal/store"
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
	open bool   // what it has read ends within a block of lines
	last []byte // what it reads from now on
	err  error  // behind that
}

var (
	errBehind    = errors.New("breakwater: too far behind the others who share the answer")
	errNotShared = errors.New("breakwater: what the answer goes on with is not to be shared")
)

func (f *flight) isAnswered() bool {
	select {
	case <-f.answered:
		return true
	default:
		return false
	}
}

// A passage is a caller's way to an answer that others may share: it waits in
// one flight and, where that shows nothing for too long, in another beside it,
// up to three in all. The first answer that is the caller's to have is taken.
type passage struct {
	cache *cache
	call  *call
	wish  store.Control
	seen  *store.Entry // what was kept when it began
	next  http.RoundTripper
	began time.Time
	until time.Time // the caller's deadline; zero: there is none

	room  [3]*sharer
	in    []*sharer       // where it waits
	vain  []*flight       // where it has waited in vain: what came was others'
	alone bool            // it shares nothing
	news  <-chan struct{} // closed when another flight for the same has more to give
	late  *time.Timer     // runs out when it may ask anew; nil: it may not
	gives bool            // up, where it could ask anew or go on elsewhere: a renewal, for which nobody waits

	again bool    // it has boarded after it had waited in vain
	asked bool    // a call was made for it
	kept  bool    // an answer has been kept that will do
	taken *sharer // whose answer it has
	done  bool    // which is the caller's to close
}

// board has the passage begin in a flight that is under way or in one of its
// own, which nobody joins if it is to be alone. It reports false if an answer
// has come since the call looked.
func (p *passage) board() bool {
	k, c := p.cache, p.call
	p.began, p.until = time.Now(), c.until() // the caller's own code, which must not run under a lock
	p.stopTimer()
	p.again = len(p.vain) > 0
	if p.alone {
		s := k.newFlight(c, p.until, false).leader
		k.mu.Lock()
		p.enterLocked(s)
		k.mu.Unlock()
		p.lead(s)
		return true
	}
	k.mu.Lock()
	s := p.joinLocked(true)
	if s == nil {
		s = p.joinLocked(false)
	}
	if s == nil { // it may have answered between the two
		s = p.joinLocked(true)
	}
	if s != nil {
		p.late = time.NewTimer(p.lockAgeLocked(s.flight))
		p.enterLocked(s)
		k.mu.Unlock()
		return true
	}
	if e, ok := k.kept.Get(c.sought.key); ok && e != p.seen {
		k.mu.Unlock()
		return false
	}
	s = p.leadLocked()
	if oldest := p.oldestLocked(s.flight); oldest != nil {
		p.enterLocked(oldest)
	}
	p.enterLocked(s)
	k.mu.Unlock()
	p.lead(s)
	return true
}

// enterLocked has the passage wait in one more flight.
func (p *passage) enterLocked(s *sharer) {
	if p.in == nil {
		p.in = p.room[:0]
	}
	p.in = append(p.in, s)
	p.watchLocked()
}

// watchLocked looks out for other flights that have more to give.
func (p *passage) watchLocked() {
	p.news = nil
	if all := p.in[0].flight.among; all != nil {
		if all.news == nil {
			all.news = make(chan struct{})
		}
		p.news = all.news
	}
}

func (p *passage) watch() {
	p.cache.mu.Lock()
	defer p.cache.mu.Unlock()
	p.watchLocked()
}

// lead makes the call of a flight of the passage's own, where it waits.
func (p *passage) lead(s *sharer) {
	p.asked = true
	flies := false
	defer func() {
		if !flies { // an Observer panics: nobody is to wait for what does not come
			s.flight.ground()
		}
	}()
	p.cache.missed(p.call)
	flies = true
	go s.flight.fly(p.next)
}

// shares reports whether the answer is of a call that another leads.
func (p *passage) shares() bool { return p.taken != nil && p.taken != p.taken.flight.leader }

// leave takes the caller out of all it is still in, and out of what it has taken
// if that does not reach it, for its own code has panicked.
func (p *passage) leave() {
	p.stopTimer()
	p.end(nil, nil)
	if p.taken != nil && !p.done {
		p.taken.Close()
	}
}

func (p *passage) stopTimer() {
	if p.late != nil {
		p.late.Stop()
		p.late = nil
	}
}

// await waits for the answer. It reports false where none came that is this
// caller's to have.
func (p *passage) await() (resp *http.Response, err error, ok bool) {
	for len(p.in) > 0 && !p.kept && !ok {
		var late <-chan time.Time
		if p.late != nil {
			late = p.late.C
		}
		select {
		case <-p.ready(0):
			resp, err, ok = p.take(0)
		case <-p.ready(1):
			resp, err, ok = p.take(1)
		case <-p.ready(2):
			resp, err, ok = p.take(2)
		case <-p.news:
			p.overtaken()
		case <-late:
			p.askAnew()
		case <-p.call.Done():
			p.end(p.call.Err(), context.Cause(p.call))
			return nil, context.Cause(p.call), true
		}
	}
	return resp, err, ok
}

// take takes a flight's answer, if it is this caller's to have. Where he has to
// have all of it, he goes on waiting for that.
func (p *passage) take(i int) (resp *http.Response, err error, ok bool) {
	s := p.in[i]
	f, leads := s.flight, s == s.flight.leader
	if leads {
		if panicked := f.takePanic(); panicked != nil {
			panic(panicked)
		}
	}
	switch {
	case !leads && !f.suits(p.call):
	case len(p.in) > 1 && (f.err != nil || f.call.exhausted): // the other may be well
	case !leads && !s.all && f.err == nil && f.resp.StatusCode == http.StatusOK && !f.cameFor(p.call.format()):
		s.waitForAll()
		return nil, nil, false
	default:
		resp, err, ok = s.answer()
	}
	if ok {
		p.taken = s
	} else {
		s.Close()
		// Who waits for what is not to be shared, or in vain again, had better ask by itself.
		p.alone = p.alone || f.record.goes() == nowhereElse || p.again
		p.vain = append(p.vain, f)
	}
	p.in = slices.Delete(p.in, i, i+1)
	return resp, err, ok
}

// overtaken has the passage go on where another flight has more to give.
func (p *passage) overtaken() {
	if p.isReady() {
		p.watch()
		return
	}
	if p.gives {
		p.end(context.Canceled, outcome.ErrClosed)
		return
	}
	p.watch()
	if p.isKept() || len(p.in) == len(p.room) {
		return
	}
	p.cache.mu.Lock()
	defer p.cache.mu.Unlock()
	if s := p.joinLocked(true); s != nil {
		p.enterLocked(s)
	}
}

// isReady reports whether there is an answer in one of its flights.
func (p *passage) isReady() bool {
	for i := range p.in {
		select {
		case <-p.ready(i):
			return true
		default:
		}
	}
	return false
}

// askAnew has the passage wait in a second flight, if the first has been quiet
// for too long: in another for the same or, where all are quiet, in one of its
// own.
func (p *passage) askAnew() {
	if p.gives {
		p.end(context.DeadlineExceeded, context.DeadlineExceeded)
		return
	}
	if p.isKept() || len(p.in) > 1 {
		p.late = nil
		return
	}
	k, f := p.cache, p.in[0].flight
	k.mu.Lock()
	if rest := p.lockAgeLocked(f) - f.quiet(time.Now()); rest > 0 {
		k.mu.Unlock()
		p.late.Reset(rest)
		return
	}
	p.late = nil
	s := p.joinLocked(false)
	leads := s == nil
	if leads {
		s = p.leadLocked()
	}
	p.enterLocked(s)
	k.mu.Unlock()
	if leads {
		p.lead(s)
	}
}

// isKept looks whether an answer has been kept meanwhile that will do.
func (p *passage) isKept() bool {
	e, ok := p.cache.kept.Get(p.call.sought.key)
	if ok && e != p.seen && p.cache.lifetime.Freshness(e.Age(time.Now()), p.wish) == store.Fresh {
		_, p.kept = e.As(p.call.format(), p.call.op.Wire(), false)
	}
	return p.kept
}

// leaveWait is how long the last one to leave waits for the call to end, as it
// does at once where what is below heeds its context.
const leaveWait = 20 * time.Millisecond

// end has the passage wait nowhere any more. The caller's context has ended in
// err, for that cause; nil: it goes by itself.
func (p *passage) end(err, cause error) {
	if len(p.in) == 0 {
		return
	}
	soon, cancel := context.WithTimeout(context.Background(), leaveWait)
	defer cancel()
	for _, s := range p.in {
		if err != nil {
			s.leave(err, cause)
		} else {
			s.Close()
		}
		if !s.flight.isEmpty() {
			continue
		}
		select {
		case <-s.flight.answered:
		case <-soon.Done():
		}
	}
	p.in = nil
}

// ready is closed when there is an answer of one of its flights, or all of it if
// that is what the passage waits for; nil: it is in no such.
func (p *passage) ready(i int) <-chan struct{} {
	switch {
	case i >= len(p.in):
		return nil
	case p.in[i].all:
		return p.in[i].flight.settled
	}
	return p.in[i].flight.answered
}

// waitForAll has the sharer wait for all of the answer, which comes as fast as
// the host sends it then.
func (s *sharer) waitForAll() {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settled == nil {
		f.settled = make(chan struct{})
	}
	s.all = true
	if !s.gone {
		f.wholes++
	}
	f.waitsLocked()
	f.want.Signal()
	f.settleLocked()
}

// answer is the flight's answer for this caller. It reports false where that
// cannot be had as he wants it.
func (s *sharer) answer() (resp *http.Response, err error, ok bool) {
	f, c := s.flight, s.call
	c.endAs(f.call)
	switch {
	case f.err != nil:
		return nil, f.err, true
	case s.all:
		defer s.Close()
		resp = s.recast()
		return resp, nil, resp != nil
	}
	resp = s.response()
	if f.whole {
		resp.Body = exchange.InMemory(f.data, f.end)
	} else {
		resp.Body = s
		s.watch()
	}
	return resp, nil, true
}

// isOf reports whether the call is in the name of that caller's credential.
func (f *flight) isOf(c *call) bool { return f.call.credential() == c.credential() }

// suits reports whether what came is this caller's, too. What was said to one
// credential is nobody else's, but for what is judged an answer: that is the
// scope's. What came otherwise may be an error, whatever its status. What is
// not to be stored is not to be used for another call at all: RFC 9111,
// section 5.2.2.5.
func (f *flight) suits(c *call) bool {
	goes := f.record.goes()
	switch {
	case f.err != nil && !f.call.exhausted, goes == nowhereElse:
		return false
	case f.call.exhausted && f.call.attempts(c.t.config.retry.Attempts) < c.attempts(c.t.config.retry.Attempts): // more might have helped
		return false
	case !f.judged, f.call.exhausted, goes == itsOwn:
		return f.isOf(c)
	}
	return true
}

// cameFor reports whether a call that wants that form can have the answer as it
// comes.
func (f *flight) cameFor(wants store.Format) bool {
	return wants == f.form && wants.IsStream(f.streams) == f.streams
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

// recast gives all of the answer as the caller wants it, nil if that cannot be.
func (s *sharer) recast() *http.Response {
	f, c := s.flight, s.call
	f.mu.Lock()
	if !f.judged || f.over || f.complete == 0 {
		f.mu.Unlock()
		return nil
	}
	data := f.data[:f.complete:f.complete]
	f.mu.Unlock()
	e := f.entry(data)
	body, ok := e.As(c.format(), c.op.Wire(), false)
	if !ok {
		return nil
	}
	resp := s.response()
	if gives := c.format().IsStream(e.Streamed); gives != e.Streamed {
		store.SetFormat(resp.Header, gives)
	}
	resp.Body, resp.ContentLength, resp.TransferEncoding = exchange.InMemory(body, io.EOF), int64(len(body)), nil
	return resp
}

// waitLocked waits for more.
func (f *flight) waitLocked() {
	f.wanting = true
	f.waitsLocked()
	f.want.Signal()
	f.more.Wait()
}

// waitsLocked notes since when somebody waits for payload.
func (f *flight) waitsLocked() {
	if f.since.IsZero() {
		f.since = time.Now()
	}
}

// Read gives the caller the next bytes.
func (s *sharer) Read(p []byte) (int, error) {
	f := s.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		from := s.from()
		switch rest := f.data[from:]; {
		case len(s.last) > 0:
			n := copy(p, s.last)
			s.last = behind(s.last, n)
			return n, nil
		case s.err != nil:
			return 0, s.err
		case len(rest) > 0:
			n := copy(p, rest)
			s.at += int64(n)
			s.open = !sse.EndsBlock(f.data[:from+n])
			return n, nil
		case f.end != nil:
			if p := f.panicked; p != nil { // of an Observer, say: somebody has to hear of it
				f.panicked = nil
				panic(p)
			}
			if s.stop != nil {
				s.stop()
			}
			s.endLocked(f.end, nil)
			delete(f.sharers, s)
			f.letGoLocked()
			continue
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
		f.cancel(outcome.ErrClosed)
	}
	return nil
}

// leave takes the sharer out, and reports whether it was the last, whose part
// it is to close the body; err is why, if the caller's context has ended. What
// it reads from now on ends in cause.
func (s *sharer) leave(err, cause error) (last bool) {
	f := s.flight
	f.mu.Lock()
	s.last = nil
	if s.gone {
		f.mu.Unlock()
		return false
	}
	f.takeOutLocked(s)
	s.err = cause
	f.letGoLocked()
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

// dropLocked takes a sharer out that reads what is left for it, and then err.
func (f *flight) dropLocked(s *sharer, err error, left []byte) {
	f.takeOutLocked(s)
	if s.all {
		left = nil
	}
	s.endLocked(err, bytes.Clone(left))
}

func (f *flight) takeOutLocked(s *sharer) {
	if s.all && !s.gone {
		f.wholes--
	}
	s.gone = true
	delete(f.sharers, s)
}

// endLocked has the sharer read what is left for it, the event that tells what
// its stream broke off in, if there is to be one, and then err. What the host
// has said of that is for the credential it said it to.
func (s *sharer) endLocked(err error, left []byte) {
	f := s.flight
	s.last, s.err = left, err
	if !f.judged || !f.streams || !outcome.Broke(err) {
		return
	}
	var said []byte
	if err == f.end && f.isOf(s.call) {
		said = f.record.failure()
	}
	open := s.open
	if len(left) > 0 {
		open = !sse.EndsBlock(left)
	}
	s.last = append(s.last, s.call.lastEvent(said, err, open)...)
}

// from is where in the flight's data the sharer reads on.
func (s *sharer) from() int {
	f := s.flight
	return int(min(max(s.at-f.base, 0), int64(len(f.data))))
}

// restOfEvent is what is missing of the event that the sharer has read a part of.
func (s *sharer) restOfEvent() []byte {
	from := s.from()
	if !s.open {
		return nil
	}
	data := s.flight.data
	for to := from; to < len(data); to++ {
		if data[to] == '\n' && sse.EndsBlock(data[:to+1]) {
			return data[from : to+1]
		}
	}
	return nil
}
