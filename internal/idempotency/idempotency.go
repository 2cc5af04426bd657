// Package idempotency reads idempotency keys, and keeps answers under them:
// draft-ietf-httpapi-idempotency-key-header. A key identifies a call, and its fingerprint the
// request of that call. It makes no call and knows no scope by itself; the cache layer is its
// user.
package idempotency

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/lru"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/store"
)

const name = "Idempotency-Key"

// MaxLength is how many bytes a key may have: as at Stripe, whose limit clients know. UUIDs
// have 36.
const MaxLength = 255

// KeyOf returns the idempotency key in a request's header, or "" if there is none. An error
// does not quote it.
func KeyOf(h http.Header) (string, error) {
	var values []string
	fields := 0
	for spelled, list := range h {
		if len(spelled) == len(name) && strings.EqualFold(spelled, name) && len(list) > 0 {
			values = list
			fields += len(list)
		}
	}
	switch fields {
	case 0:
		return "", nil
	case 1:
		id := strings.Trim(values[0], " \t")
		return id, Check(id)
	}
	return "", outcome.Error(fmt.Sprintf("the request has %d fields Idempotency-Key: want one", fields))
}

// Check returns an error for a key that nobody may use. It does not quote it.
func Check(id string) error {
	switch {
	case id == "":
		return outcome.Error("the Idempotency-Key is empty")
	case len(id) > MaxLength:
		return outcome.Error(fmt.Sprintf("the Idempotency-Key has %d bytes: want at most %d", len(id), MaxLength))
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return outcome.Error("the Idempotency-Key has a character in it that is not printable ASCII")
		}
	}
	return nil
}

// A Call is an idempotency key in its scope, with the fingerprint of a request. Both are
// hashes.
type Call struct{ ID, Print key.Key }

// ErrReused says that a key was used with another request.
const ErrReused = outcome.Error("the Idempotency-Key was used with another request: want a new one for each call")

// Answers keeps answers for the calls that they were given to, in memory and in a Store. It
// is safe for concurrent use.
type Answers struct {
	ttl   time.Duration // 0: nothing is kept
	store *store.Guard  // nil: none
	kept  *lru.Cache[key.Key, *store.Entry, struct{}]

	mu sync.Mutex // held by Put, so that the first answer stays
}

// New returns Answers that keep each for ttl, and at most maxBytes in memory; 0: any number.
func New(ttl time.Duration, maxBytes int64, s *store.Guard) *Answers {
	return &Answers{ttl: ttl, store: s, kept: lru.New[key.Key, *store.Entry, struct{}](0, maxBytes)}
}

// Keep takes over what before has in memory, and its Store if that is the same.
func (a *Answers) Keep(before *Answers, sameStore bool) {
	a.kept = before.kept
	if sameStore {
		a.store = before.store
	}
}

// SetBounds changes the bound of the memory: see New. What is beyond it is removed.
func (a *Answers) SetBounds(maxBytes int64) { a.kept.SetBounds(0, maxBytes) }

// Get returns the answer to a call, or nil if there is none. It returns ErrReused if the key
// was used with another request.
func (a *Answers) Get(ctx context.Context, c Call) (*store.Entry, error) {
	e := a.inMemory(c.ID)
	if e == nil && a.ttl > 0 {
		if e = a.store.Get(ctx, c.ID.String()); e == nil || e.Print == "" || e.Age(time.Now()) >= a.ttl {
			return nil, nil
		}
		a.mu.Lock()
		if first := a.inMemory(c.ID); first != nil {
			e = first
		} else {
			a.kept.Put(c.ID, e, e.Size())
		}
		a.mu.Unlock()
	}
	if e != nil && e.Print != c.Print.String() {
		return nil, ErrReused
	}
	return e, nil
}

// Has reports whether there is an answer in memory for the key of a call.
func (a *Answers) Has(c Call) bool { return a.inMemory(c.ID) != nil }

func (a *Answers) inMemory(id key.Key) *store.Entry {
	if e, ok := a.kept.Get(id); ok && e.Age(time.Now()) < a.ttl {
		return e
	}
	return nil
}

// Put keeps a copy of e as the answer to a call, unless there is one. It reports whether it
// did. The call's own answer is for that call alone, so neither its Vary nor the times of
// its host count.
func (a *Answers) Put(ctx context.Context, c Call, e *store.Entry) bool {
	if a.ttl == 0 {
		return false
	}
	own := *e
	own.Print, own.Stored = c.Print.String(), time.Now()
	own.Selection, own.TTL, own.NoStale = store.Selection{}, 0, false
	a.mu.Lock()
	if a.inMemory(c.ID) != nil {
		a.mu.Unlock()
		return false
	}
	a.kept.Put(c.ID, &own, own.Size())
	a.mu.Unlock()
	a.store.Set(ctx, c.ID.String(), &own, a.ttl)
	return true
}

// TTL returns for how long an answer is still given.
func (a *Answers) TTL(e *store.Entry) time.Duration { return a.ttl - e.Age(time.Now()) }

// Stats returns how many answers and bytes are in memory, and how many answers were removed
// to make room.
func (a *Answers) Stats() (values int, bytes, evicted int64) { return a.kept.Stats() }
