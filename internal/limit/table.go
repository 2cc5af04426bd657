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
}

type key struct{ account, model string }

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{bounded.Map[key, *Limiter]{Max: maxLimiters, WorthOf: (*Limiter).worth}}
}

// Limits returns the limits of an account. A model has the policy under its name,
// otherwise the one under the empty name, otherwise other. If an account is used several
// times, its Limits share the limiters and should have the same policies, because the
// first one that asks for a model makes its limiter.
func (t *Table) Limits(account string, policies map[string]Policy, other Policy) *Limits {
	off := other.Off()
	for _, p := range policies {
		off = off && p.Off()
	}
	return &Limits{table: t, account: account, policies: policies, other: other, off: off}
}

// Limits are the limits of one account.
type Limits struct {
	table    *Table
	account  string
	policies map[string]Policy
	other    Policy
	off      bool // none of the policies limits anything
}

// Off reports whether nothing limits any model.
func (ls *Limits) Off() bool { return ls.off }

// Get returns model's limiter, or nil if nothing limits the model.
func (ls *Limits) Get(model string) *Limiter {
	if ls.off {
		return nil
	}
	p, ok := ls.policies[model]
	if !ok {
		p, ok = ls.policies[""]
	}
	if !ok {
		p = ls.other
	}
	if p.Off() {
		return nil
	}
	all := &ls.table.limiters
	l := all.GetOrAdd(key{ls.account, model}, func() *Limiter { return ls.table.newLimiter(p) })
	all.Touch(&l.used)
	return l
}

// newLimiter returns a limiter that counts as used now: others may make room as
// soon as it is in the table.
func (t *Table) newLimiter(p Policy) *Limiter {
	l := newLimiter(p)
	t.limiters.Touch(&l.used)
	return l
}

// A Status tells the state of one model's limits.
type Status struct {
	Model             string
	InFlight, Waiting int // attempts
}

// Status returns the status of the account's limiters, by model.
func (ls *Limits) Status() []Status {
	var list []Status
	for key, l := range ls.table.limiters.All() {
		if key.account != ls.account {
			continue
		}
		s := Status{Model: key.model}
		s.InFlight, s.Waiting = l.InUse()
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Model, b.Model) })
	return list
}
