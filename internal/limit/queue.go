package limit

import (
	"container/list"
	"time"
)

// A queue has the attempts that wait, in the order in which their calls came. Who is next is chosen when there
// may be something for it, so an attempt that has left keeps no place.
type queue struct {
	inTime list.List // of *waiter
	// late has those whose callers will probably have gone before the answer is there. They
	// are next if nobody else waits, the latest first, because it has the most time.
	late   list.List
	tokens int // that those in inTime need
}

// A waiter is an attempt in the queue.
type waiter struct {
	tokens   int
	most     time.Duration // how long it may wait
	since    time.Time     // when its call came
	deadline time.Time     // the caller's; zero: none
	place    *list.Element
	late     bool
	host     Host
	granted  chan struct{} // closed when it has got what it needs
	at       time.Time     // when it got that
	open     int           // attempts that were under way then, with itself
}

func (q *queue) len() int { return q.inTime.Len() + q.late.Len() }

func (q *queue) add(w *waiter) {
	q.tokens += w.tokens
	for at := q.inTime.Back(); at != nil; at = at.Prev() {
		if !at.Value.(*waiter).since.After(w.since) {
			w.place = q.inTime.InsertAfter(w, at)
			return
		}
	}
	w.place = q.inTime.PushFront(w)
}

// next returns the waiter whose turn it is; nil: there is none. An attempt needs enough
// time until its deadline.
func (q *queue) next(now time.Time, enough time.Duration) *waiter {
	for {
		first := q.inTime.Front()
		if first == nil {
			break
		}
		w := first.Value.(*waiter)
		if w.deadline.IsZero() || w.deadline.Sub(now) >= enough {
			return w
		}
		q.remove(w)
		w.late, w.place = true, q.late.PushBack(w)
	}
	if latest := q.late.Back(); latest != nil {
		return latest.Value.(*waiter)
	}
	return nil
}

func (q *queue) remove(w *waiter) {
	if w.late {
		q.late.Remove(w.place)
		return
	}
	q.inTime.Remove(w.place)
	q.tokens -= w.tokens
}
