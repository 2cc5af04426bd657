// Package served remembers which models a host really serves. A host may put another model
// or another configuration behind a name at any time, and only its answers say so.
//
// A [Table] is for one endpoint. For each name that calls ask for, it keeps the names and
// fingerprints that answers had, and tells when one is new: a drift. It is bounded, whatever
// callers ask for and hosts answer, and safe for concurrent use. It also makes answers share
// one copy of each name, so that a name that is known costs no allocation.
package served

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/header"
)

const (
	// MaxName is how many bytes of a model's name or of a fingerprint are kept.
	MaxName = 128
	// maxAsked is for how many names that calls ask for a Table remembers answers.
	maxAsked = 64
	// maxSeen is how many names, and how many fingerprints, it remembers for each of them.
	maxSeen = 8
	// Absence is after how long a name that comes again is new.
	Absence = 24 * time.Hour
	// refresh is how old the note of when a name was seen may be. Otherwise each answer
	// would write to memory that all calls share.
	refresh = time.Hour
)

// An Identity is what an answer says that it is of. Its strings are visible ASCII.
type Identity struct{ Model, Fingerprint string }

// A Drift is a change of what answers say.
type Drift struct {
	From, To    string // From is one of those that answers had before
	Fingerprint bool   // the fingerprint changed, and not the model
}

// A Table remembers answers of one endpoint. Use NewTable.
type Table struct{ asked bounded.Map[string, *answers] }

// NewTable returns an empty Table.
func NewTable() *Table {
	t := &Table{}
	t.asked.Max, t.asked.WorthOf = maxAsked, func(a *answers) bounded.Worth { return bounded.Worth{Used: a.used.Load()} }
	return t
}

// Note records what an answer to a call for asked says, the model, the fingerprint or both.
// It returns them as they are kept, and how they differ from what answers said before; nil:
// in nothing that counts.
//
// The first name that is heard is no drift. A name is new if it was not heard for Absence;
// so hosts may go from one to another and back, as they do while they change many servers.
// A host with more than maxSeen of them in this time names no configuration but the answer
// itself, so there is no drift any more.
// What comes with a new model is no drift of its own. What secret says must not be told is taken for nothing.
func (t *Table) Note(asked string, model, fingerprint []byte, now time.Time, secret func(string) bool) (Identity, *Drift) {
	a, ok := t.asked.Get(asked)
	if ok {
		if id, known := a.latest(model, fingerprint, now); known {
			t.asked.Touch(&a.used)
			return id, nil
		}
	} else {
		a = t.asked.GetOrAdd(asked, func() *answers {
			a := &answers{}
			t.asked.Touch(&a.used)
			return a
		})
	}
	t.asked.Touch(&a.used)
	return a.note(model, fingerprint, now, secret)
}

// answers are the answers to calls for one name.
type answers struct {
	used atomic.Int64
	last atomic.Pointer[note]

	mu                   sync.Mutex // guards what follows
	models, fingerprints names
}

// A note is what the latest answer said, and when it was noted.
type note struct {
	Identity
	at time.Time
}

// latest returns what the latest answer said, if this one says the same.
func (a *answers) latest(model, fingerprint []byte, now time.Time) (Identity, bool) {
	last := a.last.Load()
	if last == nil || now.Sub(last.at) >= refresh ||
		len(model) > 0 && last.Model != string(model) || len(fingerprint) > 0 && last.Fingerprint != string(fingerprint) {
		return Identity{}, false
	}
	id := last.Identity
	if len(model) == 0 {
		id.Model = ""
	}
	if len(fingerprint) == 0 {
		id.Fingerprint = ""
	}
	return id, true
}

func (a *answers) note(model, fingerprint []byte, now time.Time, secret func(string) bool) (Identity, *Drift) {
	a.mu.Lock()
	defer a.mu.Unlock()
	m, f := a.models.add(model, now, secret), a.fingerprints.add(fingerprint, now, secret)
	id := Identity{m.text, f.text}
	// Hosts may go from one known fingerprint to another with each answer. Such an answer
	// allocates nothing.
	if last := a.last.Load(); last == nil || m.added || f.added || now.Sub(last.at) >= refresh {
		a.last.Store(&note{Identity{a.models.latest(), a.fingerprints.latest()}, now})
	}
	switch {
	case m.isNew:
		return id, &Drift{From: m.was, To: m.text}
	case f.isNew && !m.added:
		return id, &Drift{From: f.was, To: f.text, Fingerprint: true}
	}
	return id, nil
}

// names are the latest names that answers had.
type names struct {
	all  [maxSeen]name
	n    int
	last int // index of the latest
}

type name struct {
	text string
	at   time.Time // when it was last noted
}

func (ns *names) latest() string { return ns.all[ns.last].text }

// An entry is a name that was noted.
type entry struct {
	text, was string // the name, and the one before
	added     bool   // it was not among the names
	isNew     bool   // it counts as a change
}

// add notes a name, unless it has nothing visible or is secret.
func (ns *names) add(text []byte, now time.Time, secret func(string) bool) entry {
	e := entry{was: ns.latest()}
	i := ns.find(text)
	if i < 0 && len(text) > 0 {
		e.text = header.Visible(string(text[:min(len(text), MaxName+1)]), MaxName)
		i = ns.find([]byte(e.text))
	}
	switch {
	case i >= 0:
		n := &ns.all[i]
		e.text, e.isNew = n.text, i != ns.last && now.Sub(n.at) >= Absence
		ns.last, n.at = i, now
		return e
	case e.text == "", secret(e.text):
		e.text = ""
		return e
	}
	e.added, e.isNew = true, ns.n > 0
	i = ns.n
	if ns.n < maxSeen {
		ns.n++
	} else {
		i = ns.oldest()
		e.isNew = now.Sub(ns.all[i].at) >= Absence
	}
	ns.all[i], ns.last = name{e.text, now}, i
	return e
}

// find returns the index of a name, or -1.
func (ns *names) find(text []byte) int {
	for i := range ns.all[:ns.n] {
		if ns.all[i].text == string(text) {
			return i
		}
	}
	return -1
}

// oldest returns the index of the name that was not noted for the longest time.
func (ns *names) oldest() int {
	oldest := 0
	for i := range ns.all[:ns.n] {
		if ns.all[i].at.Before(ns.all[oldest].at) {
			oldest = i
		}
	}
	return oldest
}
