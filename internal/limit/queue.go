package limit

import (
	"container/heap"
	"container/list"
	"time"
)

// A Priority says how urgent an attempt is. More is more urgent.
type Priority int8

// The priorities. What is beyond them counts as the nearest one.
const (
	Batch       Priority = -1
	Default     Priority = 0
	Interactive Priority = 1
)

// levels are the priorities.
const levels = int(Interactive-Batch) + 1

// A Caller says for whom an attempt is made, as far as that decides whose turn it is.
type Caller struct {
	Tenant   string // attempts that have the same one share its part; empty: they name none, which is one tenant, too
	Priority Priority
}

// level returns the index of the caller's level in a queue.
func (c Caller) level() int { return int(Interactive - min(max(c.Priority, Batch), Interactive)) }

// maxPassed is how often those who wait may be passed by others until it is their turn in any
// case. So a less urgent priority gets a ninth of the turns at least, and so does, within a
// priority, who waits longest.
const maxPassed = 8

// A queue has the attempts that wait. Who is next is chosen when there may be something for
// it, so an attempt that has left keeps no place. The most urgent priority is next; within
// it, the tenant that has used least (see fairness); of its attempts, the one whose call came
// first.
type queue struct {
	levels [levels]level // the most urgent first
	n      int           // attempts in them
}

// A level has the attempts of one priority that wait.
type level struct {
	inTime list.List // of *waiter, in the order in which their calls came
	// late has those whose callers will probably have gone before the answer is there. They
	// are next if nobody else waits, the latest first, because it has the most time.
	late   list.List
	tokens int // that those in inTime need

	flows  map[string]*flow // those in inTime, by tenant; none without inTime
	byUse  flowHeap         // the same
	passed int              // turns of more urgent levels since this one's last, or since it was empty
	passes int              // turns of this one since that of who waits longest
}

// A flow has the attempts of one tenant in one level.
type flow struct {
	tenant  string
	waiters list.List // of *waiter, in the order in which their calls came
	tokens  int       // that they need
	start   float64   // see fairness
	at      int       // its index in the heap
}

func (f *flow) first() *waiter { return f.waiters.Front().Value.(*waiter) }

// A waiter is an attempt in the queue.
type waiter struct {
	Caller
	use      Use
	tokens   int           // that it needs, by the limit of now
	most     time.Duration // how long it may wait
	since    time.Time     // when its call came
	deadline time.Time     // the caller's; zero: none
	place    *list.Element // in its level
	ofFlow   *list.Element // in its flow
	late     bool
	granted  chan struct{} // closed when it has got what it needs
	at       time.Time     // when it got that
	open     int           // attempts that were under way then, with itself
	cost     float64       // that its tenant was charged with then
}

func (q *queue) len() int { return q.n }

// What is ahead of an attempt.
type ahead struct {
	attempts, tokens int // of those who wait in time
	late             int // attempts of those who probably do not
}

// ahead returns what is ahead of an attempt that comes now, at least. Of other tenants, nobody
// knows that.
func (q *queue) ahead(c Caller) (a ahead) {
	at := c.level()
	if f := q.levels[at].flows[c.Tenant]; f != nil {
		a.attempts, a.tokens = f.waiters.Len(), f.tokens
	}
	before, tokens := 0, 0
	for i := range q.levels {
		if l := &q.levels[i]; i < at {
			before, tokens = before+l.inTime.Len(), tokens+l.tokens
		}
		if i <= at {
			a.late += q.levels[i].late.Len()
		}
	}
	if most := maxPassed * (a.attempts + 1); before > most { // the others are passed in turn
		before, tokens = most, int(float64(tokens)/float64(before)*float64(most))
	}
	a.attempts, a.tokens = a.attempts+before, a.tokens+tokens
	return a
}

func (q *queue) add(w *waiter, start float64) {
	q.n++
	l := &q.levels[w.level()]
	l.tokens += w.tokens
	w.place = insert(&l.inTime, w)
	f := l.flows[w.Tenant]
	if f == nil {
		if l.flows == nil {
			l.flows = make(map[string]*flow)
		}
		f = &flow{tenant: w.Tenant, start: start}
		l.flows[w.Tenant] = f
	}
	f.tokens += w.tokens
	w.ofFlow = insert(&f.waiters, w)
	if f.waiters.Len() == 1 {
		heap.Push(&l.byUse, f)
	} else {
		heap.Fix(&l.byUse, f.at)
	}
}

// insert adds w to a list that is in the order in which calls came.
func insert(all *list.List, w *waiter) *list.Element {
	for at := all.Back(); at != nil; at = at.Prev() {
		if !at.Value.(*waiter).since.After(w.since) {
			return all.InsertAfter(w, at)
		}
	}
	return all.PushFront(w)
}

// next returns the waiter whose turn it is; nil: there is none. An attempt needs enough
// time until its deadline.
func (q *queue) next(now time.Time, enough time.Duration) *waiter {
	for l := q.nextLevel(); l != nil; l = q.nextLevel() {
		w := l.next()
		if w.deadline.IsZero() || w.deadline.Sub(now) >= enough {
			return w
		}
		q.remove(w)
		q.n++
		w.late, w.place = true, l.late.PushBack(w)
	}
	for i := range q.levels {
		if latest := q.levels[i].late.Back(); latest != nil {
			return latest.Value.(*waiter)
		}
	}
	return nil
}

// nextLevel returns the level whose turn it is among those that wait in time.
func (q *queue) nextLevel() (next *level) {
	for i := range q.levels {
		if l := &q.levels[i]; l.inTime.Len() > 0 && (next == nil || l.passed >= max(maxPassed, next.passed)) {
			next = l
		}
	}
	return next
}

// isOldest reports whether nobody of w's priority waits in time for longer.
func (q *queue) isOldest(w *waiter) bool {
	return !w.late && q.levels[w.level()].inTime.Front() == w.place
}

// next returns the waiter of the level whose turn it is.
func (l *level) next() *waiter {
	if l.passes >= maxPassed {
		return l.inTime.Front().Value.(*waiter)
	}
	return l.byUse[0].first()
}

// grant removes w, whose turn it was, and counts it. It returns the start of its flow, and
// whether that was the least of its level.
func (q *queue) grant(w *waiter) (start float64, least bool) {
	if w.late {
		q.remove(w)
		return 0, false
	}
	at := w.level()
	l := &q.levels[at]
	l.passed = 0
	if l.inTime.Front() == w.place {
		l.passes = 0
	} else {
		l.passes++
	}
	for i := range q.levels[at+1:] {
		if below := &q.levels[at+1+i]; below.inTime.Len() > 0 {
			below.passed++
		}
	}
	f := l.flows[w.Tenant]
	start, least = f.start, f.at == 0
	q.remove(w)
	return start, least
}

func (q *queue) remove(w *waiter) {
	q.n--
	l := &q.levels[w.level()]
	if w.late {
		l.late.Remove(w.place)
		return
	}
	if l.inTime.Front() == w.place {
		l.passes = 0
	}
	l.inTime.Remove(w.place)
	l.tokens -= w.tokens
	f := l.flows[w.Tenant]
	f.waiters.Remove(w.ofFlow)
	f.tokens -= w.tokens
	if f.waiters.Len() > 0 {
		heap.Fix(&l.byUse, f.at)
		return
	}
	heap.Remove(&l.byUse, f.at)
	delete(l.flows, w.Tenant)
	if l.inTime.Len() == 0 {
		l.passed = 0
	}
}

// estimate notes what those who wait need by another limit of tokens.
func (q *queue) estimate(of func(Use) int) {
	for i := range q.levels {
		l := &q.levels[i]
		for at := l.inTime.Front(); at != nil; at = at.Next() {
			w := at.Value.(*waiter)
			more := of(w.use) - w.tokens
			w.tokens, l.tokens, l.flows[w.Tenant].tokens = w.tokens+more, l.tokens+more, l.flows[w.Tenant].tokens+more
		}
		for at := l.late.Front(); at != nil; at = at.Next() {
			w := at.Value.(*waiter)
			w.tokens = of(w.use)
		}
	}
}

// restart sets the start of a tenant's flows.
func (q *queue) restart(tenant string, start float64) {
	for i := range q.levels {
		l := &q.levels[i]
		if f := l.flows[tenant]; f != nil && f.start != start {
			f.start = start
			heap.Fix(&l.byUse, f.at)
		}
	}
}

// A flowHeap has the flow on top whose turn it is.
type flowHeap []*flow

func (h flowHeap) Len() int { return len(h) }

func (h flowHeap) Less(i, j int) bool {
	if h[i].start != h[j].start {
		return h[i].start < h[j].start
	}
	return h[i].first().since.Before(h[j].first().since)
}

func (h flowHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *flowHeap) Push(f any) {
	f.(*flow).at = len(*h)
	*h = append(*h, f.(*flow))
}

func (h *flowHeap) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return f
}
