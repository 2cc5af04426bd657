package drill

import (
	"cmp"
	"slices"
	"time"
)

// newReport measures what was seen.
func newReport(s *Script, p Plan, hosts []string, began time.Time, played time.Duration, stopped bool, histories []history) *Report {
	r := &Report{
		Schema: ReportSchema, Script: s.Name, Title: s.Title, Shows: s.Shows, Place: p.Place, Started: began.UTC(),
		Planned: seconds(s.Duration), Played: seconds(played), Stopped: stopped, Seed: p.Seed, Hosts: hosts,
	}
	acts := actsWithin(s.Timeline, played)
	for _, a := range acts {
		r.Faults = append(r.Faults, FaultReport{Host: a.Host, Fault: string(a.Rule.Fault), Text: a.String(), At: seconds(a.At), For: seconds(a.For), Probability: a.Rule.Probability})
	}
	for _, h := range histories {
		c := measure(h, acts, hosts, s.Load, played)
		c.Objectives, c.Held = judge(s.Objectives, &c)
		r.Clients = append(r.Clients, c)
	}
	r.Held = r.Clients[0].Held && !stopped
	return r
}

// actsWithin returns the acts that began, cut where the drill ended.
func actsWithin(timeline []Act, played time.Duration) (acts []Act) {
	for _, a := range timeline {
		if a.At < played {
			a.For = min(a.For, played-a.At)
			acts = append(acts, a)
		}
	}
	return acts
}

// measure sums up one client.
func measure(h history, acts []Act, hosts []string, l Load, played time.Duration) ClientReport {
	c := ClientReport{Client: h.client, Unfinished: h.left, Requests: len(h.requests), AnsweredBy: make(map[string]int)}
	why := make(map[string]int)
	var firsts, wholes []time.Duration
	for _, one := range h.calls {
		c.Calls++
		switch one.result {
		case answered:
			c.Answered++
			c.AnsweredBy[one.by]++
			if one.stale {
				c.Stale++
			}
			wholes = append(wholes, one.took)
		case failed:
			c.Failed++
			why[one.why]++
		case wrong:
			c.Wrong++
			why[one.why]++
		}
	}
	streams := slices.ContainsFunc(h.calls, func(one call) bool { return one.stream })
	for _, one := range h.calls {
		if one.result == answered && (one.stream || !streams) {
			firsts = append(firsts, one.first)
		}
	}
	c.FirstToken, c.Whole = percentiles(firsts), percentiles(wholes)
	if c.Calls > 0 {
		c.Availability = float64(c.Answered) / float64(c.Calls)
		c.WrongShare = float64(c.Wrong) / float64(c.Calls)
		c.AttemptsPerCall = float64(len(h.requests)) / float64(c.Calls+h.left)
	}
	c.Errors = worstMinute(h.calls)
	for text, n := range why {
		c.Why = append(c.Why, Reason{text, n})
	}
	slices.SortFunc(c.Why, func(a, b Reason) int { return cmp.Or(b.Calls-a.Calls, cmp.Compare(a.Why, b.Why)) })
	c.Seconds = bySecond(h, played, streams)
	c.Circuits = circuitsOf(h)
	for i, a := range acts {
		f := response(h, acts, i, played)
		f.Detectable = f.Met && a.detectable(l)
		c.Faults = append(c.Faults, f)
		c.worst(f, a.Host == hosts[0])
	}
	return c
}

// worst keeps the worst figures of all faults.
func (c *ClientReport) worst(f FaultResponse, primary bool) {
	if f.Detectable {
		c.Detect = worse(c.Detect, f.Detect)
	}
	if primary && f.TookCalls {
		c.Recover = worse(c.Recover, f.Recover)
	}
	c.Amplification = max(c.Amplification, f.Amplification)
}

// worse returns the longer of two times; never is longer than any.
func worse(a *Lapse, b Lapse) *Lapse {
	if a == nil || !a.Never && (b.Never || b.Seconds > a.Seconds) {
		return &b
	}
	return a
}

// worstMinute returns the largest share of calls that were not answered, of those that began
// within one minute: with fewer than a minute of calls, of all of them.
func worstMinute(calls []call) float64 {
	worst, bad, from := 0.0, 0, 0
	for i, c := range calls {
		if c.result != answered {
			bad++
		}
		whole := i == len(calls)-1
		for ; c.at-calls[from].at >= time.Minute; from++ {
			whole = true
			if calls[from].result != answered {
				bad--
			}
		}
		if whole || from > 0 {
			worst = max(worst, float64(bad)/float64(i-from+1))
		}
	}
	return worst
}

// bySecond sorts calls by the second in which they began.
func bySecond(h history, played time.Duration, streams bool) []Second {
	n := int((played + time.Second - 1) / time.Second)
	all := make([]Second, n)
	firsts := make([][]time.Duration, n)
	for i := range all {
		all[i].Second = i
		all[i].By = make(map[string]int)
	}
	for _, c := range h.calls {
		i := int(c.at / time.Second)
		if i >= n {
			continue
		}
		switch c.result {
		case answered:
			all[i].Answered++
			all[i].By[c.by]++
			if c.stream || !streams {
				firsts[i] = append(firsts[i], c.first)
			}
		case failed:
			all[i].Failed++
		case wrong:
			all[i].Wrong++
		}
	}
	for i := range all {
		all[i].P50, all[i].P99 = seconds(percentile(firsts[i], 0.5)), seconds(percentile(firsts[i], 0.99))
	}
	return all
}

// circuitsOf returns the changes of circuits, and the pauses.
func circuitsOf(h history) (all []Circuit) {
	for _, c := range h.changes {
		switch c.what {
		case passedOver:
		case pauseBegan:
			all = append(all, Circuit{At: seconds(c.at), Host: c.host, To: c.what, For: seconds(c.wait)})
		default:
			all = append(all, Circuit{At: seconds(c.at), Host: c.host, To: c.what})
		}
	}
	return all
}

// response measures what a client did about fault i.
//
// The time to detect is from the beginning of the fault until breakwater first kept calls away from
// the host: it opened a circuit, paused the host, or passed it over. A call that has failed over
// before that was answered, too, but it had asked the broken host first. What is kept away already
// when the fault begins is detected at once.
//
// The time to recover is from the end of the fault until the host answers its usual share again:
// until the first of twenty answers in a row of which it gave nine tenths of that share. The usual
// share is that of all answers before the first fault.
func response(h history, acts []Act, i int, played time.Duration) FaultResponse {
	a := acts[i]
	f := FaultResponse{Host: a.Host, Fault: string(a.Rule.Fault), Detect: Lapse{Never: true}, Recover: Lapse{Never: true}}
	calls := 0
	for _, c := range h.calls {
		if c.at >= a.At && c.at < a.End() {
			calls++
		}
		if c.result != answered && c.at < a.End() && c.at+c.took > a.At { // also one that was under way
			f.NotAnswered++
			f.LastFailure = max(0, seconds(c.at-a.At))
		}
	}
	sent := 0
	for _, r := range h.requests {
		if r.host == a.Host && r.at >= a.At && r.at < a.End() {
			sent++
		}
	}
	f.Met = sent > 0
	if calls > 0 {
		f.Amplification = float64(sent) / float64(calls)
	}
	if at, ok := keptAway(h.changes, a); ok {
		f.Detect = Lapse{Seconds: seconds(at - a.At)}
	}
	next := played
	for _, other := range acts[i+1:] {
		if other.Host == a.Host {
			next = min(next, other.At)
		}
	}
	usual := shareOf(h.calls, a.Host, 0, acts[0].At)
	f.TookCalls = usual > 0 && shareOf(h.calls, a.Host, a.At, a.End()) < 0.9*usual && next-a.End() >= time.Second
	if at, ok := backAt(h.calls, a.Host, a.End(), next, usual); ok {
		f.Recover = Lapse{Seconds: seconds(at - a.End())}
	}
	return f
}

// keptAway returns when calls were first kept away from a broken host.
func keptAway(changes []change, a Act) (time.Duration, bool) {
	away := false // before the fault
	for _, c := range changes {
		if c.host != a.Host || c.at >= a.End() {
			continue
		}
		if c.at < a.At {
			away = c.what == "open" || c.what == pauseBegan && c.at+c.wait > a.At || away && c.what != "closed"
			continue
		}
		if away {
			return a.At, true
		}
		if c.what == "open" || c.what == pauseBegan || c.what == passedOver {
			return c.at, true
		}
	}
	return a.At, away
}

// shareOf returns a host's share of the answers to calls that began within a time, without those
// from the cache.
func shareOf(calls []call, host string, from, to time.Duration) float64 {
	all, its := 0, 0
	for _, c := range calls {
		if c.at < from || c.at >= to || c.result != answered || c.by == "cache" {
			continue
		}
		all++
		if c.by == host {
			its++
		}
	}
	if all == 0 {
		return 0
	}
	return float64(its) / float64(all)
}

// window is how many answers in a row say that a host has its usual share.
const window = 20

// backAt returns when the host has its usual share again.
func backAt(calls []call, host string, from, to time.Duration, usual float64) (time.Duration, bool) {
	var answers []call
	for _, c := range calls {
		if c.at >= from && c.at < to && c.by != "cache" {
			answers = append(answers, c)
		}
	}
	its := 0
	for i, c := range answers {
		if c.by == host {
			its++
		}
		if i >= window && answers[i-window].by == host {
			its--
		}
		if i >= window-1 && float64(its) >= 0.9*usual*window {
			return answers[i-window+1].at, true
		}
	}
	return 0, false
}

func percentiles(times []time.Duration) Percentiles {
	return Percentiles{seconds(percentile(times, 0.5)), seconds(percentile(times, 0.95)), seconds(percentile(times, 0.99))}
}
