// Package tenant limits what each tenant of an application may ask for: calls and tokens of a
// minute, calls under way, tokens and costs of a day.
//
// A Table has the tenants, by their names. A call takes a Hold of its tenant before its first
// attempt. Its attempts join the hold, so that hedges and retries are a part of the one call,
// and the last of them returns what it holds, and notes what all of them have used.
//
// Names are chosen by callers: a Table knows of no more than 4,096 tenants, and forgets first
// whoever has used least today. Nothing is known to other processes, or after a restart.
package tenant

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/limit"
)

// Limits are those of one tenant. What is zero is unlimited.
type Limits struct {
	RequestsPerMinute int
	TokensPerMinute   int
	InFlight          int
	TokensPerDay      int
	CostPerDay        float64
	MaxWait           time.Duration // how long a call may wait for the first three; 0: not at all
}

// A Policy has the limits of all tenants. It must not be changed.
type Policy struct {
	Named   map[string]Limits
	Default Limits         // of those that Named has not
	Zone    *time.Location // whose days count
}

func (p *Policy) of(name string) Limits {
	if l, ok := p.Named[name]; ok {
		return l
	}
	return p.Default
}

// maxTenants bounds the tenants of a table.
const maxTenants = 4096

// A Table has the tenants. NewTable makes one.
type Table struct {
	policy  atomic.Pointer[Policy]
	tenants bounded.Map[string, *Tenant]
}

// NewTable returns a table without tenants. Follow gives it its policy.
func NewTable() *Table {
	t := &Table{}
	t.policy.Store(&Policy{Zone: time.UTC})
	t.tenants.Max, t.tenants.WorthOf = maxTenants, (*Tenant).worth
	return t
}

// Follow makes the policy that of all tenants from now on. What they hold and have used
// counts on.
func (t *Table) Follow(p *Policy) {
	t.policy.Store(p)
	for _, of := range t.tenants.All() {
		of.follow(p)
	}
}

// Get returns the tenant of a name.
func (t *Table) Get(name string) *Tenant {
	name = bounded.Name(name)
	return t.tenants.GetOrAdd(name, func() *Tenant {
		of := &Tenant{name: name}
		of.follow(t.policy.Load())
		return of
	})
}

// A Tenant is one for whom calls are made.
type Tenant struct {
	name string

	mu       sync.Mutex // guards what follows
	limits   Limits
	zone     *time.Location
	requests *limit.Limiter // of RequestsPerMinute: each call takes one of its tokens; nil: unlimited
	use      *limit.Limiter // of TokensPerMinute and InFlight; nil: unlimited
	open     int            // calls that hold something, or wait for it
	prompts  int            // tokens of their prompts, which count for the day
	midnight time.Time      // when the day is over
	today    Used
}

// Used is what a tenant has used.
type Used struct {
	Calls   int64 // that took a hold
	Refused int64 // that got none
	Tokens  int64
	Cost    float64
}

func (u *Used) add(v Used) {
	u.Calls += v.Calls
	u.Refused += v.Refused
	u.Tokens += v.Tokens
	u.Cost += v.Cost
}

// worth returns what would be lost with the tenant.
func (t *Tenant) worth() bounded.Worth {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rollLocked(now)
	return bounded.Worth{Busy: t.open > 0, Known: t.today != Used{}, Used: t.today.Tokens + t.today.Calls}
}

func (t *Tenant) follow(p *Policy) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.zone != p.Zone {
		if t.zone != nil {
			t.rollLocked(now) // by the old zone: its day may be over
		}
		t.zone, t.midnight = p.Zone, midnight(now, p.Zone)
	}
	l := p.of(t.name)
	if l == t.limits {
		return
	}
	t.limits = l
	t.requests = following(t.requests, limit.Policy{TokensPerMinute: l.RequestsPerMinute, MaxWait: l.MaxWait})
	t.use = following(t.use, limit.Policy{TokensPerMinute: l.TokensPerMinute, InFlight: l.InFlight, MaxWait: l.MaxWait})
}

// following returns a limiter that has the policy, l if there is one; nil: it would limit
// nothing.
func following(l *limit.Limiter, p limit.Policy) *limit.Limiter {
	switch {
	case p.Off() && l == nil:
		return nil
	case l == nil:
		return limit.New(p)
	}
	l.Follow(p) // calls under way go on counting, also if it limits nothing now
	return l
}

// rollLocked begins a new day if it is time.
func (t *Tenant) rollLocked(now time.Time) {
	if !now.Before(t.midnight) {
		t.midnight, t.today = midnight(now, t.zone), Used{}
	}
}

// midnight returns when the day of now ends.
func midnight(now time.Time, at *time.Location) time.Time {
	y, m, d := now.In(at).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, at)
}

// The limits that an Error names. The others are those of package limit.
const (
	RequestsPerMinute = "requests per minute"
	TokensPerDay      = "tokens per day"
	CostPerDay        = "cost per day"
)

// An Error says which limit of its tenant did not admit a call.
type Error struct {
	Limit      string
	InUse, Max int // 0 for CostPerDay
	Waiting    int
	RetryAfter time.Duration
}

func (e *Error) Error() string { return "tenant: " + e.Limit }

// A Need says what a call needs.
type Need struct {
	Prompt   int // tokens, by an estimate
	Answer   int // tokens at most; 0: not known
	Priority limit.Priority
}

// Acquire takes a hold for a call, and waits for it as long as the tenant's limits say. It
// returns an *Error, or the cause of ctx's end.
func (t *Tenant) Acquire(ctx context.Context, h *Hold, n Need) (err error) {
	requests, use, err := t.enter(n)
	if err != nil {
		return err
	}
	admitted := false
	defer func() {
		if !admitted { // also if a context panics
			refused := Used{}
			if _, ok := errors.AsType[*Error](err); ok {
				refused.Refused = 1
			}
			t.leave(n, refused)
		}
	}()
	asks := limit.Use{Prompt: 1, Caller: limit.Caller{Priority: n.Priority}}
	var request limit.Lease
	began := time.Now()
	if requests != nil {
		if err := requests.Acquire(ctx, &request, asks); err != nil {
			return refusal(err, RequestsPerMinute)
		}
		defer func() {
			if !admitted {
				request.Cancel()
			}
		}()
	}
	if use != nil {
		asks.Prompt, asks.Answer, asks.Waited = n.Prompt, n.Answer, time.Since(began)
		if err := use.Acquire(ctx, &h.lease, asks); err != nil {
			return refusal(err, limit.TokensPerMinute)
		}
		h.leased = true
	}
	admitted = true
	if requests != nil {
		request.End(limit.Result{Answered: true})
	}
	h.tenant, h.need, h.joined = t, n, 1
	return nil
}

// Force is Acquire for what is a part of a call that was admitted before: it is never refused,
// and is no request of its own.
func (t *Tenant) Force(h *Hold, n Need) {
	t.mu.Lock()
	use := t.use
	t.open++
	t.prompts += n.Prompt
	t.mu.Unlock()
	if use != nil {
		use.Take(&h.lease, limit.Use{Prompt: n.Prompt, Answer: n.Answer})
		h.leased = true
	}
	h.tenant, h.need, h.joined, h.forced = t, n, 1, true
}

// enter counts a call that asks for a hold, and returns what it has to ask. It refuses the
// call if the day's limits are used up.
func (t *Tenant) enter(n Need) (requests, use *limit.Limiter, err error) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rollLocked(now)
	l := &t.limits
	switch used := t.today.Tokens + int64(t.prompts); {
	case l.TokensPerDay > 0 && used+int64(n.Prompt) > int64(l.TokensPerDay):
		err = &Error{Limit: TokensPerDay, InUse: int(used), Max: l.TokensPerDay, RetryAfter: t.midnight.Sub(now)}
	case l.CostPerDay > 0 && t.today.Cost >= l.CostPerDay:
		err = &Error{Limit: CostPerDay, RetryAfter: t.midnight.Sub(now)}
	}
	if err != nil {
		t.today.Refused++
		return nil, nil, err
	}
	t.open++
	t.prompts += n.Prompt
	return t.requests, t.use, nil
}

// leave ends what enter or Force began.
func (t *Tenant) leave(n Need, used Used) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rollLocked(now)
	t.open--
	t.prompts -= n.Prompt
	t.today.add(used)
}

// refusal returns the tenant's error for a limiter's, in which its tokens have a name.
func refusal(err error, tokens string) error {
	full, ok := errors.AsType[*limit.Error](err)
	if !ok {
		return err
	}
	e := &Error{Limit: full.Limit, InUse: full.InUse, Max: full.Max, Waiting: full.Waiting, RetryAfter: full.RetryAfter}
	if e.Limit == limit.TokensPerMinute {
		e.Limit = tokens
	}
	return e
}

// A Hold is what one call holds of its tenant's limits. Acquire or Force fills the zero Hold.
type Hold struct {
	tenant *Tenant
	need   Need
	leased bool // lease is to be ended
	forced bool // it is a part of a call that has its own

	mu       sync.Mutex // guards what follows
	lease    limit.Lease
	joined   int // who has to Leave yet
	used     Used
	served   bool
	answered bool
}

// Join notes that an attempt belongs to the call.
func (h *Hold) Join() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.joined++
}

// A Result says what an attempt used.
type Result struct {
	Tokens   int
	Cost     float64
	Answered bool // there was an answer, complete or not
	Served   bool // and it was complete
}

// Leave notes the end of an attempt, or of whoever made the hold. The last one returns it.
func (h *Hold) Leave(r Result) {
	h.mu.Lock()
	h.joined--
	h.used.Tokens += int64(max(r.Tokens, 0))
	h.used.Cost += max(r.Cost, 0)
	h.served, h.answered = h.served || r.Served, h.answered || r.Answered
	last, used := h.joined == 0, h.used
	h.mu.Unlock()
	if !last {
		return
	}
	if h.leased {
		h.lease.End(limit.Result{Served: h.served, Answered: h.answered, Tokens: int(min(used.Tokens, 1<<31-1))})
	}
	if !h.forced {
		used.Calls = 1
	}
	h.tenant.leave(h.need, used)
}

// A Status is the state of a tenant.
type Status struct {
	Name          string
	Open, Waiting int // calls
	Today         Used
}

// Status returns the tenants that have used most today, most first.
func (t *Table) Status(most int) (top []Status) {
	for _, of := range t.tenants.All() {
		top = append(top, of.status())
	}
	slices.SortFunc(top, func(a, b Status) int {
		return cmp.Or(cmp.Compare(b.Today.Tokens, a.Today.Tokens), cmp.Compare(b.Today.Calls+b.Today.Refused, a.Today.Calls+a.Today.Refused), strings.Compare(a.Name, b.Name))
	})
	return slices.Clone(top[:min(most, len(top))])
}

func (t *Tenant) status() Status {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rollLocked(now)
	s := Status{Name: t.name, Open: t.open, Today: t.today}
	for _, l := range [...]*limit.Limiter{t.requests, t.use} {
		if l != nil {
			_, waiting := l.InUse()
			s.Waiting += waiting
		}
	}
	s.Open -= s.Waiting
	return s
}
