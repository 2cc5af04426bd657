// Package statuspage serves a page that says whether users are served, by which endpoint, and what
// is down since when and why.
//
//	page := statuspage.New()
//	t, err := breakwater.New(breakwater.WithObserver(page.Observe), …)
//	…
//	page.Watch(t)
//	http.Handle("/status", requireLogin(page))
//
// The page has no authentication of its own. It names endpoints, models and ids of calls, but no
// key, URL, prompt, answer or message of a host.
//
// It is HTML in English or Chinese, and JSON for who accepts application/json: see [Snapshot].
package statuspage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/histogram"
	"github.com/breakwater-go/breakwater/slo"
)

// Bounds of what a Page keeps.
const (
	maxEndpoints = 100
	maxCircuits  = 400
	maxCalls     = 20  // of each list
	maxOpen      = 512 // calls under way whose first attempt failed, in each of two generations
	maxSteps     = 32  // of one trail
	maxName      = 128 // bytes
	minutes      = 60

	recentMinutes = 5
	recent        = recentMinutes * time.Minute
)

// other is the endpoint that stands for all those beyond the first 100.
const other = "other"

// A Page is an [http.Handler] that shows what breakwater does. Make one with [New]. It is safe
// for concurrent use, and its memory is bounded.
type Page struct {
	started time.Time

	mu        sync.Mutex // guards what follows
	watched   []watched
	trackers  []*slo.Tracker
	observed  bool // an event has come
	streak    int  // calls that failed since one was answered
	minutes   [minutes]minute
	endpoints map[place]*health
	circuits  map[circuitOf]time.Time // when they left the state closed
	open, old map[string]*trail       // of calls under way, by their ids
	failovers []Call                  // the latest is the last
	failures  []Call
}

// A minute counts the calls that ended in it.
type minute struct {
	number     int64 // since the Unix epoch
	ends       ends
	firstToken histogram.Histogram
}

// ends are calls, or attempts, by what became of them.
type ends struct{ answered, failed, mistaken, canceled uint64 }

// A place is an endpoint of a Part.
type place struct{ part, endpoint string }

func (a place) compare(b place) int {
	return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.endpoint, b.endpoint))
}

// A circuitOf is the circuit of a model at an endpoint.
type circuitOf struct {
	place
	model string
}

// A health is what is known of one endpoint.
type health struct {
	lastAnswer time.Time
	since      time.Time // of the first failure behind the last answer; zero: the last attempt was answered
	failed     int       // attempts since then
	last       failure
	rejected   struct { // why a person has to act; class is empty: nobody has
		failure
		until time.Time // then it is tried again
	}
	minutes [minutes]struct {
		number int64
		served uint64 // calls that got its answer
	}
}

// mended forgets the failures.
func (h *health) mended() { h.since, h.failed, h.last = time.Time{}, 0, failure{} }

// A failure is one of an attempt.
type failure struct {
	time   time.Time
	class  breakwater.Class
	status int
}

// A trail has the attempts of a call so far.
type trail struct {
	steps []Step
	left  int // that have found no room
}

// New returns a Page. It needs [Page.Observe] and [Page.Watch] to show anything.
func New() *Page {
	return &Page{
		started: time.Now(), endpoints: make(map[place]*health), circuits: make(map[circuitOf]time.Time),
		open: make(map[string]*trail),
	}
}

// Watch adds t and the trackers to what the page shows. A Page that watches several Transports
// shows the sums of their calls, and all of their endpoints. If endpoints of two Transports have
// one name, or to see which Transport is which, give each of them a [Page.Part].
func (p *Page) Watch(t *breakwater.Transport, trackers ...*slo.Tracker) { p.watch("", t, trackers) }

// Observe is a [breakwater.Observer].
func (p *Page) Observe(_ context.Context, e breakwater.Event) { p.observe("", e) }

// A Part of a Page is for one Transport of several. Its name stands before the names of the
// endpoints.
type Part struct {
	page *Page
	name string
}

// Part returns a part of the page. Its Transport needs its Observe, and not that of the Page:
//
//	chat := page.Part("chat")
//	t, err := breakwater.New(breakwater.WithObserver(chat.Observe), …)
//	…
//	chat.Watch(t)
func (p *Page) Part(name string) *Part { return &Part{p, short(name)} }

// Watch adds t and the trackers to what the page shows.
func (x *Part) Watch(t *breakwater.Transport, trackers ...*slo.Tracker) {
	x.page.watch(x.name, t, trackers)
}

// Observe is a [breakwater.Observer].
func (x *Part) Observe(_ context.Context, e breakwater.Event) { x.page.observe(x.name, e) }

// A watched is a Transport, and the Part to which it belongs.
type watched struct {
	part      string
	transport *breakwater.Transport
}

func (p *Page) watch(part string, t *breakwater.Transport, trackers []*slo.Tracker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := (watched{part, t}); t != nil && !slices.Contains(p.watched, w) {
		p.watched = append(p.watched, w)
	}
	for _, tracker := range trackers {
		if tracker != nil && !slices.Contains(p.trackers, tracker) {
			p.trackers = append(p.trackers, tracker)
		}
	}
}

func (p *Page) observe(part string, e breakwater.Event) {
	switch e.Kind {
	case breakwater.KindAttempt, breakwater.KindPassedOver, breakwater.KindEnd, breakwater.KindCircuit, breakwater.KindKey:
	default:
		return
	}
	e.Endpoint, e.Model = short(e.Endpoint), short(e.Model)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.observed = true
	switch e.Kind {
	case breakwater.KindAttempt:
		p.attempt(part, e)
	case breakwater.KindPassedOver:
		switch e.Reason {
		case breakwater.ReasonCircuit, breakwater.ReasonPaused, breakwater.ReasonQuarantine, breakwater.ReasonLimit, breakwater.ReasonSpill, breakwater.ReasonShift:
			p.note(e)
		}
	case breakwater.KindEnd:
		p.end(part, e)
	case breakwater.KindCircuit:
		p.circuit(circuitOf{place{part, e.Endpoint}, e.Model}, e)
	case breakwater.KindKey:
		if e.Class != "" {
			h := p.endpoint(part, e.Endpoint)
			h.rejected.failure = failure{e.Time, e.Class, e.Status}
			h.rejected.until = e.Time.Add(cmp.Or(e.Wait, recent)) // without a pause, it is tried with each call
		}
	}
}

// circuit notes since when a circuit is not closed. A circuit that closes ends the failures of its
// endpoint, if it was the last one.
func (p *Page) circuit(at circuitOf, e breakwater.Event) {
	if e.To == "closed" {
		delete(p.circuits, at)
		for other := range p.circuits {
			if other.place == at.place {
				return
			}
		}
		if h := p.endpoints[at.place]; h != nil {
			h.mended()
		}
		return
	}
	if _, has := p.circuits[at]; has {
		return
	}
	if len(p.circuits) >= maxCircuits { // the oldest may be of a model that nobody asks for any more
		oldest := slices.MinFunc(slices.Collect(maps.Keys(p.circuits)), func(a, b circuitOf) int { return p.circuits[a].Compare(p.circuits[b]) })
		delete(p.circuits, oldest)
	}
	p.circuits[at] = e.Time
}

// attempt counts an attempt that ended.
func (p *Page) attempt(part string, e breakwater.Event) {
	if e.Class != breakwater.ClassOK || p.trailOf(e.Call) != nil { // most calls need no trail
		p.note(e)
	}
	if e.Attempt == 0 {
		return
	}
	h := p.endpoint(part, e.Endpoint)
	switch {
	case e.Class == breakwater.ClassOK:
		h.lastAnswer = e.Time
		h.mended()
		h.rejected.failure = failure{}
	case e.Fault != "" && e.Fault != breakwater.FaultCaller:
		if h.failed++; h.failed == 1 {
			h.since = e.Time
		}
		h.last = failure{e.Time, e.Class, e.Status}
	}
}

// note adds a step to the trail of a call.
func (p *Page) note(e breakwater.Event) {
	if e.Call == "" {
		return
	}
	t := p.trailOf(e.Call)
	if t == nil {
		if len(p.open) >= maxOpen { // those of calls that never end are forgotten so, too
			p.old, p.open = p.open, make(map[string]*trail)
		}
		t = new(trail)
		p.open[e.Call] = t
	}
	if len(t.steps) >= maxSteps {
		t.left++
		return
	}
	t.steps = append(t.steps, Step{
		Attempt: e.Attempt, Endpoint: e.Endpoint, Model: e.Model, Class: string(e.Class), Verdict: string(e.Verdict), Reason: string(e.Reason),
		Status: e.Status, Time: e.Time.Add(-e.Elapsed).UTC(), Elapsed: e.Elapsed.Seconds(), FirstToken: e.FirstToken.Seconds(),
	})
}

// trailOf returns what is noted of a call; nil if nothing is.
func (p *Page) trailOf(call string) *trail {
	if t := p.open[call]; t != nil {
		return t
	}
	return p.old[call]
}

// end counts a call that is over.
func (p *Page) end(part string, e breakwater.Event) {
	at := p.minute(e.Time)
	failed := false
	switch {
	case e.Fault == "":
		at.ends.answered++
		p.streak = 0
		if e.FirstToken > 0 {
			at.firstToken.Add(e.FirstToken)
		}
		if fromCache(e.Outcome) {
			e.Endpoint = cacheName
		}
		h := p.endpoint(part, e.Endpoint)
		slot := &h.minutes[at.number%minutes]
		if slot.number != at.number {
			slot.number, slot.served = at.number, 0
		}
		slot.served++
	case e.Fault != breakwater.FaultCaller:
		at.ends.failed++
		p.streak++
		failed = true
	case e.Class == breakwater.ClassCanceled || e.Class == breakwater.ClassDeadline:
		at.ends.canceled++
	default:
		at.ends.mistaken++
	}
	t := p.trailOf(e.Call)
	if t != nil {
		delete(p.open, e.Call)
		delete(p.old, e.Call)
	} else if !failed && (e.Outcome == breakwater.OutcomeOK || e.Outcome == breakwater.OutcomeHit) {
		return
	}
	switch {
	case failed:
		p.failures = last(p.failures, callOf(part, e, t))
	case e.Outcome == breakwater.OutcomeFailover, e.Outcome == breakwater.OutcomeRescued, e.Outcome == breakwater.OutcomeStale && t != nil:
		p.failovers = last(p.failovers, callOf(part, e, t))
	}
}

// callOf returns a call for the lists of the page.
func callOf(part string, e breakwater.Event, t *trail) Call {
	c := Call{
		Part: part, Time: e.Time.UTC(), ID: e.Call, Outcome: string(e.Outcome), Fault: string(e.Fault), Endpoint: e.Endpoint, Model: e.Model,
		Status: e.Status, Elapsed: e.Elapsed.Seconds(), Trail: []Step{},
	}
	if t != nil {
		c.Trail, c.Left = t.steps, t.left
	}
	if e.Attempt > 0 && c.Left == 0 && !slices.ContainsFunc(c.Trail, func(s Step) bool { return s.Attempt >= e.Attempt }) {
		c.Trail = append(c.Trail, Step{ // the caller left its answer, so it ends after its call
			Attempt: e.Attempt, Endpoint: e.Endpoint, Model: e.Model, Class: string(e.Class), Status: e.Status,
			Time: e.Time.Add(-e.Elapsed).UTC(), Elapsed: e.Elapsed.Seconds(), FirstToken: e.FirstToken.Seconds(),
		})
	}
	return c
}

// last appends a call to those that are kept.
func last(all []Call, c Call) []Call {
	if len(all) >= maxCalls {
		copy(all, all[1:])
		all = all[:maxCalls-1]
	}
	return append(all, c)
}

// minute returns the counts of the present minute.
func (p *Page) minute(now time.Time) *minute {
	number := now.Unix() / 60
	at := &p.minutes[number%minutes]
	if at.number != number {
		at.number, at.ends = number, ends{}
		at.firstToken.Reset()
	}
	return at
}

// endpoint returns what is known of an endpoint.
func (p *Page) endpoint(part, name string) *health {
	at := place{part, name}
	h := p.endpoints[at]
	if h == nil && len(p.endpoints) >= maxEndpoints {
		at = place{"", other}
		h = p.endpoints[at]
	}
	if h == nil {
		h = new(health)
		p.endpoints[at] = h
	}
	return h
}

// cacheName stands for the cache among those that serve.
const cacheName = "cache"

// fromCache reports whether the cache gave such an answer.
func fromCache(o breakwater.Outcome) bool {
	return o == breakwater.OutcomeHit || o == breakwater.OutcomeStale || o == breakwater.OutcomeCollapsed
}

// short returns a name of bounded length that keeps nothing else in memory.
func short(name string) string {
	if len(name) <= maxName {
		return name
	}
	return strings.Clone(name[:maxName])
}
