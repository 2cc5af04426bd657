package tenant

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // a machine may have no time zones

	"github.com/breakwater-go/breakwater/internal/limit"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// of returns a table whose tenants have these limits.
func of(l Limits, named map[string]Limits) *Table {
	all := NewTable()
	all.Follow(&Policy{Default: l, Named: named, Zone: time.UTC})
	return all
}

// acquire takes a hold that is to be had at once.
func acquire(t *testing.T, of *Tenant, n Need) *Hold {
	t.Helper()
	h := new(Hold)
	if err := of.Acquire(t.Context(), h, n); err != nil {
		t.Fatalf("Acquire = %+v", err)
	}
	return h
}

// refused returns the error of a hold that is not to be had.
func refused(t *testing.T, of *Tenant, n Need) Error {
	t.Helper()
	err := of.Acquire(t.Context(), new(Hold), n)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Acquire = %v, want a refusal", err)
	}
	return *e
}

// Each limit is refused by its name, with how full it is and when it is free.
func TestTenant_Limits(t *testing.T) {
	bubble(t, "requests per minute", func(t *testing.T) {
		a := of(Limits{RequestsPerMinute: 10}, nil).Get("a")
		for range 5 {
			acquire(t, a, Need{Prompt: 1000}).Leave(Result{Tokens: 5000, Answered: true})
		}
		if e := refused(t, a, Need{}); e != (Error{Limit: RequestsPerMinute, InUse: 5, Max: 10, RetryAfter: 6 * time.Second}) {
			t.Errorf("the sixth: %+v", e)
		}
		began := 5 // and no minute has more than ten
		for minute := range 3 {
			for range 60 {
				time.Sleep(time.Second)
				h := new(Hold)
				if a.Acquire(t.Context(), h, Need{}) == nil {
					h.Leave(Result{})
					began++
				}
			}
			if most := 10 * (minute + 1); began > most || began < most-2 {
				t.Errorf("%d began within %d minutes, want about %d", began, minute+1, most)
			}
		}
	})
	bubble(t, "in flight", func(t *testing.T) {
		a := of(Limits{InFlight: 2}, nil).Get("a")
		first, second := acquire(t, a, Need{}), acquire(t, a, Need{})
		if e := refused(t, a, Need{}); e.Limit != limit.InFlight || e.InUse != 2 || e.Max != 2 {
			t.Errorf("the third: %+v", e)
		}
		first.Join() // a hedge
		first.Leave(Result{})
		refused(t, a, Need{})
		first.Leave(Result{})
		acquire(t, a, Need{}).Leave(Result{})
		second.Leave(Result{})
	})
	bubble(t, "tokens per minute", func(t *testing.T) {
		a := of(Limits{TokensPerMinute: 1000}, nil).Get("a")
		acquire(t, a, Need{Prompt: 100}).Leave(Result{Tokens: 500, Answered: true})
		if e := refused(t, a, Need{Prompt: 100}); e.Limit != limit.TokensPerMinute || e.InUse != 500 || e.Max != 1000 || e.RetryAfter <= 0 {
			t.Errorf("%+v", e)
		}
		acquire(t, of(Limits{TokensPerMinute: 1000}, nil).Get("a"), Need{Prompt: 400}).Leave(Result{}) // nothing was sent
	})
	bubble(t, "tokens per day", func(t *testing.T) {
		a := of(Limits{TokensPerDay: 1000}, nil).Get("a")
		time.Sleep(23 * time.Hour)
		h := acquire(t, a, Need{Prompt: 600})
		if e := refused(t, a, Need{Prompt: 600}); e != (Error{Limit: TokensPerDay, InUse: 600, Max: 1000, RetryAfter: time.Hour}) {
			t.Errorf("beside the first: %+v", e)
		}
		h.Leave(Result{Tokens: 1200, Answered: true})
		refused(t, a, Need{Prompt: 1})
		time.Sleep(time.Hour - 1)
		refused(t, a, Need{Prompt: 1})
		time.Sleep(time.Nanosecond)
		acquire(t, a, Need{Prompt: 1}).Leave(Result{})
	})
	bubble(t, "cost per day", func(t *testing.T) {
		a := of(Limits{CostPerDay: 0.5}, nil).Get("a")
		for range 5 {
			acquire(t, a, Need{}).Leave(Result{Cost: 0.1000001, Answered: true})
		}
		if e := refused(t, a, Need{}); e != (Error{Limit: CostPerDay, RetryAfter: 24 * time.Hour}) {
			t.Errorf("%+v", e)
		}
	})
}

// A call may wait for limits of a minute and of what is open, and for none of a day.
func TestTenant_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := of(Limits{InFlight: 1, TokensPerDay: 10, MaxWait: time.Minute}, nil).Get("a")
		first, start := acquire(t, a, Need{}), time.Now()
		time.AfterFunc(10*time.Second, func() { first.Leave(Result{Tokens: 10, Answered: true}) })
		second := acquire(t, a, Need{})
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it waited %v, want until the first has ended", took)
		}
		refused(t, a, Need{Prompt: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.Acquire(ctx, new(Hold), Need{}); !errors.Is(err, context.DeadlineExceeded) && err == nil {
			t.Errorf("Acquire = %v, want the caller's end", err)
		}
		second.Leave(Result{})
		if s := a.status(); s.Open != 0 || s.Waiting != 0 || s.Today.Calls != 2 {
			t.Errorf("%+v, want nothing left", s)
		}
	})
}

// Tenants have their own counts, and those with a name in the policy their own limits.
func TestTenant_EachHasItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := of(Limits{InFlight: 1}, map[string]Limits{"large": {InFlight: 3}, "": {}})
		for name, want := range map[string]int{"a": 1, "b": 1, "large": 3, "": 10, strings.Repeat("x", 1000): 1, strings.Repeat("x", 1001): 1} {
			var held []*Hold
			for range want {
				held = append(held, acquire(t, all.Get(name), Need{}))
			}
			if want < 10 {
				refused(t, all.Get(name), Need{})
			}
			for _, h := range held {
				h.Leave(Result{})
			}
		}
	})
}

// Another policy takes effect at once, and what was used counts on.
func TestTenant_PolicyChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := of(Limits{InFlight: 2, TokensPerDay: 1000}, nil)
		a := all.Get("a")
		h := acquire(t, a, Need{})
		acquire(t, a, Need{}).Leave(Result{Tokens: 600, Answered: true})
		all.Follow(&Policy{Default: Limits{InFlight: 1, TokensPerDay: 500}, Zone: time.UTC})
		if e := refused(t, all.Get("a"), Need{Prompt: 1}); e.Limit != TokensPerDay || e.InUse != 600 {
			t.Errorf("%+v", e)
		}
		all.Follow(&Policy{Default: Limits{InFlight: 1}, Zone: time.UTC})
		if e := refused(t, a, Need{}); e.Limit != limit.InFlight || e.InUse != 1 {
			t.Errorf("%+v", e)
		}
		all.Follow(&Policy{Zone: time.UTC})
		acquire(t, a, Need{}).Leave(Result{})
		h.Leave(Result{})
		all.Follow(&Policy{Default: Limits{InFlight: 1}, Zone: time.UTC})
		acquire(t, a, Need{}).Leave(Result{})
		if s := a.status(); s.Open != 0 || s.Today.Tokens != 600 {
			t.Errorf("%+v", s)
		}
	})
}

// A policy that comes when the day is over already, as the first event of the new one, gives
// no tenant what it used the day before.
func TestTenant_PolicyChangesOvernight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		policy := func() *Policy { // each has another Location, as time.LoadLocation returns
			return &Policy{Default: Limits{TokensPerDay: 100}, Zone: time.FixedZone("there", 3600)}
		}
		all := NewTable()
		all.Follow(policy())
		a := all.Get("a")
		acquire(t, a, Need{}).Leave(Result{Tokens: 100, Answered: true})
		refused(t, a, Need{Prompt: 1})
		time.Sleep(24 * time.Hour)
		all.Follow(policy())
		acquire(t, a, Need{Prompt: 1}).Leave(Result{})
	})
}

// A day begins at midnight of the zone, also where that is 23 or 25 hours after the last one,
// and when a zone takes the place of another.
func TestTenant_Days(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	shanghai, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		at   *time.Location
		from string
		want time.Duration
	}{
		{time.UTC, "2026-11-28T00:00:00Z", 24 * time.Hour},
		{time.UTC, "2026-11-28T23:59:59Z", time.Second},
		{shanghai, "2026-11-28T15:00:00Z", time.Hour},
		{berlin, "2026-03-29T00:00:00+01:00", 23 * time.Hour},
		{berlin, "2026-10-25T00:00:00+02:00", 25 * time.Hour},
	} {
		from, err := time.Parse(time.RFC3339, tt.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := midnight(from, tt.at).Sub(from); got != tt.want {
			t.Errorf("%s in %v: the day lasts %v, want %v", tt.from, tt.at, got, tt.want)
		}
	}
}

// Names are hostile: however many there are, the table is bounded, and does not forget who has
// used most, or what is open.
func TestTable_NamesMadeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := of(Limits{TokensPerDay: 1000, InFlight: 1}, nil)
		acquire(t, all.Get("greedy"), Need{}).Leave(Result{Tokens: 1000, Answered: true})
		open := acquire(t, all.Get("open"), Need{})
		for i := range 100_000 {
			acquire(t, all.Get(fmt.Sprint("made up ", i)), Need{Prompt: 10}).Leave(Result{Tokens: 20, Answered: true})
		}
		refused(t, all.Get("greedy"), Need{Prompt: 1})
		refused(t, all.Get("open"), Need{})
		open.Leave(Result{})
		if n := len(all.tenants.All()); n > maxTenants {
			t.Errorf("%d tenants, want at most %d", n, maxTenants)
		}
		if top := all.Status(3); len(top) != 3 || top[0].Name != "greedy" {
			t.Errorf("the top: %+v", top)
		}
	})
}

// Whatever calls do, all is given back, and counted once.
func TestTenant_Random(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			all := of(Limits{RequestsPerMinute: 100, TokensPerMinute: 5000, InFlight: 3, TokensPerDay: 100_000, MaxWait: 5 * time.Second}, nil)
			var calls sync.WaitGroup
			var mu sync.Mutex
			tokens, admitted, denied := int64(0), int64(0), int64(0)
			for range 200 {
				name, prompt, used, extra := fmt.Sprint(r.IntN(3)), r.IntN(300), r.IntN(500), r.IntN(3)
				took, leaves := time.Duration(r.IntN(4000))*time.Millisecond, time.Duration(r.IntN(20000))*time.Millisecond
				calls.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), leaves)
					defer cancel()
					of, h := all.Get(name), new(Hold)
					err := of.Acquire(ctx, h, Need{Prompt: prompt, Priority: limit.Priority(extra - 1)})
					mu.Lock()
					if err == nil {
						admitted++
						tokens += int64((extra + 1) * used)
					} else if _, ok := errors.AsType[*Error](err); ok {
						denied++
					}
					mu.Unlock()
					if err != nil {
						return
					}
					for range extra {
						h.Join()
						calls.Go(func() { time.Sleep(took); h.Leave(Result{Tokens: used, Answered: true}) })
					}
					h.Leave(Result{Tokens: used, Answered: true})
				})
				time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
			}
			calls.Wait()
			sum := Used{}
			for _, s := range all.Status(10) {
				sum.add(s.Today)
				if s.Open != 0 || s.Waiting != 0 {
					t.Errorf("seed %d: %+v left", seed, s)
				}
			}
			if sum.Calls != admitted || sum.Tokens != tokens || sum.Refused != denied {
				t.Errorf("seed %d: counted %+v, want %d calls, %d refused, %d tokens", seed, sum, admitted, denied, tokens)
			}
			for name := range 3 {
				of := all.Get(fmt.Sprint(name))
				if of.prompts != 0 || of.open != 0 {
					t.Errorf("seed %d: %d prompts and %d calls left", seed, of.prompts, of.open)
				}
				if open, waiting := of.use.InUse(); open+waiting != 0 {
					t.Errorf("seed %d: %d and %d left in the limiter", seed, open, waiting)
				}
			}
		})
	}
}
