// Package limit bounds what is asked of an account at once and over time:
// attempts under way, attempts per second, and tokens per minute, for each model.
//
// A Table holds the limiters of all accounts. Limits finds those of one account
// by model, and a Limiter hands out leases:
//
//	queued   Acquire waits for its turn, and holds nothing
//	held     Acquire has returned nil: the lease holds a permit, one attempt and
//	         the estimated tokens
//	ended    End has given the permit back and settled the tokens; its Result
//	         may have changed the number of permits
//
// A lease of which Acquire has returned an error holds nothing and is not ended.
//
// All methods may be called from any goroutine, except that a Lease belongs to
// one attempt.
package limit

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
)

// A Policy limits the use of one model of one account.
type Policy struct {
	PerSecond       float64       // attempts; 0: unlimited
	Burst           int           // attempts at once, at least 1
	TokensPerMinute int           // 0: unlimited
	InFlight        int           // attempts under way; 0: unlimited
	Adaptive        bool          // InFlight follows what the host refuses and serves
	Fixed           bool          // nothing is learned from refusals
	MaxWait         time.Duration // how long an attempt may be queued; 0: not at all
	Spill           bool          // what has to wait may go to another host instead
}

// Off reports whether the policy limits nothing.
func (p Policy) Off() bool {
	return p.PerSecond == 0 && p.TokensPerMinute == 0 && p.InFlight == 0 && !p.Adaptive
}

// maxLimiters bounds the limiters of a table, because callers name the models.
const maxLimiters = 4096

// A Table holds the limiters of all accounts. NewTable makes one.
type Table struct {
	limiters bounded.Map[key, *Limiter]
	learned  atomic.Bool                        // some limiter is there only because a host refused an attempt
	latest   atomic.Pointer[map[string]*Limits] // those of Follow, by account
}

// A key names what a limiter is for. What is learned without a policy holds for one
// credential, unless the account has one of its own.
type key struct {
	account, model string
	credential     [32]byte
}

// NewTable returns an empty table.
func NewTable() *Table {
	t := &Table{limiters: bounded.Map[key, *Limiter]{Max: maxLimiters, WorthOf: (*Limiter).worth}}
	t.latest.Store(&map[string]*Limits{})
	return t
}

// Limits returns the limits of an account. The payer stands for its credentials: what hosts
// teach concerns these. A model has the policy under its name, otherwise the one under the
// empty name, otherwise other. If an account is used several times, its Limits share the
// limiters and should have the same policies, because the first one that asks for a model
// makes its limiter.
func (t *Table) Limits(account, payer string, policies map[string]Policy, other Policy) *Limits {
	off, learns := other.Off(), !other.Fixed
	for _, p := range policies {
		off, learns = off && p.Off(), learns || !p.Fixed
	}
	return &Limits{table: t, account: account, payer: payer, policies: policies, other: other, off: off, learns: learns}
}

// Follow lets the limiters of these accounts follow these limits from now on. What is open,
// waits or was used counts on. What hosts have taught is forgotten if the policy changes, or
// the payer does. Limits that an account had before make no limiters by their policies any
// more.
func (t *Table) Follow(accounts map[string]*Limits) {
	t.latest.Store(&accounts)
	for k, l := range t.limiters.All() {
		if ls := accounts[k.account]; ls != nil {
			l.follow(ls.policy(k.model), ls.payer)
		}
	}
}

// Limits are the limits of one account.
type Limits struct {
	table    *Table
	account  string
	payer    string
	policies map[string]Policy
	other    Policy
	off      bool // none of the policies limits anything
	learns   bool // one of them lets limits be learned
}

// Off reports whether nothing limits any model, and nothing ever will.
func (ls *Limits) Off() bool { return ls.off && !ls.learns }

// Learns reports whether limits of some model may be learned.
func (ls *Limits) Learns() bool { return ls.learns }

// Any reports whether something may limit a model now. It takes no lock.
func (ls *Limits) Any() bool { return !ls.off || ls.learns && ls.table.learned.Load() }

// Get returns the limiter of a model for a credential, or nil if nothing limits the model.
func (ls *Limits) Get(model string, credential [32]byte) *Limiter {
	if !ls.Any() {
		return nil
	}
	all := &ls.table.limiters
	p := ls.policy(model)
	if p.Off() {
		if !ls.table.learned.Load() {
			return nil
		}
		l, ok := all.Get(key{ls.account, model, credential})
		if !ok {
			return nil
		}
		all.Touch(&l.used)
		return l
	}
	return ls.limiter(key{account: ls.account, model: model})
}

// limiter returns the limiter of a key, and makes it if there is none yet.
func (ls *Limits) limiter(k key) *Limiter {
	all := &ls.table.limiters
	l := all.GetOrAdd(k, func() *Limiter { return ls.newLimiter(k) })
	all.Touch(&l.used)
	return l
}

// newLimiter returns a limiter that counts as used now: others may make room as soon as it is
// in the table.
func (ls *Limits) newLimiter(k key) *Limiter {
	latest := ls.latest()
	l := newLimiter(latest.policy(k.model), latest.payer)
	ls.table.limiters.Touch(&l.used)
	return l
}

// latest returns the limits that the account has now.
func (ls *Limits) latest() *Limits {
	if latest := (*ls.table.latest.Load())[ls.account]; latest != nil {
		return latest
	}
	return ls
}

// Told reports whether the limits of a model are by a policy. Such limits hold for all
// credentials together.
func (ls *Limits) Told(model string) bool { p := ls.policy(model); return !p.Off() }

// policy returns the policy of a model.
func (ls *Limits) policy(model string) Policy {
	p, ok := ls.policies[model]
	if !ok {
		p, ok = ls.policies[""]
	}
	if !ok {
		p = ls.other
	}
	return p
}

// Learn notes that a host refused an attempt that no limiter admitted. What it said to
// credentials that the account has no longer teaches nothing.
func (ls *Limits) Learn(model string, credential [32]byte, t Throttle) {
	p := ls.policy(model)
	if p.Fixed || ls.latest().payer != ls.payer {
		return
	}
	k := key{account: ls.account, model: model}
	if p.Off() {
		k.credential = credential
	}
	l := ls.limiter(k)
	if p.Off() {
		ls.table.learned.Store(true)
	}
	l.throttled(t)
}

// A Status tells the state of one model's limits.
type Status struct {
	Model             string
	InFlight, Waiting int     // attempts
	MaxInFlight       int     // 0: unlimited
	PerSecond         float64 // attempts, by the policy or as learned; 0: unlimited
}

// Status returns the status of the account's limiters, by model.
func (ls *Limits) Status() []Status {
	var list []Status
	for key, l := range ls.table.limiters.All() {
		if key.account != ls.account {
			continue
		}
		list = append(list, l.status(key.model))
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Model, b.Model) })
	return list
}
