package limit

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test in virtual time.
func bubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

// of returns the limiter of a policy.
func of(p Policy) *Limiter { return NewTable().Limits("a", "", nil, p).Get("m", [32]byte{}) }

// acquire takes a lease that is to be had at once.
func acquire(t *testing.T, l *Limiter) *Lease {
	t.Helper()
	lease := new(Lease)
	if err := l.Acquire(t.Context(), lease, Use{Prompt: 1}); err != nil {
		t.Fatalf("Acquire = %v", err)
	}
	return lease
}

// Callers who wait for a permit get it in order of arrival, as soon as it comes back.
func TestLimit_PermitsGoInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := NewTable().Limits("a", "", nil, Policy{InFlight: 1, MaxWait: time.Minute})
		l, start := limits.Get("m", [32]byte{}), time.Now()
		var order []string
		var callers sync.WaitGroup
		first := acquire(t, l)
		for n := range 4 {
			callers.Go(func() {
				time.Sleep(time.Duration(n) * time.Second)
				lease := acquire(t, l)
				order = append(order, fmt.Sprintf("%d@%v", n, time.Since(start)))
				time.Sleep(10 * time.Second)
				lease.End(Result{})
			})
		}
		time.Sleep(10 * time.Second)
		if s := limits.Status(); len(s) != 1 || s[0] != (Status{Model: "m", InFlight: 1, Waiting: 4, MaxInFlight: 1}) {
			t.Errorf("Status says %+v, want 1 in flight and 4 waiting", s)
		}
		first.End(Result{})
		callers.Wait()
		if got := strings.Join(order, " "); got != "0@10s 1@20s 2@30s 3@40s" {
			t.Errorf("they went on %s", got)
		}
	})
}

// A wait that cannot end before the caller's deadline is not begun.
func TestLimit_DoesNotWaitInVain(t *testing.T) {
	for _, tt := range []struct {
		deadline time.Duration
		waits    time.Duration
		want     error
	}{
		{999 * time.Millisecond, 0, ErrLimited},
		{time.Second, 0, ErrLimited}, // when the wait would end
		{1001 * time.Millisecond, time.Second, nil},
	} {
		bubble(t, tt.deadline.String(), func(t *testing.T) {
			l := of(Policy{PerSecond: 1, Burst: 1, MaxWait: 5 * time.Second})
			acquire(t, l)
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
			defer cancel()
			if err := l.Acquire(ctx, new(Lease), Use{Prompt: 1}); !errors.Is(err, tt.want) || time.Since(start) != tt.waits {
				t.Errorf("Acquire = %v after %v, want %v after %v", err, time.Since(start), tt.want, tt.waits)
			}
		})
	}
}

// The caller's end ends every wait with its cause, and takes nothing along.
func TestLimit_CallersEndEndsTheWait(t *testing.T) {
	why := errors.New("why")
	for name, p := range map[string]Policy{
		"permit":  {InFlight: 1, MaxWait: 5 * time.Second},
		"attempt": {PerSecond: 0.25, Burst: 1, MaxWait: 5 * time.Second},
		"tokens":  {TokensPerMinute: 29, MaxWait: 5 * time.Second}, // 15 at once
	} {
		bubble(t, name, func(t *testing.T) {
			l, held := of(p), new(Lease)
			if err := l.Acquire(t.Context(), held, Use{Prompt: 15}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(2*time.Second, func() { cancel(why) })
			start := time.Now()
			if err := l.Acquire(ctx, new(Lease), Use{Prompt: 1}); !errors.Is(err, why) || time.Since(start) != 2*time.Second {
				t.Errorf("Acquire = %v after %v, want %v after 2s", err, time.Since(start), why)
			}
			held.End(Result{})
			time.Sleep(time.Hour)
			if !l.Free(time.Now()) {
				t.Error("who has left still holds something")
			}
			acquire(t, l).End(Result{})
		})
	}
	bubble(t, "a deadline while a permit may still come", func(t *testing.T) {
		l := of(Policy{InFlight: 1, MaxWait: 5 * time.Second})
		acquire(t, l)
		for range 20 { // timers that end at one moment come in any order
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			start := time.Now()
			if err := l.Acquire(ctx, new(Lease), Use{Prompt: 1}); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 2*time.Second {
				t.Fatalf("Acquire = %v after %v, want the deadline after 2s", err, time.Since(start))
			}
			cancel()
		}
	})
}

// begins returns when those of so many callers who came at once got their leases.
func begins(t *testing.T, l *Limiter, callers int) string {
	start := time.Now()
	var mu sync.Mutex
	var times []time.Duration
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			if err := l.Acquire(t.Context(), new(Lease), Use{Prompt: 1}); err != nil {
				if !errors.Is(err, ErrLimited) || time.Since(start) != 0 {
					t.Errorf("Acquire = %v after %v, want ErrLimited at once", err, time.Since(start))
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Since(start))
		})
	}
	all.Wait()
	slices.Sort(times)
	return fmt.Sprint(times)
}

func TestLimit_PerSecondAndBurst(t *testing.T) {
	for _, tt := range []struct {
		name    string
		policy  Policy
		callers int
		want    string
	}{
		{"burst, then the rate", Policy{PerSecond: 2, Burst: 3, MaxWait: 5 * time.Second}, 6, "[0s 0s 0s 500ms 1s 1.5s]"},
		{"a rate that is no whole number", Policy{PerSecond: 2.5, Burst: 3, MaxWait: 5 * time.Second}, 4, "[0s 0s 0s 400ms]"},
		{"a rate below one", Policy{PerSecond: 0.5, Burst: 1, MaxWait: 5 * time.Second}, 3, "[0s 2s 4s]"},
		{"nobody waits beyond MaxWait", Policy{PerSecond: 0.5, Burst: 1, MaxWait: 3 * time.Second}, 5, "[0s 2s]"},
		{"a turn at MaxWait is in time", Policy{PerSecond: 1, Burst: 1, MaxWait: 5 * time.Second}, 10, "[0s 1s 2s 3s 4s 5s]"},
		{"nobody waits", Policy{PerSecond: 1, Burst: 1}, 5, "[0s]"},
		{"tokens: half of the minute's, then the pace", Policy{TokensPerMinute: 120, MaxWait: 2 * time.Second}, 70, "[" + strings.Repeat("0s ", 60) + "500ms 1s 1.5s 2s]"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			if got := begins(t, of(tt.policy), tt.callers); got != tt.want {
				t.Errorf("attempts at %s, want %s", got, tt.want)
			}
		})
	}
}

// Who leaves the queue for a token gives back its place and no more: at any
// moment no more have been let through than Burst and the rate allow.
func TestLimit_LeavingGivesBackNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, start := of(Policy{PerSecond: 1, Burst: 1, MaxWait: 5 * time.Second}), time.Now()
		var callers sync.WaitGroup
		var mu sync.Mutex
		var got []time.Duration
		for _, tt := range []struct{ at, deadline, leaves time.Duration }{
			{0, time.Minute, time.Minute},                                 // takes the burst
			{time.Millisecond, time.Minute, 899 * time.Millisecond},       // would go on at 1s, leaves at 0.9s
			{800 * time.Millisecond, 100 * time.Millisecond, time.Minute}, // refused: its turn would be at 2s
			{901 * time.Millisecond, 3 * time.Second, time.Minute},        // has the turn of the one who left
		} {
			callers.Go(func() {
				time.Sleep(tt.at)
				ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
				defer cancel()
				time.AfterFunc(tt.leaves, cancel)
				if l.Acquire(ctx, new(Lease), Use{Prompt: 1}) == nil {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, time.Since(start).Round(time.Microsecond)) // nanoseconds are lost where a wait is computed
				}
			})
		}
		callers.Wait()
		if fmt.Sprint(got) != "[0s 1s]" {
			t.Errorf("attempts at %v, want [0s 1s]", got)
		}
	})
}

// The same under random arrivals and departures.
func TestLimit_RateHoldsUnderRandomLeavers(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			const perSecond, burst = 2, 3
			random := rand.New(rand.NewPCG(seed, 1))
			l, start := of(Policy{PerSecond: perSecond, Burst: burst, MaxWait: 8 * time.Second}), time.Now()
			var mu sync.Mutex
			var times []time.Duration
			var callers sync.WaitGroup
			for range 300 {
				at := time.Duration(random.Int64N(int64(60 * time.Second)))
				stays := time.Duration(random.Int64N(int64(6 * time.Second)))
				leaves := random.IntN(5) == 0
				callers.Go(func() {
					time.Sleep(at)
					ctx, cancel := context.WithTimeout(t.Context(), stays)
					if leaves { // without having said so
						ctx, cancel = context.WithCancel(t.Context())
						time.AfterFunc(stays, cancel)
					}
					defer cancel()
					if l.Acquire(ctx, new(Lease), Use{Prompt: 1}) == nil {
						mu.Lock()
						defer mu.Unlock()
						times = append(times, time.Since(start))
					}
				})
			}
			callers.Wait()
			slices.Sort(times)
			for i := range times {
				for j := i + burst; j < len(times); j++ {
					if allowed := burst + perSecond*(times[j]-times[i]+time.Microsecond).Seconds(); float64(j-i+1) > allowed {
						t.Fatalf("seed %d: %d attempts from %v to %v, want at most %.2f", seed, j-i+1, times[i], times[j], allowed)
					}
				}
			}
			if len(times) < 20 {
				t.Errorf("seed %d: %d attempts: little was tested", seed, len(times))
			}
		})
	}
}

// An attempt that leaves while it waits for tokens never was sent: the attempt
// it had taken out of the other bucket comes back, too, and so does the permit.
func TestLimit_LeavingGivesBackAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{PerSecond: 0.01, Burst: 2, TokensPerMinute: 600, InFlight: 1, MaxWait: time.Minute})
		first := new(Lease)
		l.Acquire(t.Context(), first, Use{Prompt: 600})
		first.End(Result{Answered: true})
		for _, tt := range []struct {
			name             string
			deadline, leaves time.Duration
		}{
			{"it waits 20s, and leaves", 30 * time.Second, 2 * time.Second},
			{"it would have to wait for 18s", 17 * time.Second, time.Hour},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), tt.deadline)
			time.AfterFunc(tt.leaves, cancel)
			before := l.tokens.limiter.TokensAt(time.Now())
			start := time.Now()
			if err := l.Acquire(ctx, new(Lease), Use{Prompt: 200}); err == nil {
				t.Fatalf("%s: it has %v tokens", tt.name, before)
			}
			cancel()
			if n := l.attempts.limiter.TokensAt(time.Now()); n < 1 || n > 1.2 {
				t.Errorf("%s: %.2f attempts are free, want the one that was not made", tt.name, n)
			}
			if got, want := l.tokens.limiter.TokensAt(time.Now()), before+10*time.Since(start).Seconds(); got != want {
				t.Errorf("%s: %v tokens are free, want %v", tt.name, got, want)
			}
			if used, waiting := l.InUse(); used+waiting != 0 {
				t.Errorf("%s: %d permits are out, %d wait", tt.name, used, waiting)
			}
		}
	})
}

// Tokens are reserved by estimate, and settled with what was used.
func TestLimit_TokensAreSettled(t *testing.T) {
	const perMinute, estimate = 6000, 509
	for _, tt := range []struct {
		name   string
		result Result
		used   int // of the minute's
	}{
		{"fewer than reserved", Result{Served: true, Answered: true, Tokens: 100}, 100},
		{"as reserved", Result{Served: true, Answered: true, Tokens: estimate}, estimate},
		{"more than reserved", Result{Served: true, Answered: true, Tokens: 2000}, 2000},
		{"more than a minute has", Result{Served: true, Answered: true, Tokens: 15_000}, 15_000},
		{"absurdly many", Result{Served: true, Answered: true, Tokens: math.MaxInt}, 10*perMinute + estimate},
		{"none reported", Result{Served: true, Answered: true}, estimate},
		{"fewer than none", Result{Answered: true, Tokens: -5}, estimate},
		{"no answer", Result{}, 0},
		{"no answer that took some", Result{Tokens: 7}, 7},
		{"refused", Result{Refused: true}, 0},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l, lease := of(Policy{TokensPerMinute: perMinute}), new(Lease)
			if err := l.Acquire(t.Context(), lease, Use{Prompt: estimate}); err != nil {
				t.Fatal(err)
			}
			if reserved := perMinute/2 - l.tokens.limiter.TokensAt(time.Now()); reserved != estimate {
				t.Errorf("%v tokens were reserved, want the estimate %d", reserved, estimate)
			}
			lease.End(tt.result)
			if used := perMinute/2 - l.tokens.limiter.TokensAt(time.Now()); used != float64(tt.used) {
				t.Errorf("%v tokens are taken out of the minute's, want %d", used, tt.used)
			}
		})
	}
}

// No size of a limit overflows, nor does what hosts say they have used of it.
func TestLimit_LargestLimits(t *testing.T) {
	for _, perMinute := range []int{1, 1000, math.MaxInt32, math.MaxInt} {
		for _, used := range []int{9999, math.MaxInt32, math.MaxInt} {
			synctest.Test(t, func(t *testing.T) {
				l, lease := of(Policy{TokensPerMinute: perMinute, PerSecond: 1e300, Burst: math.MaxInt, InFlight: math.MaxInt, MaxWait: math.MaxInt64}), new(Lease)
				if err := l.Acquire(t.Context(), lease, Use{Prompt: 9}); err != nil {
					t.Fatalf("%d tokens a minute: %v", perMinute, err)
				}
				lease.End(Result{Served: true, Answered: true, Tokens: used})
				reserved := float64(min(9, perMinute))
				want := reserved + min(float64(used)-reserved, 10*float64(perMinute))
				if got := float64(l.tokens.burst) - l.tokens.limiter.TokensAt(time.Now()); math.Abs(got-want) > float64(perMinute)*1e-15 {
					t.Errorf("of %d tokens a minute %v are used, want %v", perMinute, got, want)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{PerSecond: 1e-12, Burst: 1, MaxWait: time.Minute})
		acquire(t, l)
		if got := l.Expected(time.Now(), Caller{}); got < time.Hour || l.Admits(time.Now(), time.Minute, Caller{}) {
			t.Errorf("of an attempt in 30,000 years the next is expected in %v", got)
		}
	})
}

// An attempt larger than a minute's tokens waits for an empty minute, and does not
// wait for ever.
func TestLimit_TokensLargerThanAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{TokensPerMinute: 60, MaxWait: time.Minute})
		for i, want := range []time.Duration{0, time.Minute + slot} { // the first one used 3 of 60
			lease, start := new(Lease), time.Now()
			if err := l.Acquire(t.Context(), lease, Use{Prompt: 100_000}); err != nil || time.Since(start) != want {
				t.Errorf("attempt %d: %v after %v, want a lease after %v", i+1, err, time.Since(start), want)
			}
			lease.End(Result{Served: true, Answered: true, Tokens: 3})
		}
	})
}

// What can be asked of a limiter agrees with what Acquire does.
func TestLimit_Questions(t *testing.T) {
	for _, tt := range []struct {
		name     string
		policy   Policy
		free     bool // while one lease is held
		expected time.Duration
		admits   bool
	}{
		{"permit", Policy{InFlight: 1, MaxWait: 5 * time.Second}, false, 0, true}, // how long is not known yet
		{"attempt", Policy{PerSecond: 0.25, Burst: 1, MaxWait: 5 * time.Second}, false, 4 * time.Second, true},
		{"tokens", Policy{TokensPerMinute: 1, MaxWait: 5 * time.Second}, false, time.Minute + slot, false},
		{"both buckets", Policy{PerSecond: 0.25, Burst: 1, TokensPerMinute: 30, MaxWait: 5 * time.Second}, false, 4 * time.Second, true},
		{"no wait", Policy{PerSecond: 0.25, Burst: 1}, false, 4 * time.Second, false},
		{"enough", Policy{InFlight: 2, PerSecond: 2, Burst: 2, TokensPerMinute: 4, MaxWait: 5 * time.Second}, true, 0, true},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l, now := of(tt.policy), time.Now()
			if !l.Free(now) || l.Expected(now, Caller{}) != 0 {
				t.Errorf("before: free %v, in %v", l.Free(now), l.Expected(now, Caller{}))
			}
			acquire(t, l)
			if l.Free(now) != tt.free || l.Expected(now, Caller{}) != tt.expected || l.Admits(now, time.Minute, Caller{}) != tt.admits || l.Adapts() {
				t.Errorf("free %v, in %v, admits %v, adapts %v; want %v, %v, %v, false", l.Free(now), l.Expected(now, Caller{}), l.Admits(now, time.Minute, Caller{}), l.Adapts(), tt.free, tt.expected, tt.admits)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{InFlight: 1, MaxWait: 5 * time.Second})
		lease := acquire(t, l)
		time.Sleep(20 * time.Second)
		lease.End(Result{Served: true})
		acquire(t, l)
		if wait := l.Expected(time.Now(), Caller{}); wait != 10*time.Second || l.Admits(time.Now(), time.Minute, Caller{}) {
			t.Errorf("a permit that is held for 20s is expected in %v, want 10s, which is longer than MaxWait", wait)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{InFlight: 1, MaxWait: 5 * time.Second})
		lease := acquire(t, l)
		time.Sleep(time.Second)
		lease.End(Result{Served: true})
		acquire(t, l)
		time.Sleep(40 * time.Second)
		if wait := l.Expected(time.Now(), Caller{}); wait != 40*time.Second {
			t.Errorf("a permit that is held for 40s, and usually for one, is expected in %v, want 40s", wait)
		}
	})
	var none *Limiter
	if now := time.Now(); !none.Free(now) || none.Expected(now, Caller{}) != 0 || !none.Admits(now, 0, Caller{}) || none.Adapts() {
		t.Error("where there is no limit, something is limited")
	}
}

// The limiter of a model is its account's; the policy is the one for its name,
// else the one for all names, else the other one.
func TestLimit_WhoSharesWhat(t *testing.T) {
	table := NewTable()
	policies := map[string]Policy{"own": {InFlight: 1}, "free": {MaxWait: time.Second}, "": {InFlight: 2}}
	a, again := table.Limits("a", "", policies, Policy{InFlight: 3}), table.Limits("a", "", policies, Policy{InFlight: 3})
	for model, want := range map[string]int{"own": 1, "any": 2, "free": 0} {
		l := a.Get(model, [32]byte{})
		if l != again.Get(model, [32]byte{}) || l != a.Get(model, [32]byte{}) {
			t.Errorf("%q of one account has two limiters", model)
		}
		if n := permitsOf(l); n != want {
			t.Errorf("%q may have %d attempts under way, want %d", model, n, want)
		}
	}
	if n := permitsOf(table.Limits("b", "", map[string]Policy{"own": {InFlight: 1}}, Policy{InFlight: 3}).Get("any", [32]byte{})); n != 3 {
		t.Errorf("a model without a policy of its own may have %d attempts under way, want 3", n)
	}
	if a.Get("own", [32]byte{}) == a.Get("any", [32]byte{}) || a.Get("any", [32]byte{}) == table.Limits("b", "", policies, Policy{}).Get("any", [32]byte{}) {
		t.Error("models or accounts share a limiter")
	}
	if l := table.Limits("c", "", nil, Policy{Burst: 1, MaxWait: time.Second}).Get("m", [32]byte{}); l != nil {
		t.Errorf("a policy without limits has the limiter %+v", l)
	}
	if got := fmt.Sprint(a.Status()); got != "[{any 0 0 2 0} {own 0 0 1 0}]" {
		t.Errorf("Status = %s, want that of the account's two models", got)
	}
}

// permitsOf is the number of permits that are to be had of l at once; 0: no limit.
func permitsOf(l *Limiter) int {
	if l == nil {
		return 0
	}
	var leases []*Lease
	for l.Free(time.Now()) {
		lease := new(Lease)
		if l.Acquire(context.Background(), lease, Use{Prompt: 1}) != nil {
			break
		}
		leases = append(leases, lease)
	}
	for _, lease := range leases {
		lease.End(Result{})
	}
	return len(leases)
}

// A limit holds however many names are made up meanwhile: a permit that is out
// is out, and a bucket that is empty is not full again. Their number is bounded.
func TestLimit_NamesMadeUp(t *testing.T) {
	others := Policy{InFlight: 10, PerSecond: 100, Burst: 100, TokensPerMinute: 1e6}
	for name, p := range map[string]Policy{
		"in flight":  {InFlight: 1},
		"per second": {PerSecond: 0.001, Burst: 1},
		"tokens":     {TokensPerMinute: 1},
		"adaptive":   {InFlight: 2, Adaptive: true},
	} {
		bubble(t, name, func(t *testing.T) {
			table := NewTable()
			limits := table.Limits("a", "", map[string]Policy{"m": p, "": others}, Policy{})
			lease := acquire(t, limits.Get("m", [32]byte{}))
			if p.Adaptive {
				lease.End(Result{Refused: true, Begun: time.Now()})
				lease = acquire(t, limits.Get("m", [32]byte{}))
				lease.End(Result{})
				lease = acquire(t, limits.Get("m", [32]byte{}))
			}
			for n := range maxLimiters + maxLimiters/2 {
				acquire(t, limits.Get(fmt.Sprint("garbage-", n), [32]byte{})).End(Result{})
				time.Sleep(time.Millisecond)
			}
			if err := limits.Get("m", [32]byte{}).Acquire(t.Context(), new(Lease), Use{Prompt: 1}); !errors.Is(err, ErrLimited) {
				t.Errorf("a second attempt got %v, want the limit's refusal", err)
			}
			if n := len(table.limiters.All()); n > maxLimiters {
				t.Errorf("%d limiters, want at most %d", n, maxLimiters)
			}
			lease.End(Result{})
		})
	}
}

// An adaptive limit follows what the host refuses and serves: attempts are begun
// until no more may be, one more is refused by the host, and then some are
// served, one after the other, while as many are open as may be.
func TestLimit_Adaptive(t *testing.T) {
	refused := &Result{Refused: true}
	named := func(n int) *Result { return &Result{Refused: true, Stated: n} }
	for _, tt := range []struct {
		name     string
		inFlight int
		open     int
		refused  *Result // nil: the host does not refuse
		rest     time.Duration
		serves   int
		want     int // that may be open at once then; 50: no limit
	}{
		{"no limit before the first refusal", 0, 10, nil, 0, 0, 50},
		{"InFlight holds before it", 10, 10, nil, 0, 0, 10},
		{"nor does it grow then", 10, 10, nil, time.Minute, 20, 10},
		{"a refusal stops the growth", 0, 5, refused, 0, 0, 5},
		{"a refusal lowers it", 10, 5, refused, 0, 0, 5},
		{"another failure does not", 10, 5, &Result{}, 0, 0, 10},
		{"to the number that is said", 10, 5, named(3), 0, 0, 3},
		{"a number above what is open is no word on that", 10, 5, named(40), 0, 0, 5},
		{"it grows by one in about a round", 0, 5, named(3), time.Second, 4, 4},
		{"and doubles in a round once it is quiet", 0, 5, named(3), 6 * time.Second, 3, 6},
		{"never above InFlight", 10, 5, named(3), 6 * time.Second, 50, 10},
		{"nor is there a limit ten minutes later", 0, 5, named(3), 11 * time.Minute, 1, 50},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := of(Policy{InFlight: tt.inFlight, Adaptive: true})
			var open []*Lease
			free := func() bool { return l.Free(time.Now()) }
			fill := func(most int) {
				for len(open) < most && free() {
					open = append(open, acquire(t, l))
				}
			}
			leave := func(until func() bool) { // without a result, which proves nothing
				for ; len(open) > 0 && !until(); open = open[1:] {
					open[0].End(Result{})
				}
			}
			fill(tt.open)
			if !l.Adapts() {
				t.Error("the limit does not adapt")
			}
			if tt.refused != nil {
				r := *tt.refused
				r.Begun = time.Now()
				acquire(t, l).End(r)
			}
			time.Sleep(tt.rest)
			for range tt.serves {
				leave(free)
				fill(50)
				open[0].End(Result{Served: true, Answered: true})
				open = open[1:]
			}
			none := func() bool { return false }
			leave(none)
			fill(50)
			if got := len(open); got != tt.want {
				t.Errorf("%d are open at once, want %d", got, tt.want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{Adaptive: true})
		acquire(t, l).End(Result{Refused: true, Begun: time.Now()})
		if l.Adapts() {
			t.Error("a limit of one adapts further")
		}
	})
}

// A million leases with random ends, of callers some of whom leave while they wait: of
// permits and tokens exactly what they hold is missing while they last, and nothing at the
// end. In a bubble no time passes while they run, so that the buckets can be compared to
// the token.
func TestLimit_AMillionLeasesLeakNothing(t *testing.T) {
	const workers, each, most = 16, 62_500, 12
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{InFlight: most, TokensPerMinute: 1 << 30, PerSecond: 1 << 30, Burst: 1 << 30, Adaptive: true, MaxWait: time.Minute})
		var open, spent, got, left atomic.Int64
		var callers sync.WaitGroup
		for worker := range workers {
			callers.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(worker)))
				for range each {
					estimate, lease := 1+random.IntN(500), new(Lease)
					ctx, cancel := context.WithCancel(context.Background())
					if random.IntN(4) == 0 {
						go cancel()
					}
					err := l.Acquire(ctx, lease, Use{Prompt: estimate / 2, Answer: estimate - estimate/2})
					cancel()
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Errorf("Acquire = %v", err)
						}
						left.Add(1)
						continue
					}
					got.Add(1)
					if n := open.Add(1); n > most {
						t.Errorf("%d permits are out, of %d", n, most)
					}
					r := Result{Begun: time.Now(), Stated: random.IntN(20)}
					switch random.IntN(4) {
					case 0:
						r.Served, r.Answered = true, true
					case 1:
						r.Answered = true
					case 2:
						r.Refused = true
					}
					cost := 0
					if r.Answered {
						cost = estimate
					}
					if random.IntN(3) == 0 {
						if r.Tokens = random.IntN(1000); r.Tokens > 0 {
							cost = r.Tokens
						}
					}
					if random.IntN(16) == 0 { // or, on one busy core, each would be alone
						runtime.Gosched()
					}
					open.Add(-1)
					if random.IntN(50) == 0 {
						lease.End(Result{}) // it was never sent
						continue
					}
					lease.End(r)
					spent.Add(int64(cost))
				}
			})
		}
		callers.Wait()
		if used, waiting := l.InUse(); used != 0 || waiting != 0 {
			t.Errorf("%d permits are left, %d wait", used, waiting)
		}
		if used, want := l.tokens.minute.sum, float64(spent.Load()); used != want {
			t.Errorf("%v tokens of the minute are used, want %v", used, want)
		}
		if has, want := l.tokens.limiter.Tokens(), float64(1<<29-spent.Load()); has != want {
			t.Errorf("the bucket has %v tokens, want %v", has, want)
		}
		if has := l.attempts.limiter.Tokens(); has != float64(1<<30-got.Load()) {
			t.Errorf("the bucket has %v attempts, want %v", has, 1<<30-got.Load())
		}
		if got.Load() < workers*each/100 || left.Load() == 0 {
			t.Errorf("%d leases, %d left: nothing was tested", got.Load(), left.Load())
		}
		t.Logf("%d leases, %d left", got.Load(), left.Load())
	})
}

// A limiter that has just been made is not the first to go where another one makes
// room: its caller would hold a lease of a limit that nobody else keeps to.
func TestLimit_ANewLimiterIsInUse(t *testing.T) {
	table := NewTable()
	limits := table.Limits("a", "", nil, Policy{InFlight: 1})
	old := limits.Get("old", [32]byte{})
	if l := limits.newLimiter(key{account: "a", model: "new"}); l.worth().Used <= old.worth().Used {
		t.Errorf("a new limiter was last used at %d, an old one at %d", l.worth().Used, old.worth().Used)
	}
}

// BenchmarkAcquire measures a lease that is to be had at once.
func BenchmarkAcquire(b *testing.B) {
	l := of(Policy{InFlight: 100, PerSecond: 1e9, Burst: 1 << 30, TokensPerMinute: 1 << 30, MaxWait: time.Second})
	b.ReportAllocs()
	for b.Loop() {
		var lease Lease
		if l.Acquire(b.Context(), &lease, Use{Prompt: 10}) != nil {
			b.Fatal("refused")
		}
		lease.End(Result{Served: true, Answered: true, Tokens: 9})
	}
}

// Status tells what was told and what was learned.
func TestLimit_StatusOfLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := NewTable()
		told := table.Limits("told", "", nil, Policy{PerSecond: 50, Burst: 50, MaxWait: time.Second})
		told.Get("m", [32]byte{})
		unknown := table.Limits("unknown", "", nil, Policy{MaxWait: time.Second})
		learned := 0.0
		for range 200 { // half of them are refused
			time.Sleep(20 * time.Millisecond)
			l := unknown.Get("m", [32]byte{})
			if l == nil {
				unknown.Learn("m", [32]byte{}, Throttle{Sent: time.Now(), Demand: 50, Serving: true})
				continue
			}
			var first, second Lease
			if l.Acquire(t.Context(), &first, Use{}) != nil || l.Acquire(t.Context(), &second, Use{}) != nil {
				continue
			}
			first.End(Result{Served: true})
			second.End(Result{Throttled: true})
			learned = max(learned, unknown.Status()[0].PerSecond)
		}
		if s := told.Status(); len(s) != 1 || s[0].PerSecond != 50 {
			t.Errorf("told: %+v, want 50 a second", s)
		}
		if learned <= 0 || learned > 200 {
			t.Errorf("learned: %v a second, want some", learned)
		}
	})
}

// A refusal holds back nobody while there are permits to spare: what is open may last for long.
func TestLimit_RefusalLeavesFreePermits(t *testing.T) {
	for name, p := range map[string]Policy{
		"told":     {InFlight: 10, MaxWait: time.Second},
		"fixed":    {InFlight: 10, MaxWait: time.Second, Fixed: true},
		"adaptive": {InFlight: 10, MaxWait: time.Second, Adaptive: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLimiter(p, "")
			var long, refused, next Lease
			for _, lease := range []*Lease{&long, &refused} {
				if err := l.Acquire(t.Context(), lease, Use{}); err != nil {
					t.Fatal(err)
				}
			}
			refused.End(Result{Throttled: true})
			if err := l.Acquire(t.Context(), &next, Use{}); err != nil {
				t.Errorf("%s: with one of 10 open: %v", name, err)
				return
			}
			next.End(Result{Served: true})
		})
	}
}

// Whoever waits when the limit of tokens changes needs what it would need by the new one, so that
// it neither goes free nor stands in the way of others for longer than a new one would.
func TestLimit_TokensOfThoseWhoWait(t *testing.T) {
	const long = 3 * time.Minute
	for _, tt := range []struct {
		name          string
		before, after Policy
		holds, waits  Use
		next          bool // another attempt is queued behind it
		tokens        int  // that are taken when it has begun
	}{
		{"fewer", Policy{TokensPerMinute: 60000, MaxWait: long}, Policy{TokensPerMinute: 1000, MaxWait: long}, Use{Answer: 60000}, Use{Prompt: 50000}, true, 1000},
		{"now some", Policy{InFlight: 1, MaxWait: long}, Policy{InFlight: 1, TokensPerMinute: 1000, MaxWait: long}, Use{}, Use{Prompt: 300}, true, 300},
		{"none any more", Policy{InFlight: 1, TokensPerMinute: 1000, MaxWait: long}, Policy{InFlight: 1, MaxWait: long}, Use{}, Use{Prompt: 300}, true, 0},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			l := New(tt.before)
			var first, second, third Lease
			if err := l.Acquire(t.Context(), &first, tt.holds); err != nil {
				t.Fatal(err)
			}
			var both sync.WaitGroup
			begun := make(chan error, 1)
			both.Go(func() { begun <- l.Acquire(t.Context(), &second, tt.waits) })
			synctest.Wait()
			l.Follow(tt.after)
			both.Go(func() {
				if err := l.Acquire(t.Context(), &third, Use{Prompt: 1}); err != nil {
					t.Errorf("the next one: %v", err)
				} else {
					third.Cancel()
				}
			})
			synctest.Wait()
			first.End(Result{Answered: true, Tokens: 1})
			if err := <-begun; err != nil {
				both.Wait()
				t.Fatal(err)
			}
			if second.tokens != tt.tokens {
				t.Errorf("it has taken %d tokens, want %d", second.tokens, tt.tokens)
			}
			second.End(Result{Answered: true, Tokens: 1})
			both.Wait()
			if l.waiting.len() != 0 || l.open != 0 {
				t.Errorf("%d wait, %d are open", l.waiting.len(), l.open)
			}
			for _, level := range l.waiting.levels {
				if level.tokens != 0 {
					t.Errorf("%d tokens are waited for by nobody", level.tokens)
				}
			}
		})
	}
}

// What a host says to a key that is replaced teaches nothing about the one in its place.
func TestLimit_RefusalsOfAReplacedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		adaptive := Policy{InFlight: 10, Adaptive: true}
		table := NewTable()
		old, next := table.Limits("a", "old", nil, adaptive), table.Limits("a", "next", nil, adaptive)
		lease := acquire(t, old.Get("m", [32]byte{}))
		time.Sleep(time.Second)
		table.Follow(map[string]*Limits{"a": next})
		lease.End(Result{Refused: true, Throttled: true})
		if n := permitsOf(next.Get("m", [32]byte{})); n != 10 {
			t.Errorf("%d may be open, want 10", n)
		}
		none := Policy{MaxWait: time.Second}
		old, next = table.Limits("b", "old", nil, none), table.Limits("b", "next", nil, none)
		table.Follow(map[string]*Limits{"b": next})
		old.Learn("m", [32]byte{}, Throttle{Sent: time.Now(), Demand: 50, Serving: true})
		if s := next.Status(); len(s) != 0 {
			t.Errorf("%+v was learned", s)
		}
		next.Learn("m", [32]byte{}, Throttle{Sent: time.Now(), Demand: 50, Serving: true})
		if s := next.Status(); len(s) != 1 {
			t.Errorf("%+v was learned, want one limit", s)
		}
	})
}
