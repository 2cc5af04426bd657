package breakwater

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/store"
)

// A flight is one call that several callers share while it is under way. It
// has a context of its own, which ends when the last of them has left, and a
// goroutine of its own, which reads the answer at the pace of the fastest: it
// reads on when somebody has read all there is. Each sharer reads from its
// bytes, from the first on. An answer that may be kept is kept from them, at
// its terminator.
type flight struct {
	cache  *cache
	key    key.Key
	form   store.Format
	call   *call // in whose name it is asked
	leader *sharer
	renews bool // behind everybody's back
	began  time.Time
	cancel context.CancelCauseFunc
	record recorder
	flown  atomic.Bool // somebody makes the call, or has made known that nobody will

	// Guarded by the cache's mu.
	closed bool      // nobody joins it any more
	among  *underWay // the flights it is listed with; nil: it is listed nowhere

	answered chan struct{} // closed when what follows is known
	resp     *http.Response
	streams  bool // what came is a stream
	judged   bool // it is an answer: else it may be what was said to one credential
	whole    bool // the answer came in one piece, into data
	err      error
	panicked any

	mu       sync.Mutex // guards what follows
	body     io.Closer  // nil: nothing to close, or somebody does
	more     sync.Cond  // something came, or nothing more will
	want     sync.Cond  // somebody has read all, or all have left
	sharers  map[*sharer]struct{}
	left     error         // the last one's error, if that was why it left
	empty    bool          // all have left: nobody can join
	latest   time.Time     // of the sharers' deadlines
	timeless bool          // one has none
	wanting  bool          // somebody waits for more than there is
	since    time.Time     // they wait for payload; zero: nobody does, or none was waited for since the last
	said     int           // payloads that had come then
	wholes   int           // sharers that wait for all of it
	settled  chan struct{} // closed when that is there, or is not to be had; nil: nobody has asked
	told     bool          // that is closed
	data     []byte        // from base on
	base     int64
	complete int64 // how many bytes the whole answer has; 0: not known yet
	over     bool  // too large to be kept from its beginning
	end      error // what the body ended in
	down     bool  // nothing more is done for it
	reach    reach // how far it may go, as known when the latest of data came
}

// An underWay is what is under way for the same: the flights, and how those who
// wait in them hear of others than their own.
type underWay struct {
	flights []*flight     // the youngest last
	news    chan struct{} // closed when one has more to give; nil: nobody waits for that
}

// format is how the call wants its answer, as its body and its Accept say.
func (c *call) format() store.Format {
	switch l := &c.params; {
	case c.op == request.Embeddings: // they are never streamed
		return store.JSON
	case l.Ambiguous, !l.Stream && acceptsEvents(c.req.Header):
		return store.Unclear
	case !l.Stream:
		return store.JSON
	case l.IncludeUsage:
		return store.StreamWithUsage
	}
	return store.Stream
}

// acceptsEvents reports whether a header's Accept names events, which some hosts
// go by.
func acceptsEvents(h http.Header) bool {
	for _, accepted := range h["Accept"] {
		if strings.Contains(strings.ToLower(accepted), "text/event-stream") {
			return true
		}
	}
	return false
}

// sharedBytes bounds what is held of one answer, for those who share it or to
// be kept.
func (k *cache) sharedBytes() int64 {
	if k.policy.MaxEntryBytes > 0 {
		return max(k.policy.MaxEntryBytes, minShared)
	}
	return maxShared
}

const (
	minShared = 64 << 10 // that bound, however small entries are
	maxShared = 16 << 20 // and where none is too large
)

// leadLocked readies a flight of the caller's that others may join.
func (p *passage) leadLocked() *sharer {
	f := p.cache.newFlight(p.call, p.until, false)
	p.cache.listLocked(f)
	return f.leader
}

// listLocked has others find the flight.
func (k *cache) listLocked(f *flight) {
	if k.flights[f.key] == nil {
		k.flights[f.key] = &underWay{}
	}
	f.among = k.flights[f.key]
	f.among.flights = append(f.among.flights, f)
}

// flightsLocked are the listed flights for the same.
func (k *cache) flightsLocked(key key.Key) []*flight {
	if all := k.flights[key]; all != nil {
		return all.flights
	}
	return nil
}

// joinLocked has the call share a flight for the same, if there is one that it
// can share beside those it is in, and that has not been quiet for too long: the
// youngest that has answered, or the youngest that has not.
func (p *passage) joinLocked(answered bool) *sharer {
	c, now := p.call, time.Now()
	flights := p.cache.flightsLocked(c.sought.key)
	for _, form := range c.sharedForms() {
		for _, f := range slices.Backward(flights) {
			isIn := slices.ContainsFunc(p.in, func(s *sharer) bool { return s.flight == f })
			if f.form != form || f.closed || isIn || f.isAnswered() != answered || !p.mayHave(f) || f.quiet(now) >= p.lockAgeLocked(f) {
				continue
			}
			if s := f.join(c, p.until); s != nil {
				return s
			}
		}
	}
	return nil
}

// mayHave reports whether what comes in f may be the caller's, as far as that is
// known. Who has waited in vain waits once more, where others of its kind do: a
// failure will be its own, too, so that a host that is down gets one call of
// each kind, and nobody waits for one after the other.
func (p *passage) mayHave(f *flight) bool {
	c := p.call
	switch {
	case slices.Contains(p.vain, f), f.isAnswered() && !f.suits(c):
		return false
	case p.again:
		return f.form == c.format() && f.call.attempts(c.t.config.retry.Attempts) >= c.attempts(c.t.config.retry.Attempts) && f.isOf(c)
	}
	return true
}

// oldestLocked has the call share the oldest flight for the same that has not
// answered, beside its own. What takes longer than any who ask have time for is
// so kept up by all of them in turn, for as long as it may show nothing.
func (p *passage) oldestLocked(own *flight) *sharer {
	now := time.Now()
	flights := p.cache.flightsLocked(p.call.sought.key)
	for _, form := range p.call.sharedForms() {
		for _, f := range flights {
			if f.form == form && f != own && !f.closed && !f.isAnswered() && p.mayHave(f) && f.quiet(now) < f.patience() {
				return f.join(p.call, p.until)
			}
		}
	}
	return nil
}

const (
	// minLockAge is the least that a flight has to show something, however
	// little time who comes has left: a host that is down gets no more of a
	// question than one call in that time.
	minLockAge = time.Second
	// maxHurried is how many flights for the same may be unanswered at once for the
	// sake of callers with little time. Beyond that, only the clocks count.
	maxHurried = 6
)

// lockAgeLocked is how long f may show nothing new before the caller asks anew:
// as long as is reasonable for such a call, and at most half of the time that
// the caller came with. Compare nginx's proxy_cache_lock_age and
// proxy_cache_lock_timeout.
func (p *passage) lockAgeLocked(f *flight) time.Duration {
	age := f.patience()
	if p.until.IsZero() {
		return age
	}
	open := 0
	for _, other := range p.cache.flightsLocked(f.key) {
		if other.form == f.form && !other.closed && !other.isAnswered() && !other.isEmpty() {
			open++
		}
	}
	if open < maxHurried {
		age = min(age, max(p.until.Sub(p.began)/2, minLockAge))
	}
	return age
}

// patience is how long a flight may show nothing new, whoever waits: by the
// clocks of StreamPolicy, or by their defaults where those are off.
func (f *flight) patience() time.Duration {
	own, c := f.call.t.config.stream, f.call
	if f.isAnswered() {
		return cmp.Or(own.Stall, defaultClocks.Stall)
	}
	return cmp.Or(c.firstClock(c.target, own), c.firstClock(c.target, defaultClocks))
}

var defaultClocks, _ = StreamPolicy{}.resolve() // the zero policy is valid

// quiet is how long the flight has shown nothing new, though somebody waits.
func (f *flight) quiet(now time.Time) time.Duration {
	if !f.isAnswered() {
		return now.Sub(f.began)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.since.IsZero() || f.complete > 0 || f.end != nil {
		return 0
	}
	return now.Sub(f.since)
}

// sharedForms are the forms of a call that another may share, that of its own
// first. Who wants JSON has to hear what it took, which not every host's
// streams say unasked. What is unclear is shared with who says the very same.
func (c *call) sharedForms() []store.Format {
	own := c.format()
	switch {
	case own == store.Unclear:
		return []store.Format{own}
	case own != store.JSON:
		return []store.Format{own, store.JSON}
	case c.op == request.Chat && c.target.profile.UsageInStreams, c.op == request.Messages, c.op == request.Responses:
		return []store.Format{store.JSON, store.StreamWithUsage, store.Stream}
	}
	return []store.Format{store.JSON, store.StreamWithUsage}
}

// forget has nobody join the flight any more.
func (k *cache) forget(f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f.closed = true
}

// remove takes out a flight that is over.
func (k *cache) remove(f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f.closed = true
	all := f.among
	if all == nil {
		return
	}
	if i := slices.Index(all.flights, f); i >= 0 {
		all.flights = slices.Delete(all.flights, i, i+1)
	}
	if len(all.flights) == 0 && k.flights[f.key] == all {
		delete(k.flights, f.key)
	}
}

// overtakes tells all who wait for the same that f has more to give: its
// beginning, or all of it in memory. Those who wait in f can take it by then.
func (k *cache) overtakes(f *flight) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if all := k.flights[f.key]; all != nil && all.news != nil {
		close(all.news)
		all.news = nil
	}
}

// newFlight readies a flight in the name of c.
func (k *cache) newFlight(c *call, until time.Time, renews bool) *flight {
	f := &flight{
		cache: k, key: c.sought.key, form: c.format(), renews: renews, began: time.Now(),
		answered: make(chan struct{}), sharers: make(map[*sharer]struct{}, 1),
	}
	f.more.L, f.want.L = &f.mu, &f.mu
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(c.Context))
	f.cancel = cancel
	f.call = c.inName(&flightContext{ctx, f})
	f.leader = f.join(c, until)
	return f
}

// until is the caller's deadline; zero: there is none.
func (c *call) until() time.Time {
	deadline, ok := c.Deadline()
	if !ok {
		return time.Time{}
	}
	return deadline
}

// inName is a call for the same as c, whose trail it writes, that does not end
// with c.
func (c *call) inName(ctx context.Context) *call {
	other := &call{
		Context: ctx, Call: c.untold(), t: c.t, op: c.op, target: c.target, candidates: c.candidates, params: c.params, buffer: c.buffer.Retain(),
		start: c.start, fallback: c.fallback, log: c.log,
	}
	sought, caller := *c.sought, c.credential()
	other.sought = &sought
	other.caller.Store(&caller)
	other.req = ownRequest(c.req, other) // it may go on when c's caller has its request back
	//lint:ignore SA1019 http.Client sets it still, for this caller alone, beside its context
	other.req.Cancel = nil
	return other
}

// endAs has the call end as the one did that was made in its name.
func (c *call) endAs(other *call) {
	c.exhausted, c.unprobed = other.exhausted, other.unprobed
	c.fails(other.failed())
}

// A flightContext ends when the last sharer has left, as that one's did; its
// deadline is the latest of theirs.
type flightContext struct {
	context.Context
	flight *flight
}

func (c *flightContext) Deadline() (time.Time, bool) {
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	return c.flight.latest, !c.flight.timeless
}

func (c *flightContext) Err() error {
	err := c.Context.Err()
	if err == nil {
		return nil
	}
	c.flight.mu.Lock()
	defer c.flight.mu.Unlock()
	if c.flight.left != nil {
		return c.flight.left
	}
	return err
}

// join takes in another sharer, with its deadline, unless it is too late for that.
func (f *flight) join(c *call, until time.Time) *sharer {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.empty || f.over || f.end != nil || f.call.fallback && !c.fallback { // it may give up early, for those who have a spare answer
		return nil
	}
	s := &sharer{flight: f, call: c}
	f.sharers[s] = struct{}{}
	f.timeless = f.timeless || until.IsZero()
	if until.After(f.latest) {
		f.latest = until
	}
	return s
}

// fly makes the call and brings in its answer, unless somebody has made known
// that nobody will.
func (f *flight) fly(next http.RoundTripper) {
	if !f.flown.CompareAndSwap(false, true) {
		return
	}
	defer func() { f.ended(recover()) }()
	resp, err := next.RoundTrip(f.call.req)
	f.land(resp, err)
	if resp != nil && resp.StatusCode == http.StatusOK && !f.call.exhausted {
		f.cache.overtakes(f)
	}
	if resp != nil {
		f.pump(resp.Body)
	}
}

// land makes known what came.
func (f *flight) land(resp *http.Response, err error) {
	f.resp, f.err = resp, err
	if resp != nil {
		f.mu.Lock()
		f.body = resp.Body
		f.mu.Unlock()
		f.record.begin(f.call, resp)
		f.streams = header.MediaType(resp.Header) == "text/event-stream" // as it says, where nobody looked
		if f.reach = f.record.goes(); f.reach == nowhereElse {
			f.cache.forget(f)
		}
		switch exchange.KindOf(resp.Body) {
		case exchange.KindStream:
			f.streams, f.judged = true, true
			resp.Body.(exchange.Body).Observe(&f.record)
		case exchange.KindOpaque:
		case exchange.KindWhole:
			f.streams, f.judged = false, true
			resp.Body.(exchange.Body).Observe(&f.record)
			body, err := exchange.ReadAll(resp.Body)
			f.keep(body)
			f.inOnePiece(body, err)
		default:
			f.inOnePiece(exchange.ReadAll(resp.Body)) // from memory
		}
	} else {
		f.inOnePiece(nil, err)
	}
	close(f.answered)
}

// inOnePiece takes in a body that has come as a whole, or ends in err.
func (f *flight) inOnePiece(data []byte, err error) {
	if err == nil {
		err = io.EOF
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.whole, f.data, f.complete, f.end = true, data, int64(len(data)), err
	f.settleLocked()
}

// settleLocked tells who waits for all of the answer, if that is there or is
// not to be had.
func (f *flight) settleLocked() {
	if f.settled != nil && !f.told && f.isSettledLocked() {
		f.told = true
		close(f.settled)
	}
}

func (f *flight) isSettledLocked() bool {
	return f.over || f.complete > 0 || f.end != nil || f.reach == nowhereElse || !f.judged && f.isAnswered()
}

// pump brings in the rest of the body, as fast as somebody reads.
func (f *flight) pump(body io.Reader) {
	for f.wanted() {
		f.mu.Lock()
		f.data = slices.Grow(f.data, minRoom) // the room is this goroutine's
		room := f.data[len(f.data):cap(f.data)]
		f.mu.Unlock()
		n, err := body.Read(room)
		if err != nil {
			f.closeBody() // before anybody sees the end
		}
		f.take(n, err)
	}
}

const minRoom = 512

// wanted waits until somebody wants more of the answer, and reports whether
// anybody will. Behind the terminator nobody need: several SDKs stop reading
// there without a Close, and the connection is to be let go of.
func (f *flight) wanted() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.wanting && f.wholes == 0 && f.complete == 0 && !f.empty && f.end == nil {
		f.want.Wait()
	}
	return !f.empty && f.end == nil
}

// take takes in n more bytes of the body, and what it ended in.
func (f *flight) take(n int, err error) {
	data := f.data[:len(f.data)+n] // nobody else writes it
	kept := false
	size, said, limit := f.record.size(), f.record.said(), f.cache.sharedBytes()
	if size > f.base+int64(len(data)) {
		size = 0 // its last bytes are still to come
	}
	if size > 0 && f.complete == 0 && f.base == 0 {
		kept = f.keep(data[:size])
	}
	reach := f.record.goes()
	slides := f.complete == 0 && size == 0 && int64(len(data)) > limit
	if slides || reach > f.reach {
		f.cache.forget(f)
	}
	if kept {
		defer f.cache.overtakes(f)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if reach > f.reach {
		f.narrowLocked(reach)
	}
	before := f.base + int64(len(f.data))
	f.data, f.end, f.wanting = data, err, false
	if said != f.said || !f.judged && n > 0 {
		f.said, f.since = said, time.Time{}
		if f.wholes > 0 {
			f.since = time.Now()
		}
	}
	switch {
	case slides:
		f.slideLocked(before, limit)
	case f.complete > 0 && f.base+int64(len(data)) > f.complete+maxTail:
		f.end = io.EOF // what goes on behind the answer is nobody's
	case size > 0:
		f.complete = size
	}
	f.settleLocked()
	f.more.Broadcast()
}

// narrowLocked has those who may have no more of the answer, by the word of
// what it goes on with, read what came before that, and then an error.
func (f *flight) narrowLocked(reach reach) {
	f.reach = reach
	for s := range f.sharers {
		if s != f.leader && !f.suits(s.call) {
			f.dropLocked(s, outcome.Broken(ErrTruncated, errNotShared), f.data[s.from():])
		}
	}
	f.empty = f.empty || len(f.sharers) == 0
}

// maxTail is how much may follow an answer before it is let go of.
const maxTail = 64 << 10

// slideLocked lets go of what everybody has read, of who waits for all of it,
// and of who is too far behind somebody else: who was level before the latest
// bytes came is not.
func (f *flight) slideLocked(before, limit int64) {
	f.over = true
	total := f.base + int64(len(f.data))
	behind := func(s *sharer) bool { return total-s.at > limit && s.at < before }
	alone := true // who is slow, for nobody keeps up
	for s := range f.sharers {
		if s.all {
			f.dropLocked(s, outcome.Broken(ErrTruncated, errBehind), nil)
			continue
		}
		alone = alone && behind(s)
	}
	slowest := total
	for s := range f.sharers {
		if !alone && behind(s) {
			f.dropLocked(s, outcome.Broken(ErrTruncated, errBehind), s.restOfEvent())
			continue
		}
		slowest = min(slowest, s.at)
	}
	f.empty = f.empty || len(f.sharers) == 0
	if n := slowest - f.base; n > int64(len(f.data))/2 {
		f.data = f.data[:copy(f.data, f.data[n:])]
		f.base = slowest
	}
}

// keep keeps the answer, if it is one to be kept, and reports whether it did.
func (f *flight) keep(body []byte) bool {
	r := &f.record
	if limit := f.cache.policy.MaxEntryBytes; !r.keepable() || limit > 0 && int64(len(body)) > limit {
		return false
	}
	if !store.Sound(f.call.op.Wire(), f.call.inputs(), body, f.streams) {
		return false
	}
	e := f.entry(bytes.Clone(body))
	e.Stored, e.Header, e.Endpoint = time.Now(), r.header, r.endpoint
	f.cache.put(f.call, e)
	return true
}

// entry is the whole answer, to be given in either form.
func (f *flight) entry(body []byte) *store.Entry {
	return &store.Entry{Body: body, Asked: f.form, Streamed: f.streams, Usage: f.record.saysUsage()}
}

// ended is the end of the flight: of its body, or of the call before there was one.
func (f *flight) ended(panicked any) {
	f.cache.remove(f)
	func() {
		defer func() {
			if p := recover(); p != nil && panicked == nil { // it is told to who reads next
				panicked = p
			}
		}()
		f.closeBody()
	}()
	f.cancel(outcome.ErrClosed)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panicked = panicked
	f.down = true
	f.call.letGo()
	f.letGoLocked()
	if f.end == nil {
		f.end = outcome.Broken(ErrTruncated, outcome.ErrPanic) // if anybody is left to see it
	}
	f.settleLocked()
	f.more.Broadcast()
	select {
	case <-f.answered:
	default:
		f.err = outcome.ErrPanic
		close(f.answered)
	}
}

// letGoLocked lets go of the answer where nobody is left to read it: a kept
// response of a stream that is over leads here.
func (f *flight) letGoLocked() {
	if f.down && len(f.sharers) == 0 {
		f.data = nil
		f.record.Break(nil)
	}
}

// ground makes known that nobody makes the call, if so it is.
func (f *flight) ground() {
	if f.flown.CompareAndSwap(false, true) {
		f.ended(nil)
	}
}

// closeBody closes the body, once. Nobody waits for another who does.
func (f *flight) closeBody() {
	f.mu.Lock()
	body := f.body
	f.body = nil
	f.mu.Unlock()
	if body != nil {
		body.Close()
	}
}
