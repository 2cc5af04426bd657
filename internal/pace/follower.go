package pace

import (
	"math"
	"time"
)

const (
	// A refusal lowers the rate by cut. A process with fewer requests than many learns less
	// often, so it cuts more, up to cutFew. While the rate is searched for, it cuts more by
	// searchCut.
	cut, cutFew = 0.03, 0.15
	many, few   = 10.0, 1.0 // a second
	searchCut   = 0.15

	// bears is the share of the requests that may be refused, at most one in every. Where a
	// refusal brings a pause that the host asks for, it is one in everyAsked. While the rate
	// is searched for, the share is larger by searchBears. It is up to unfair times as much
	// for a process that gets less than its callers ask for.
	bears       = 0.035
	bearsTold   = 0.04 // where the user knows the rate
	bearsOpen   = 0.12 // where the host limits what is open: a place is free when an answer ends, which is by chance
	every       = 2 * time.Second
	everyAsked  = 40 * time.Second
	everyOpen   = 500 * time.Millisecond
	searchBears = 0.2
	unfair      = 6.0

	atFirst    = 1.2  // times the demand
	searchTold = 0.1  // where the user knows the rate
	calm       = 0.75 // times the search after each refusal
	stir       = 0.02 // more search with each request, if none was refused for longer than expected
	quiet      = 3.0  // times the expected requests without a refusal
	most       = 2.0  // times the demand: the rate grows no further
	double     = 1500 * time.Millisecond

	// A rate is measured over so many requests and so long a time, and lowered to maxCut
	// times the rate in that time, at most.
	enough = 20.0
	least  = time.Second
	maxCut = 0.5
)

// A follower keeps close to the rate that a host takes. Its rate grows a little with each
// request and falls with a refusal (stochastic approximation, as TCP does with a window), so
// that about a fixed share of the requests is refused. That share is what it costs to know
// the rate: for a process with many requests, one in some seconds; for one of many processes
// with few, some per cent. It is larger for a process that gets little of what its callers
// ask for, so processes that share a host come to equal shares of what is asked of them.
//
// The first refusals change the rate much, later ones little. If none comes for long, the
// rate is searched for again.
type follower struct {
	rate   float64
	search float64 // from 1, nothing is known, to 0
	open   bool    // the host says that it limits what is open
	told   bool    // the user knows the rate
	streak float64 // requests sent since the latest refusal

	since         time.Time // when the rate began to be measured
	first         float64   // the rate then
	sent, refused float64   // since then
}

// begin begins with a rate that is not known well, depending on search.
func (f *follower) begin(now time.Time, rate, search float64) {
	f.rate, f.search, f.streak = rate, search, 0
	f.measure(now)
}

func (f *follower) measure(now time.Time) { f.since, f.first, f.sent, f.refused = now, f.rate, 0, 0 }

// send notes a request. pressed says that it had to wait for its turn.
func (f *follower) send(demand, floor float64, asked, pressed bool) {
	f.sent++
	if f.rate = max(f.rate, floor); !pressed {
		return
	}
	f.streak++
	bears := f.bears(demand, asked)
	if f.streak*(bears-f.search*searchBears) > quiet {
		f.search = min(1, f.search+stir)
	}
	if f.rate < most*demand {
		f.rate += min(f.rate*f.cut()*bears, 1/double.Seconds()) // the latter doubles it in about double
	}
}

// refuse counts a refusal.
func (f *follower) refuse() {
	f.refused++
	f.streak = 0
}

// lower heeds a refusal that is news.
func (f *follower) lower(now time.Time, floor float64, asked bool) {
	next, took := f.rate*(1-f.cut()), now.Sub(f.since)
	if took >= least && f.sent >= enough && !asked {
		taken := (f.sent - f.refused + 0.5) / took.Seconds()
		next = max(min(next, taken*(1-cut)), taken*(1-3*cut))
	}
	f.rate = max(min(next, f.rate), f.first*maxCut, floor)
	if took >= least {
		f.measure(now)
	}
	f.search *= calm
}

// cut returns the share by which a refusal lowers the rate.
func (f *follower) cut() float64 {
	x := min(max(math.Log(f.rate/few)/math.Log(many/few), 0), 1)
	return cutFew + x*(cut-cutFew) + f.search*searchCut
}

// bears returns the share of requests that may be refused.
func (f *follower) bears(demand float64, asked bool) float64 {
	want := demand / f.rate
	return f.base(asked)*min(max(want*want, 1), unfair) + f.search*searchBears
}

// base returns that share for a process that gets what it asks for, once the rate is known.
func (f *follower) base(asked bool) float64 {
	once := every
	if asked {
		once = everyAsked
	}
	switch {
	case f.open:
		return min(bearsOpen, 1/(f.rate*everyOpen.Seconds()))
	case f.told:
		return min(bearsTold, 1/(f.rate*once.Seconds()))
	}
	return min(bears, 1/(f.rate*once.Seconds()))
}

// decayed returns what is left of 1 after a time, if it decays by a factor of e in each unit.
func decayed(after, unit time.Duration) float64 { return math.Exp(-after.Seconds() / unit.Seconds()) }
