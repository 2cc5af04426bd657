package coalesce

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
)

// Terms are what calls for the same may differ in. They decide whether one may
// share another's answer.
type Terms struct {
	Form       int               // in which the answer is wanted
	Credential [sha256.Size]byte // stands for the caller's
	Attempts   int               // that the call may make at most
	Fallback   bool              // something is there to fall back on: the call may give up early
}

// Limits bound a flight.
type Limits struct {
	First time.Duration // how long it may show nothing before its answer begins
	Stall time.Duration // and within the answer
	Held  int64         // bytes of the answer that it holds for its followers
}

// An Ask is what a caller asks a Group for. Its functions are the caller's.
type Ask struct {
	Key     key.Key
	Terms   Terms
	Forms   []int  // in which other flights may have asked to be shared, the caller's own first
	Limits  Limits // of the flights that the caller leads
	Private bool   // it shares nothing

	// Make readies the call of a flight that the caller leads. It runs under a lock.
	Make func(*Flight) Call
	// OnLead is told of each flight that the caller leads, before that is run.
	OnLead func()
	// Changed reports whether an answer has been kept since the caller looked. It
	// runs under a lock.
	Changed func() bool
	// Stored reports whether an answer has been kept meanwhile that will do.
	Stored func() bool
	// Take takes the answer of a flight. It reports false if the caller cannot have
	// it as it wants it.
	Take func(*Follower) bool
}

// A Group is the flights under way, by what they are for. It is safe for
// concurrent use. The zero Group is ready.
type Group struct {
	mu    sync.Mutex // guards what follows, and what flights say that it guards
	peers map[key.Key]*peers
}

// peers are what is under way for the same: the flights, and how those who wait
// in them hear of others than their own.
type peers struct {
	flights []*Flight     // the youngest last
	news    chan struct{} // closed when a flight has more to give; nil: nobody waits for that
}

// Len returns for how many questions flights are under way.
func (g *Group) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.peers)
}

// newRenewal readies a flight for which nobody waits. One that is to be listed, so
// that others may join it, is nil if another for the same, in the same form, is
// under way and not quiet for too long.
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

// listLocked has others find the flight.
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

// flightsLocked returns the listed flights for the same.
func (g *Group) flightsLocked(key key.Key) []*Flight {
	if all := g.peers[key]; all != nil {
		return all.flights
	}
	return nil
}

// close has nobody join the flight any more.
func (g *Group) close(f *Flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f.closed = true
}

// remove takes out a flight that is over.
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

// announce tells all who wait for the same that f has more to give: its beginning,
// or all of it in memory. Those who wait in f can take it by then.
func (g *Group) announce(f *Flight) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if all := g.peers[f.key]; all != nil && all.news != nil {
		close(all.news)
		all.news = nil
	}
}
