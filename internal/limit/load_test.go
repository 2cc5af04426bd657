package limit

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A load is callers who come at random times, and what became of them.
type load struct {
	t         *testing.T
	l         *Limiter
	perSecond float64
	lasts     time.Duration
	deadline  time.Duration // of each caller; 0: none
	use       func(*rand.Rand) Use
	// send sends an attempt. It is called without a lock, and returns at the end of ctx.
	send func(ctx context.Context, random *rand.Rand) Result

	mu     sync.Mutex // guards what follows
	served int
	begun  []begun
	calls  int
}

type begun struct {
	at, waited time.Duration
	tokens     int
}

// run lets the callers come, and waits for the last of them.
func (d *load) run(seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	var callers sync.WaitGroup
	start := time.Now()
	for time.Since(start) < d.lasts {
		time.Sleep(time.Duration(random.ExpFloat64() / d.perSecond * float64(time.Second)))
		var use Use
		if d.use != nil {
			use = d.use(random)
		}
		own := rand.New(rand.NewPCG(random.Uint64(), 2))
		d.calls++
		callers.Go(func() { d.call(own, use, start) })
	}
	callers.Wait()
}

func (d *load) call(random *rand.Rand, use Use, start time.Time) {
	ctx, came := context.Background(), time.Now()
	if d.deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.deadline)
		defer cancel()
	}
	lease := new(Lease)
	if d.l.Acquire(ctx, lease, use) != nil {
		return
	}
	d.mu.Lock()
	d.begun = append(d.begun, begun{time.Since(start), time.Since(came), use.Prompt + use.Answer})
	d.mu.Unlock()
	r := Result{Served: true, Answered: true, Begun: time.Now()}
	if d.send != nil {
		r = d.send(ctx, random)
	}
	lease.End(r)
	if r.Served {
		d.mu.Lock()
		d.served++
		d.mu.Unlock()
	}
}

// answers returns a host that answers after a random time, unless the caller leaves.
func answers(after func(*rand.Rand) time.Duration) func(context.Context, *rand.Rand) Result {
	return func(ctx context.Context, random *rand.Rand) Result {
		timer := time.NewTimer(after(random))
		defer timer.Stop()
		select {
		case <-timer.C:
			return Result{Served: true, Answered: true}
		case <-ctx.Done():
			return Result{Late: true}
		}
	}
}

// No sliding minute has more tokens than its limit, and each has nearly as many while there
// are enough callers.
func TestLimit_NoMinuteHasMore(t *testing.T) {
	const perMinute = 60_000
	for _, tt := range []struct {
		name    string
		offered float64 // times the limit
		most    int     // tokens of a call
		least   float64 // of the limit in all, behind the first two minutes
	}{
		{"small ones", 2, 1000, 0.97},
		{"hardly more than the limit", 1.1, 1000, 0.95},
		{"three times the limit", 3, 300, 0.97},
		{"large and small ones", 3, 20_000, 0.80},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			d := &load{t: t, l: of(Policy{TokensPerMinute: perMinute, MaxWait: 5 * time.Second}), perSecond: tt.offered * perMinute / 60 / float64(tt.most/2), lasts: 10 * time.Minute}
			d.use = func(random *rand.Rand) Use { return Use{Prompt: 1 + random.IntN(tt.most)} }
			d.run(1)
			slices.SortFunc(d.begun, func(a, b begun) int { return cmp.Compare(a.at, b.at) })
			sum, from, total := 0, 0, 0
			for _, b := range d.begun {
				for sum += b.tokens; b.at-d.begun[from].at >= time.Minute; from++ {
					sum -= d.begun[from].tokens
				}
				if sum > perMinute {
					t.Fatalf("%d tokens in the minute before %v, want at most %d", sum, b.at, perMinute)
				}
				if b.at > 2*time.Minute && b.at <= 10*time.Minute {
					total += b.tokens
				}
			}
			t.Logf("%.3f", float64(total)/8/perMinute)
			if got := float64(total) / 8 / perMinute; got < tt.least {
				t.Errorf("%.3f of the limit is used, want %.2f", got, tt.least)
			}
		})
	}
}

// A large attempt gets its turn among small ones, although it needs longer than MaxWait.
func TestLimit_LargeAttemptsGetTheirTurn(t *testing.T) {
	for _, offered := range []float64{0.5, 1, 3} {
		synctest.Test(t, func(t *testing.T) {
			l := of(Policy{TokensPerMinute: 10_000, MaxWait: 5 * time.Second})
			small := &load{t: t, l: l, perSecond: offered * 10_000 / 60 / 100, lasts: 45 * time.Minute}
			small.use = func(*rand.Rand) Use { return Use{Prompt: 100} }
			var large sync.WaitGroup
			large.Go(func() {
				for range 20 {
					time.Sleep(time.Duration(rand.Int64N(int64(time.Minute))))
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
					lease := new(Lease)
					if err := l.Acquire(ctx, lease, Use{Prompt: 8000}); err != nil {
						t.Errorf("with %v of the limit offered in small ones, a large one has %v", offered, err)
					} else {
						lease.End(Result{Served: true, Answered: true})
					}
					cancel()
				}
			})
			small.run(1)
			large.Wait()
			if share := float64(small.served) / float64(small.calls); share < 0.15/offered {
				t.Errorf("%.2f of the small ones are served", share)
			} else {
				t.Logf("small ones: %.2f of %.1f", share, offered)
			}
		})
	}
}

// Places go to those who have time for an answer: at twice the load, nearly all of the
// capacity is answers.
func TestLimit_PlacesGoToThoseWithTime(t *testing.T) {
	const second = float64(time.Second)
	for _, tt := range []struct {
		name     string
		deadline time.Duration
		takes    func(*rand.Rand) float64 // seconds
		mean     float64
		least    float64
	}{
		{"all about as long", 10 * time.Second, func(r *rand.Rand) float64 { return 1 + 2*r.Float64() }, 2, 0.95},
		{"exactly as long", 10 * time.Second, func(r *rand.Rand) float64 { return 2 }, 2, 0.98},
		{"very different", 10 * time.Second, func(r *rand.Rand) float64 { return 2 * r.ExpFloat64() }, 2, 0.95},
		{"a few very long ones", 10 * time.Second, func(r *rand.Rand) float64 {
			if r.IntN(20) == 0 {
				return 30
			}
			return 1
		}, 2.45, 0.95},
		{"short deadlines", 3500 * time.Millisecond, func(r *rand.Rand) float64 { return 1 + 2*r.Float64() }, 2, 0.95},
		{"deadlines within which not all are answered", 2500 * time.Millisecond, func(r *rand.Rand) float64 { return 1 + 2*r.Float64() }, 2, 0.65},
	} {
		for name, p := range map[string]Policy{
			"in flight":  {InFlight: 10, MaxWait: time.Minute},
			"per second": {PerSecond: 10 / tt.mean, Burst: 1, MaxWait: time.Minute},
		} {
			bubble(t, tt.name+"/"+name, func(t *testing.T) {
				d := &load{t: t, l: of(p), perSecond: 2 * 10 / tt.mean, lasts: 10 * time.Minute, deadline: tt.deadline}
				d.send = answers(func(r *rand.Rand) time.Duration { return time.Duration(tt.takes(r) * second) })
				d.run(1)
				got := float64(d.served) / (d.lasts.Seconds() * 10 / tt.mean)
				t.Logf("%.3f", got)
				if got < tt.least {
					t.Errorf("%.3f of the capacity is answers, want %.2f", got, tt.least)
				}
			})
		}
	}
}

// One long answer keeps nobody away behind it.
func TestLimit_OneLongAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{InFlight: 1, MaxWait: 5 * time.Second})
		lease := acquire(t, l)
		time.Sleep(2 * time.Minute)
		lease.End(Result{Served: true, Answered: true})
		d := &load{t: t, l: l, perSecond: 4, lasts: 20 * time.Second}
		d.send = answers(func(*rand.Rand) time.Duration { return 200 * time.Millisecond })
		d.run(1)
		if d.served != d.calls {
			t.Errorf("%d of %d are served", d.served, d.calls)
		}
	})
}

// After one refusal of the only attempt, a burst waits until the limit has grown.
func TestLimit_OneStrayRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := of(Policy{Adaptive: true, MaxWait: 5 * time.Second})
		acquire(t, l).End(Result{Refused: true, Begun: time.Now()})
		served := 0
		var mu sync.Mutex
		var callers sync.WaitGroup
		for range 40 {
			callers.Go(func() {
				lease := new(Lease)
				if err := l.Acquire(t.Context(), lease, Use{}); err != nil {
					t.Errorf("Acquire = %v", err)
					return
				}
				time.Sleep(400 * time.Millisecond)
				lease.End(Result{Served: true, Answered: true})
				mu.Lock()
				defer mu.Unlock()
				served++
			})
		}
		callers.Wait()
	})
}

// A rate that is told exactly is used, although requests take random times to the host,
// whose bucket has the same rate and burst.
func TestLimit_ToldRateIsUsed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rate   float64
		burst  int
		jitter time.Duration
	}{
		{"30 a second", 30, 30, 20 * time.Millisecond},
		{"a small burst", 30, 5, 20 * time.Millisecond},
		{"without jitter, one at a time", 10, 1, 0},
		{"3 a second", 3, 3, 50 * time.Millisecond},
		{"1000 a second", 1000, 1000, 20 * time.Millisecond},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			host := newBucket(tt.rate, tt.burst)
			var mu sync.Mutex
			refused := 0
			d := &load{t: t, l: of(Policy{PerSecond: tt.rate, Burst: tt.burst, MaxWait: 5 * time.Second}), perSecond: 2 * tt.rate, lasts: 2 * time.Minute}
			d.send = func(_ context.Context, random *rand.Rand) Result {
				begun := time.Now()
				if tt.jitter > 0 {
					time.Sleep(time.Duration(random.Int64N(int64(tt.jitter))))
				}
				mu.Lock()
				ok := host.limiter.AllowN(time.Now(), 1)
				if !ok {
					refused++
				}
				mu.Unlock()
				if !ok {
					return Result{Refused: true, Throttled: true, Begun: begun}
				}
				time.Sleep(time.Second)
				return Result{Served: true, Answered: true}
			}
			d.run(1)
			used, extra := float64(d.served)/(tt.rate*d.lasts.Seconds()), float64(refused)/float64(d.served)
			t.Logf("%.3f used, %.3f refused", used, extra)
			if used < 0.95 || extra > 0.05 {
				t.Errorf("%.3f of the rate is used, and %.3f refused, want 0.95 and 0.05", used, extra)
			}
		})
	}
}

// Whatever the limits are and whoever leaves, all who stay get their turn, in the order in
// which they came, and the limits hold.
func TestLimit_RandomLoads(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 3))
			p := Policy{MaxWait: 100 * time.Hour}
			if random.IntN(2) == 0 {
				p.InFlight = 1 + random.IntN(5)
			}
			if random.IntN(2) == 0 {
				p.PerSecond, p.Burst = 0.5+4*random.Float64(), 1+random.IntN(5)
			}
			if p.Off() || random.IntN(2) == 0 {
				p.TokensPerMinute = 100 + random.IntN(1000)
			}
			changes := p.PerSecond > 0 && random.IntN(3) == 0
			l, start := of(p), time.Now()
			var mu sync.Mutex
			turns := make(map[int]time.Duration) // of those who stay
			var got []begun
			var open, stay int
			var callers sync.WaitGroup
			for n := range 200 {
				time.Sleep(time.Duration(random.ExpFloat64() * float64(300*time.Millisecond)))
				leaves, tokens, holds := time.Duration(0), 1+random.IntN(100), time.Duration(random.Int64N(int64(3*time.Second)))
				if random.IntN(3) == 0 {
					leaves = time.Duration(random.Int64N(int64(20 * time.Second)))
				} else {
					stay++
				}
				if changes && random.IntN(20) == 0 {
					setRate(l, float64(random.IntN(5)), 1+random.IntN(5))
				}
				callers.Go(func() {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if leaves > 0 {
						time.AfterFunc(leaves, cancel)
					}
					lease := new(Lease)
					if err := l.Acquire(ctx, lease, Use{Prompt: tokens}); err != nil {
						if leaves == 0 {
							t.Errorf("seed %d: who stays has %v", seed, err)
						}
						return
					}
					mu.Lock()
					if leaves == 0 {
						turns[n] = time.Since(start)
					}
					got = append(got, begun{at: time.Since(start), tokens: tokens})
					if open++; p.InFlight > 0 && open > p.InFlight {
						t.Errorf("seed %d: %d are open, of %d", seed, open, p.InFlight)
					}
					mu.Unlock()
					time.Sleep(holds)
					mu.Lock()
					open--
					mu.Unlock()
					lease.End(Result{Served: true, Answered: true})
				})
				synctest.Wait()
			}
			if changes {
				setRate(l, 0, 0)
			}
			callers.Wait()
			if len(turns) != stay {
				t.Errorf("seed %d: %d of %d who stay had a turn", seed, len(turns), stay)
			}
			var last time.Duration
			for n := range 200 {
				if at, ok := turns[n]; ok && at < last {
					t.Errorf("seed %d: number %d has its turn at %v, one before it at %v", seed, n, at, last)
				} else if ok {
					last = at
				}
			}
			for i := range got {
				sum := 0
				for j := i; j < len(got) && got[j].at-got[i].at < time.Minute; j++ {
					sum += got[j].tokens
					took := (got[j].at - got[i].at + time.Microsecond).Seconds()
					if p.PerSecond > 0 && !changes && float64(j-i+1) > float64(p.Burst)+p.PerSecond*took {
						t.Fatalf("seed %d: %d attempts in %v s of %+v", seed, j-i+1, took, p)
					}
				}
				if p.TokensPerMinute > 0 && sum > p.TokensPerMinute {
					t.Fatalf("seed %d: %d tokens in a minute of %+v", seed, sum, p)
				}
			}
			if open, waiting := l.InUse(); open != 0 || waiting != 0 {
				t.Errorf("seed %d: %d open, %d waiting", seed, open, waiting)
			}
		})
	}
}

// Attempts that do not say how long their answers may be reserve as much as recent answers
// had, so that the limit holds for them, too.
func TestLimit_AnswersOfUnknownLength(t *testing.T) {
	const perMinute, prompt, answer = 60_000, 100, 1000
	synctest.Test(t, func(t *testing.T) {
		d := &load{t: t, l: of(Policy{TokensPerMinute: perMinute, MaxWait: 5 * time.Second}), perSecond: 2, lasts: 10 * time.Minute}
		d.use = func(*rand.Rand) Use { return Use{Prompt: prompt} }
		d.send = func(_ context.Context, random *rand.Rand) Result {
			time.Sleep(10 * time.Second)
			return Result{Served: true, Answered: true, Tokens: prompt + answer/2 + random.IntN(answer)}
		}
		d.run(1)
		slices.SortFunc(d.begun, func(a, b begun) int { return cmp.Compare(a.at, b.at) })
		from := 0
		for n, b := range d.begun {
			for ; b.at-d.begun[from].at >= time.Minute; from++ {
			}
			if got := (n - from + 1) * (prompt + answer); b.at > 2*time.Minute && got > perMinute*11/10 {
				t.Fatalf("about %d tokens in the minute before %v, want %d", got, b.at, perMinute)
			}
		}
		if got := float64(d.served) * (prompt + answer) / 10 / perMinute; got < 0.95 {
			t.Errorf("%.2f of the limit is used", got)
		}
	})
}
