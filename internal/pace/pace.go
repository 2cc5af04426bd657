// Package pace finds out at what rate a host takes requests, from those that it takes and
// those that it refuses.
//
// A host may refuse because a rate is exceeded, or because it has much to do for others. To
// send fewer requests helps in the first case only. So a Rate is in one of these states:
//
//	watching   it limits nothing, and counts what is refused
//	following  more was refused than retries make up for: it limits requests to the rate that
//	           the host takes, or to a guess of that
//	ignoring   fewer requests were sent, and the host refused as many of them as before: it
//	           limits nothing
//
// Each process sees only its own requests. If several share a limit, it helps none of them to
// send fewer as long as the others do not. So all watch again at the same times, at every
// fifth minute of the clock, and follow soon afterwards, if the host refuses many.
//
// A Rate is not safe for concurrent use. Package limit is its only user.
package pace

import "time"

const (
	tolerated = 0.2  // the share of refusals for which retries make up
	certainly = 0.35 // so many in one sample are more than tolerated, and no chance
	inVain    = 0.7  // times the share that was refused before: more than that shows that it is useless to follow
	helps     = 0.4  // times that share: less shows that it helps
	below     = 0.8  // times what the host took: the least rate before it is known to help
	leastRate = 0.1  // times the demand: the least rate afterwards
	memory    = 15 * time.Second

	period  = 5 * time.Minute // after each, all processes watch again
	settles = 5 * time.Second // and longer, if the process has few requests: others may not follow yet
	forgets = 5 * time.Minute // without a refusal for this time, nothing is known any more
)

type state uint8

const (
	watching state = iota
	following
	ignoring
)

// A Rate is how many requests a second a host takes.
type Rate struct {
	state     state
	until     time.Time // when it watches again
	watched   time.Time // since when it watched
	counter   counter
	before    float64 // the share that was refused when nothing was limited; 0: not known
	known     bool    // to follow helps
	asked     bool    // refusals bring pauses that the host asks for: it says itself that it has a limit
	refusedAt time.Time

	demand   float64 // requests a second that there would be without a limit
	demandAt time.Time
	least    float64

	follower
	row
}

// New returns the rate of a host that has just refused a request for the first time, of a
// process that wants to send demand requests a second. It never falls below least. serving
// says that the host has just taken others. told is the rate that the host is said to take,
// or 0.
func New(now time.Time, demand, told, least float64, serving bool) *Rate {
	r := &Rate{demand: demand, demandAt: now, least: least, refusedAt: now, row: newRow(serving)}
	r.watch(now)
	if told > 0 && (told < demand || demand == 0) {
		r.told, r.known = true, true
		r.follow(now, told, searchTold)
	}
	return r
}

// PerSecond returns the rate; 0: it is not limited.
func (r *Rate) PerSecond() float64 {
	if r.state != following {
		return 0
	}
	return r.rate
}

// Watches reports whether nothing is known yet.
func (r *Rate) Watches() bool { return r.state == watching }

// Over reports whether nothing was refused for so long that the rate means nothing.
func (r *Rate) Over(now time.Time) bool { return now.Sub(r.refusedAt) > forgets }

// LimitsOpen notes that the host says that it limits the number of open requests.
func (r *Rate) LimitsOpen() { r.open = true }

// Asked notes that somebody wants to send a request.
func (r *Rate) Asked(now time.Time) {
	r.demand, r.demandAt = r.demandNow(now)+1/memory.Seconds(), now
}

func (r *Rate) demandNow(now time.Time) float64 {
	return r.demand * decayed(now.Sub(r.demandAt), memory)
}

// Sent notes that a request is sent. pressed says that it had to wait for its turn: only
// then does it show that the rate is too low.
func (r *Rate) Sent(now time.Time, pressed bool) {
	r.counter.send(now)
	if r.row.send(now) {
		r.counter = counter{since: now}
	}
	if r.state != watching || !r.asked { // only the next refusal shows that an outage is over
		r.judge(now)
	}
	if r.state == following {
		r.follower.send(r.demandNow(now), r.floor(now), r.asked, pressed)
	}
}

// Refused notes that the host refused a request that was sent then, and asked for a rest; 0:
// it did not. Refusals of what was sent before the latest one are no news. It reports whether
// this one was.
func (r *Rate) Refused(now, sent time.Time, rest time.Duration) (news bool) {
	r.asked = r.asked || rest > 0
	r.counter.refuse(sent)
	r.follower.refuse()
	if news = !sent.Before(r.refusedAt); news {
		if r.row.refuse(now) { // it took nothing for a while: that shows no rate
			r.counter = counter{since: now}
		}
		if r.state == following && !r.row.isLonger() {
			r.lower(now, r.floor(now), r.asked)
		}
		r.refusedAt = now
	}
	r.judge(now)
	return news
}

// judge goes on to another state, if what became of the requests says so.
func (r *Rate) judge(now time.Time) {
	if !now.Before(r.until) {
		r.watch(now)
	}
	share, taken, ok := r.counter.sample(now, r.asked)
	switch {
	case !ok:
	case r.state == watching && r.asked:
		r.known = true
		r.follow(now, max(r.demandNow(now)*atFirst, taken), 1)
	case r.state == watching:
		r.judgeHost(now, share, taken)
	case r.state == following && !r.asked && r.before > 0:
		r.judgeRate(share)
	}
}

// judgeHost begins to follow if the host refuses too many.
func (r *Rate) judgeHost(now time.Time, share, taken float64) {
	switch {
	case share <= tolerated:
		r.before = 0
	case share < certainly && r.before == 0: // it counts once more, because this may be chance
		r.before = share
	default:
		r.before = max(r.before, share)
		r.follow(now, max(r.demandNow(now)*atFirst, taken), 1)
		r.counter.since = now.Add(max(settles, 2*now.Sub(r.watched)))
	}
}

// judgeRate finds out whether to follow helps.
func (r *Rate) judgeRate(share float64) {
	switch {
	case share > inVain*r.before:
		r.state = ignoring
	case share < helps*r.before:
		r.known = true
	}
}

// watch limits nothing any more.
func (r *Rate) watch(now time.Time) {
	r.state, r.before, r.known = watching, 0, false
	r.watched, r.until, r.counter = now, now.Truncate(period).Add(period), counter{since: now}
}

// follow limits requests from now on.
func (r *Rate) follow(now time.Time, rate, search float64) {
	r.state, r.counter = following, counter{since: now}
	r.begin(now, max(rate, r.least), search)
}

// floor returns the least rate.
func (r *Rate) floor(now time.Time) float64 {
	share := leastRate
	if !r.known {
		share = (1 - r.before) * below
	}
	return max(r.least, r.demandNow(now)*share)
}
