package coalesce

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
)

// Terms are the properties in which calls with the same key may differ. They decide
// whether a call may share another's answer.
type Terms struct {
	Form       int               // the form that the answer is wanted in
	Credential [sha256.Size]byte // a digest of the caller's
	Attempts   int               // the most that the call may make
	Fallback   bool              // the call has a stale answer to use, so it may give up early
	Urgency    int               // how soon it has its turn where calls wait for limits: more is sooner
	Tenant     string            // whose part of the limits it takes
	Update     int               // which options it is made by: later ones have a larger number
	until      time.Time         // the caller's deadline; the end of time if it has none
}

// Limits bound a flight.
type Limits struct {
	First time.Duration // how long it may show nothing before its answer begins
	Stall time.Duration // how long it may show nothing within the answer
	Held  int64         // how many bytes of the answer it holds for its followers

	Linger time.Duration // how long it goes on when all followers have left, for one that comes back; 0: it ends
}

// An Ask is what a caller wants of a Group. The caller provides its functions.
type Ask struct {
	Key     key.Key
	Print   key.Key // a fingerprint of the request, if Key is an idempotency key; zero: Key is of the request itself
	Terms   Terms
	Forms   []int  // the forms of flights that the caller may share, its own first
	Limits  Limits // of the flights that the caller leads
	Private bool   // it shares nothing

	// Make makes the call of a flight that the caller leads. It is called with a lock
	// held.
	Make func(*Flight) Call
	// Background runs a task on a goroutine without a caller, and reports whether it was
	// begun. The task's context ends when it has to return. Limits.Linger needs it. It is
	// called with a lock held.
	Background func(task func(context.Context)) bool
	// OnLead is called for each flight that the caller leads, before it is run.
	OnLead func()
	// Changed reports whether an answer was cached since the caller looked. It is called
	// with a lock held.
	Changed func() bool
	// Stored reports whether an answer was cached meanwhile that is good enough.
	Stored func() bool
	// Take takes the answer of a flight. It reports false if the answer cannot be put into
	// the form that the caller needs.
	Take func(*Follower) bool
}

// A Group holds the flights under way, by key. It is safe for concurrent use. The zero
// Group is ready.
type Group struct {
	lingering atomic.Int32 // flights that go on without a follower

	mu    sync.Mutex // guards what follows, and fields of the flights
	peers map[key.Key]*peers
}

// peers are the flights with one key. Callers that wait in one of them learn about the
// others here.
type peers struct {
	flights []*Flight     // the youngest last
	news    chan struct{} // closed when a flight has more to give; nil: nobody waits for that
}

// Len returns the number of keys for which flights are under way.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.peers)
}

// newRenewal makes a flight for which no caller waits. If it is to be listed, so that
// others can join it, newRenewal returns nil while another flight with the same key and
// form is under way and has not been quiet for too long.
func (g *Group) newRenewal(ctx context.Context, ask *Ask, until time.Time, list bool) *Flight {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	isUnderWay := func(f *Flight) bool {
		return f.terms.Form == ask.Terms.Form && !f.closed && f.quiet(now) < f.patience()
	}
	if list && slices.ContainsFunc(g.flightsLocked(ask.Key), isUnderWay) {
		return nil
	}
	f := g.newFlight(ctx, ask, until, true)
	if list {
		g.listLocked(f)
	}
	return f
}

// listLocked lists the flight, so that others can find it.
func (g *Group) listLocked(f *Flight) {
	if g.peers == nil {
		g.peers = make(map[key.Key]*peers)
	}
	if g.peers[f.key] == nil {
		g.peers[f.key] = &peers{}
	}
	f.peers = g.peers[f.key]
	f.peers.flights = append(f.peers.flights, f)
}

// flightsLocked returns the listed flights with a key.
func (g *Group) flightsLocked(key key.Key) []*Flight {
	if all := g.peers[key]; all != nil {
		return all.flights
	}
	return nil
}

// conflictsLocked reports whether a call is under way with the same idempotency key and
// another request.
func (g *Group) conflictsLocked(ask *Ask) bool {
	return slices.ContainsFunc(g.flightsLocked(ask.Key), func(f *Flight) bool { return f.print != ask.Print && !f.isDeserted() })
}

// close prevents others from joining the flight.
func (g *Group) close(f *Flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.closed = true
}

// remove removes a flight that has ended.
func (g *Group) remove(f *Flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.closed = true
	all := f.peers
	if all == nil {
		return
	}
	if i := slices.Index(all.flights, f); i >= 0 {
		all.flights = slices.Delete(all.flights, i, i+1)
	}
	if len(all.flights) == 0 && g.peers[f.key] == all {
		delete(g.peers, f.key)
	}
}

// announce tells all who wait for the same key that f has more to give: its beginning, or
// the complete answer in the cache. Those who wait in f can take it by then.
func (g *Group) announce(f *Flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if all := g.peers[f.key]; all != nil && all.news != nil {
		close(all.news)
		all.news = nil
	}
}
