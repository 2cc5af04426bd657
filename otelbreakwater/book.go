package otelbreakwater

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/breakwater-go/breakwater"
)

// Bounds of what is kept until calls are over. An event takes less than half a kilobyte.
const (
	maxEvents = 64     // of one call
	maxKept   = 16_384 // in all
	maxOver   = 1024   // calls that are over and may have attempts that are not, and renewals
)

// A book keeps the events of calls under way until they are over. Most calls have none before
// their attempt ends, so an answer that is being read takes no place.
type book struct {
	mu     sync.Mutex // guards what follows
	kept   map[string]*record
	oldest record // the head of a ring of all records, oldest first
	events int    // in all records

	over map[string]*over
	ids  [maxOver]string // of over, in a ring
	next int             // in ids
}

// A record has the events of one call.
type record struct {
	call       string
	events     []breakwater.Event
	dropped    int
	attrs      []attribute.KeyValue // room for attributes: they are copied when they are given away
	prev, next *record
}

// An over is a call that is over and may have attempts that are not, or a renewal, which has
// attempts only.
type over struct {
	ending  bool               // its span is being made
	span    trace.SpanContext  // of the call; of a renewal none
	waiting []breakwater.Event // attempts that ended while the span was being made
}

var records = sync.Pool{New: func() any {
	return &record{events: make([]breakwater.Event, 0, 2), attrs: make([]attribute.KeyValue, 0, 24)}
}}

// free gives a record back.
func (r *record) free() {
	if cap(r.events) > maxEvents {
		return
	}
	clear(r.events)
	clear(r.attrs[:cap(r.attrs)])
	*r = record{events: r.events[:0], attrs: r.attrs[:0]}
	records.Put(r)
}

// add keeps an event of a call. It returns how many events were dropped for it. If the call is
// over, late is set. Then add keeps an attempt only if the span of the call is being made.
func (b *book) add(e breakwater.Event) (dropped int, late bool, span trace.SpanContext) {
	e.Err, e.Flaw = nil, nil // may hold much, and are not shown
	b.mu.Lock()
	defer b.mu.Unlock()
	if of := b.over[e.Call]; of != nil {
		switch {
		case !isAttempt(e):
		case of.ending && len(of.waiting) < maxEvents:
			of.waiting = append(of.waiting, e)
		case !of.ending:
			return 0, true, of.span
		}
		return 0, false, span
	}
	r := b.kept[e.Call]
	switch {
	case r == nil:
		r = records.Get().(*record)
		r.call = e.Call
		b.kept[e.Call] = r
		if b.oldest.next == nil {
			b.oldest.next, b.oldest.prev = &b.oldest, &b.oldest
		}
		r.prev, r.next = b.oldest.prev, &b.oldest
		r.prev.next, r.next.prev = r, r
	case len(r.events) >= maxEvents:
		r.dropped++
		return 1, false, span
	}
	if b.events >= maxKept {
		if old := b.oldest.next; old != r {
			dropped += len(old.events)
			b.removeLocked(old)
			old.free()
		}
	}
	r.events = append(r.events, e)
	b.events++
	return dropped, false, span
}

// take removes the record of a call that is over and returns it; nil if there is none. If an
// attempt of the call may end later, others is set, and close must be called.
func (b *book) take(e breakwater.Event) (r *record, others bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent := 0
	if r = b.kept[e.Call]; r != nil {
		b.removeLocked(r)
		for i := range r.events {
			if isAttempt(r.events[i]) {
				sent++
			}
		}
	}
	shares := r != nil || e.Attempt > 0
	switch e.Outcome {
	case breakwater.Outcome(breakwater.ClassCanceled), breakwater.Outcome(breakwater.ClassDeadline):
		shares = true
	case breakwater.OutcomeHit, breakwater.OutcomeStale, breakwater.OutcomeCollapsed: // it left what it had begun
	default:
		shares = sent < e.Attempt
	}
	if shares { // others may share its attempts, and go on with more
		b.overLocked(e.Call, &over{ending: true})
		return r, true
	}
	return r, false
}

// isAttempt reports whether an event is the end of an attempt that was sent.
func isAttempt(e breakwater.Event) bool { return e.Kind == breakwater.KindAttempt && e.Attempt > 0 }

func (b *book) removeLocked(r *record) {
	delete(b.kept, r.call)
	b.events -= len(r.events)
	r.prev.next, r.next.prev = r.next, r.prev
	r.prev, r.next = nil, nil
}

// close notes the span of a call that is over, and returns the attempts that ended meanwhile.
func (b *book) close(call string, span trace.SpanContext) []breakwater.Event {
	b.mu.Lock()
	defer b.mu.Unlock()
	of := b.over[call]
	if of == nil { // many calls have ended meanwhile
		return nil
	}
	waiting := of.waiting
	*of = over{span: span}
	return waiting
}

// renews notes that the attempts of a call id renew an answer in the background.
func (b *book) renews(call string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.overLocked(call, &over{})
}

func (b *book) overLocked(call string, of *over) {
	delete(b.over, b.ids[b.next])
	b.ids[b.next] = call
	b.next = (b.next + 1) % maxOver
	b.over[call] = of
}
