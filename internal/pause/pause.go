// Package pause keeps pauses by key: until when something must not be asked, for example
// an endpoint or an account.
//
// A key is paused because a server asked for it (Ask), because its failures earned it
// (Penalize), or both. It is free again when both times are over. A pause is never
// shortened, but for one case: an answer (Recover) ends what failures have earned. What a
// server asked for always stands.
//
// A Table is safe for concurrent use. The failover layer and the gate use it.
package pause

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

const (
	// maxPauses bounds the pauses of a table, because callers name models, and these are
	// parts of keys.
	maxPauses = 4096
	// maxNoteBytes bounds the notes of all pauses together.
	maxNoteBytes = 4 << 20
)

// A Table holds the pauses of keys K. N is what may be noted with a pause, such as the
// server's answer that caused it. New makes one.
type Table[K comparable, N any] struct {
	sizeOf func(*N) int
	kept   atomic.Int32 // len(all), for Any

	mu        sync.Mutex // guards what follows
	all       map[K]Pause[N]
	noteBytes int // of all notes
}

// A Pause says how long a key is paused, and why.
type Pause[N any] struct {
	Until time.Time // the end: the later of those asked for and earned
	Since time.Time // when Until was set
	Asked time.Time // the end that a server asked for; zero: none
	Note  *N        // of the event that set Until; nil: none was given, or there was no space

	earned    time.Time // the end that failures have earned
	penalties int       // in a row
	penalized time.Time // when the latest of them was earned
	turns     int       // that those who wait for its end have drawn
}

// New returns an empty table. sizeOf returns about how many bytes a note takes.
func New[K comparable, N any](sizeOf func(*N) int) *Table[K, N] {
	return &Table[K, N]{sizeOf: sizeOf, all: make(map[K]Pause[N])}
}

// Any reports whether there may be a pause at all. It takes no lock.
func (t *Table[K, N]) Any() bool { return t.kept.Load() > 0 }

// Get returns the pause of key, and whether it lasts beyond now.
func (t *Table[K, N]) Get(key K, now time.Time) (Pause[N], bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.all[key]
	return p, ok && p.Until.After(now)
}

// Longest returns the pause that ends last, beyond now, of the keys for which match reports
// true. match is called with the table locked.
func (t *Table[K, N]) Longest(now time.Time, match func(K, *Pause[N]) bool) (key K, last Pause[N], ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, p := range t.all {
		if p.Until.After(now) && p.Until.After(last.Until) && match(k, &p) {
			key, last, ok = k, p, true
		}
	}
	return key, last, ok
}

// Ask pauses key for d, because its server asked for it. The note may be nil.
func (t *Table[K, N]) Ask(key K, now time.Time, d time.Duration, note *N) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.all[key]
	p.Asked = later(p.Asked, now.Add(d))
	t.extendLocked(key, p, now, note)
}

// Penalize pauses key for d, doubled for each penalty in a row up to longest, and returns
// the length. What failed now had begun at began: if that is before the latest penalty, it
// is a part of the same trouble, and doubles nothing. The note may be nil.
func (t *Table[K, N]) Penalize(key K, began, now time.Time, d, longest time.Duration, note *N) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.penalizeLocked(key, began, now, d, longest, note)
}

// PenalizeOnce is Penalize for failures of which several at one time mean no more than one:
// a key that is paused already stays as it is, and ok is false.
func (t *Table[K, N]) PenalizeOnce(key K, now time.Time, d, longest time.Duration, note *N) (wait time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all[key].Until.After(now) {
		return 0, false
	}
	return t.penalizeLocked(key, now, now, d, longest, note), true
}

func (t *Table[K, N]) penalizeLocked(key K, began, now time.Time, d, longest time.Duration, note *N) time.Duration {
	p := t.all[key]
	if p.penalties == 0 || !began.Before(p.penalized) {
		p.penalties++
		p.penalized = now
	}
	if doublings := p.penalties - 1; d > longest>>doublings { // doubled, it could overflow
		d = longest
	} else {
		d <<= doublings
	}
	p.earned = later(p.earned, now.Add(d))
	t.extendLocked(key, p, now, note)
	return d
}

// Turn draws a turn for somebody who waits until the pause of key is over. It returns how
// many have drawn one before.
func (t *Table[K, N]) Turn(key K) (turn int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, ok := t.all[key]; ok {
		turn = p.turns
		p.turns++
		t.all[key] = p
	}
	return turn
}

// Recover ends what key's failures have earned, because it has just answered. What a
// server asked for stands.
func (t *Table[K, N]) Recover(key K, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, ok := t.all[key]
	switch {
	case !ok:
	case !p.Asked.After(now):
		t.noteBytes -= t.size(p.Note)
		delete(t.all, key)
		t.kept.Store(int32(len(t.all)))
	default:
		p.Until, p.earned, p.penalties = p.Asked, time.Time{}, 0
		t.all[key] = p
	}
}

// List returns the pauses that last beyond now.
func (t *Table[K, N]) List(now time.Time) map[K]Pause[N] {
	t.mu.Lock()
	defer t.mu.Unlock()
	lasting := make(map[K]Pause[N])
	for key, p := range t.all {
		if p.Until.After(now) {
			lasting[key] = p
		}
	}
	return lasting
}

// extendLocked stores p with its new end and note, within the bounds.
func (t *Table[K, N]) extendLocked(key K, p Pause[N], now time.Time, note *N) {
	if until := later(p.Asked, p.earned); until.After(p.Until) {
		p.Until, p.Since, p.Note, p.turns = until, now, note, 0
	}
	if _, known := t.all[key]; !known && len(t.all) >= maxPauses {
		t.makeRoomLocked(now)
	}
	t.putLocked(key, p)
	if t.noteBytes > maxNoteBytes {
		t.dropNotesLocked()
	}
}

func (t *Table[K, N]) putLocked(key K, p Pause[N]) {
	t.noteBytes += t.size(p.Note) - t.size(t.all[key].Note)
	t.all[key] = p
	t.kept.Store(int32(len(t.all)))
}

func (t *Table[K, N]) size(note *N) int {
	if note == nil {
		return 0
	}
	return t.sizeOf(note)
}

// makeRoomLocked removes the pauses that are over. If none is, it removes those that
// failures earned before those that servers asked for, and among these the ones that end
// soonest.
func (t *Table[K, N]) makeRoomLocked(now time.Time) {
	bounded.MakeRoom(t.all, maxPauses, func(p Pause[N]) bounded.Worth {
		return bounded.Worth{Known: p.Asked.After(now), Used: p.Until.Unix()}
	})
	t.noteBytes = 0
	for _, p := range t.all {
		t.noteBytes += t.size(p.Note)
	}
}

// dropNotesLocked removes the notes of the pauses that end soonest. It removes an eighth
// of all bytes at once, so that not each new note costs a scan. The pauses stay.
func (t *Table[K, N]) dropNotesLocked() {
	var keys []K
	for key, p := range t.all {
		if p.Note != nil {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b K) int {
		return cmp.Compare(t.all[a].Until.Unix(), t.all[b].Until.Unix())
	})
	for _, key := range keys {
		if t.noteBytes <= maxNoteBytes*7/8 {
			return
		}
		p := t.all[key]
		p.Note = nil
		t.putLocked(key, p)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
