package breakwater

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/header"
)

// pauses keeps who rests until when. A pause is never shortened: a later
// event can only lengthen it, or, if it is of our own making, show that it is over.
type pauses struct {
	kept atomic.Int32 // len(all), for a look without the lock

	mu   sync.Mutex // guards what follows
	all  map[pauseKey]pause
	held int // bytes of refusals
}

// A pauseKey says what rests: an endpoint, an account, one model of an account
// for one credential, or one model of an endpoint for one operation. Fields
// that do not matter are zero.
type pauseKey struct {
	endpoint   string
	account    string
	model      string
	op         operation
	credential header.Credential
}

type pause struct {
	until   time.Time // the later of the two that follow
	asked   time.Time // by the server
	earned  time.Time // of our own making
	strikes int       // in a row, of our own making
	refusal *refusal
}

// A refusal is what an endpoint said when it earned its pause, to say again
// to those whom the pause keeps away.
type refusal struct {
	status      int
	contentType string
	body        []byte
}

// size is about how many bytes it takes to keep the refusal.
func (r *refusal) size() int {
	if r == nil {
		return 0
	}
	return len(r.contentType) + cap(r.body)
}

const (
	maxPauses      = 4096
	maxKeptRefusal = 16 << 10         // bytes
	maxRefusals    = 4 << 20          // bytes of all that are kept
	keyPause       = 10 * time.Minute // of an endpoint or account whose key does not work
	modelPause     = time.Minute      // of a model that an endpoint does not have
)

func newPauses() *pauses { return &pauses{all: make(map[pauseKey]pause)} }

// any reports whether there may be a pause at all.
func (ps *pauses) any() bool { return ps.kept.Load() > 0 }

// of returns the pause of key, if it lasts beyond now.
func (ps *pauses) of(key pauseKey, now time.Time) (pause, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.all[key]
	return p, ok && p.until.After(now)
}

// ask has key rest for d because its server asked for it.
func (ps *pauses) ask(key pauseKey, now time.Time, d time.Duration, r *refusal) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.all[key]
	p.asked = later(p.asked, now.Add(d))
	ps.setLocked(key, p, now, r)
}

// earn has key rest for d, doubled for every time in a row up to longest.
func (ps *pauses) earn(key pauseKey, now time.Time, d, longest time.Duration, r *refusal) time.Duration {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.all[key]
	if d > longest>>p.strikes {
		d = longest
	} else {
		d <<= p.strikes
	}
	p.strikes++
	p.earned = later(p.earned, now.Add(d))
	ps.setLocked(key, p, now, r)
	return d
}

func (ps *pauses) setLocked(key pauseKey, p pause, now time.Time, r *refusal) {
	if until := later(p.asked, p.earned); until.After(p.until) {
		p.until, p.refusal = until, r
	}
	if _, known := ps.all[key]; !known && len(ps.all) >= maxPauses {
		ps.sweepLocked(now)
	}
	ps.putLocked(key, p)
	if ps.held > maxRefusals {
		ps.hushLocked()
	}
}

func (ps *pauses) putLocked(key pauseKey, p pause) {
	ps.held += p.refusal.size() - ps.all[key].refusal.size()
	ps.all[key] = p
	ps.kept.Store(int32(len(ps.all)))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// recovered ends what key earned: it has just answered. What a server asked
// for stands.
func (ps *pauses) recovered(key pauseKey, now time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.all[key]
	switch {
	case !ok:
	case !p.asked.After(now):
		ps.held -= p.refusal.size()
		delete(ps.all, key)
		ps.kept.Store(int32(len(ps.all)))
	default:
		p.until, p.earned, p.strikes = p.asked, time.Time{}, 0
		ps.all[key] = p
	}
}

// sweepLocked makes room: first what is over, then, should all last, what is
// of our own making before what a server asked for, and the soonest to end.
func (ps *pauses) sweepLocked(now time.Time) {
	bounded.MakeRoom(ps.all, maxPauses, func(p pause) bounded.Worth {
		return bounded.Worth{Known: p.asked.After(now), Used: p.until.Unix()}
	})
	ps.held = 0
	for _, p := range ps.all {
		ps.held += p.refusal.size()
	}
}

// hushLocked makes room for refusals: those of the pauses that end soonest go,
// an eighth at once, so that not each one costs a look at all. The pauses stay,
// and whom they keep away hears of them in our own words.
func (ps *pauses) hushLocked() {
	var keys []pauseKey
	for key, p := range ps.all {
		if p.refusal != nil {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(a, b pauseKey) int {
		return cmp.Compare(ps.all[a].until.Unix(), ps.all[b].until.Unix())
	})
	for _, key := range keys {
		if ps.held <= maxRefusals*7/8 {
			return
		}
		p := ps.all[key]
		p.refusal = nil
		ps.putLocked(key, p)
	}
}

// list returns the pauses that last beyond now.
func (ps *pauses) list(now time.Time) map[pauseKey]pause {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	lasting := make(map[pauseKey]pause)
	for key, p := range ps.all {
		if p.until.After(now) {
			lasting[key] = p
		}
	}
	return lasting
}
