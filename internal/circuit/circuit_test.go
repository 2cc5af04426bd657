package circuit

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"
)

// byDefault is breakwater's default policy.
var byDefault = Policy{
	FailureRate: 0.5, MinRequests: 20, Window: time.Minute,
	Consecutive: 5, OpenFor: 5 * time.Second, MaxOpenFor: 5 * time.Minute, Probes: 1,
}

// with returns the default policy with a change.
func with(change func(*Policy)) Policy {
	p := byDefault
	change(&p)
	return p
}

// A world has one circuit in virtual time. Its pauses have no jitter.
type world struct {
	t    *testing.T
	set  *Set
	c    *Circuit
	told []string // the changes that OnChange was called with
}

func inWorld(t *testing.T, p Policy, f func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		w.set = NewSet(Settings{
			Policy:    p,
			SlowStart: 30 * time.Second,
			Jitter:    func(d time.Duration) time.Duration { return d },
			OnChange: func(c Change) {
				w.told = append(w.told, fmt.Sprintf("%s %s-%s %v", c.Model, c.From, c.To, c.Wait))
			},
		})
		w.c = w.set.Get("m")
		f(t, w)
		if permits, probes := w.set.InUse(); permits != 0 || probes != 0 {
			t.Errorf("%d permits and %d probes are left", permits, probes)
		}
	})
}

// ask asks for a permit. It returns nil if the attempt was refused.
func (w *world) ask() *Permit { return w.askAs(false) }

// force asks for a permit to probe before the pause is over.
func (w *world) force() *Permit { return w.askAs(true) }

func (w *world) askAs(forced bool) *Permit {
	p := new(Permit)
	allowed := w.c.Allow(p, time.Now(), forced)
	w.c.Flush()
	if !allowed {
		return nil
	}
	return p
}

// allowed asks for a permit, which must not be refused.
func (w *world) allowed() *Permit {
	w.t.Helper()
	p := w.ask()
	if p == nil {
		w.t.Fatal("the attempt was refused")
	}
	return p
}

// play makes an attempt for each letter, one after the other. Refused attempts do
// nothing.
func (w *world) play(letters string) {
	for _, letter := range letters {
		if p := w.ask(); p != nil {
			end(p, letter)
		}
	}
}

// end ends an attempt: S as a success, F as a failure, B as a stream that breaks after
// its commit, N as neutral, I as inconclusive.
func end(p *Permit, letter rune) {
	switch letter {
	case 'S':
		p.Commit()
		p.Report(Success)
	case 'F':
		p.Report(Failure)
	case 'B':
		p.Commit()
		p.Report(Failure)
	case 'N':
		p.Report(Neutral)
	case 'I':
		p.Report(Inconclusive)
	}
}

// stands checks the circuit's state, and for how long it is open.
func (w *world) stands(when, state string, open time.Duration) {
	w.t.Helper()
	s := w.c.Status(time.Now())
	left := time.Duration(0)
	if !s.Until.IsZero() {
		left = time.Until(s.Until)
	}
	if s.State != state || left != open {
		w.t.Errorf("%s: the circuit is %s for %v, want %s for %v", when, s.State, left, state, open)
	}
}

func TestCircuit_NamesStatesAsGobreakerDoes(t *testing.T) {
	for state, want := range map[gobreaker.State]string{gobreaker.StateClosed: Closed, gobreaker.StateHalfOpen: HalfOpen, gobreaker.StateOpen: Open} {
		if state.String() != want {
			t.Errorf("gobreaker says %s, want %s", state, want)
		}
	}
}

// Consecutive failures open a circuit, and so does a large share of failures among
// enough results. Neutral outcomes do not count.
func TestCircuit_Trips(t *testing.T) {
	repeat := strings.Repeat
	inARow := with(func(p *Policy) { p.FailureRate = 0 })
	byRate := with(func(p *Policy) { p.Consecutive = 0 })
	rate := func(share float64, of int) Policy {
		return with(func(p *Policy) { p.Consecutive, p.FailureRate, p.MinRequests = 0, share, of })
	}
	row := func(n int) Policy { return with(func(p *Policy) { p.FailureRate, p.Consecutive = 0, n }) }
	for _, tt := range []struct {
		name   string
		policy Policy
		plays  string
		open   bool
	}{
		{"five in a row", inARow, "FFFFF", true},
		{"five in a row where three of ten fail anyway", inARow, repeat("FSSFSSFSSS", 5) + "FFFFF", false},
		{"twelve in a row where three of ten fail anyway", inARow, repeat("FSSFSSFSSS", 5) + "FFFFFFFFFFFF", true},
		{"five in a row after nothing but successes", inARow, repeat("S", 50) + "FFFFF", true},
		{"five in a row where one of twenty fails anyway", inARow, repeat("FSSSSSSSSSSSSSSSSSSS", 5) + "FFFFF", true},
		{"as many as chance may ever ask for, where four of five fail anyway", inARow, repeat("FFFFS", 20) + repeat("F", maxSignificant), true},
		{"one less, where four of five fail anyway", inARow, repeat("FFFFS", 20) + repeat("F", maxSignificant-1), false},
		{"99 where 100 are asked for", row(100), repeat("F", 99), false},
		{"100 where 100 are asked for", row(100), repeat("F", 100), true},
		{"100 where 100 are asked for, and four of five fail anyway", row(100), repeat("FFFFS", 20) + repeat("F", 100), true},
		{"a success before the last of 100", row(100), repeat("F", 99) + "S" + repeat("F", 99), false},
		{"5000 where 5000 are asked for", row(5000), repeat("FN", 4999) + "F", true},
		{"four in a row", inARow, "FFFF", false},
		{"a success between", inARow, "FFFFSFFFF", false},
		{"five after a success", inARow, "FFFFSFFFFF", true},
		{"three where three are asked for", with(func(p *Policy) { p.FailureRate, p.Consecutive = 0, 3 }), "FFF", true},
		{"neutral outcomes between do not hide the failures", inARow, "FFNFIFNF", true},
		{"neutral outcomes", inARow, repeat("NI", 8), false},
		{"streams that break after the commit", inARow, "BBBBB", true},
		{"four streams that break", inARow, "BBBB", false},
		{"streams that break, and other failures", inARow, "FBFBF", true},

		{"half of twenty", byRate, repeat("SF", 10), true},
		{"half of nineteen", byRate, repeat("FS", 9) + "F", false},
		{"less than half of twenty", byRate, repeat("SF", 9) + "SS", false},
		{"all of nineteen", byRate, repeat("F", 19), false},
		{"all of twenty", byRate, repeat("F", 20), true},
		{"neutral outcomes are no results", byRate, repeat("NF", 19) + "NINI", false},
		{"neutral outcomes do not thin the failures", byRate, repeat("NSF", 10), true},
		{"another share of another number", rate(0.8, 5), "SFFFF", true},
		{"a smaller share", rate(0.8, 5), "SSFFF", false},
		{"all streams break, where all must fail", rate(1, 5), "BBBBB", true},

		{"default: five in a row", byDefault, "FFFFF", true},
		{"default: half of twenty", byDefault, repeat("SF", 10), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.policy, func(t *testing.T, w *world) {
				w.play(tt.plays)
				if open := w.c.Status(time.Now()).State == Open; open != tt.open {
					t.Errorf("%s: open = %v, want %v", tt.plays, open, tt.open)
				}
				p := w.ask()
				if passes := p != nil; passes == tt.open {
					t.Errorf("%s: the next attempt passes: %v, want %v", tt.plays, passes, !tt.open)
				}
				if p != nil {
					p.Report(Success)
				}
			})
		})
	}
}

// A result counts for as long as the window after its attempt ended, even if the
// attempt itself took longer than the window.
func TestCircuit_Window(t *testing.T) {
	policy := with(func(p *Policy) { p.Consecutive, p.MinRequests = 0, 4 })
	// together makes four concurrent attempts that take d and end as the letter says.
	together := func(w *world, d time.Duration, letter rune) {
		var all []*Permit
		for range 4 {
			all = append(all, w.allowed())
		}
		time.Sleep(d)
		for _, p := range all {
			end(p, letter)
		}
	}
	for _, tt := range []struct {
		name string
		run  func(*world)
		open bool
	}{
		{"all within the window", func(w *world) { w.play("FFS"); time.Sleep(50 * time.Second); w.play("F") }, true},
		{"the first out of the window", func(w *world) { w.play("FFS"); time.Sleep(61 * time.Second); w.play("F") }, false},
		{"out of the window one by one", func(w *world) {
			for range 20 {
				w.play("F")
				time.Sleep(25 * time.Second)
			}
		}, false},
		{"slow failures, each longer than the window", func(w *world) { together(w, 70*time.Second, 'F') }, true},
		{"slow successes, each longer than the window", func(w *world) { together(w, 70*time.Second, 'S'); w.play("FFF") }, false},
		{"slow neutral ones, each longer than the window", func(w *world) { together(w, 70*time.Second, 'N'); w.play("FFF") }, false},
		{"streams that break late, each longer than the window", func(w *world) { together(w, 70*time.Second, 'B') }, true},
		{"streams that break late, each longer than half of it", func(w *world) { together(w, 40*time.Second, 'B') }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, policy, func(t *testing.T, w *world) {
				tt.run(w)
				if open := w.c.Status(time.Now()).State == Open; open != tt.open {
					t.Errorf("open = %v, want %v", open, tt.open)
				}
			})
		})
	}
}

// An open circuit allows a probe after OpenFor. Each failed probe doubles the pause, up
// to MaxOpenFor. During the pause, no attempt passes.
func TestCircuit_PausesDouble(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy Policy
		want   string // seconds after which an attempt passed
	}{
		{"by default", byDefault, "[0 0 0 0 0 5 15 35 75 155 315 615 915]"},
		{"as set", with(func(p *Policy) { p.Consecutive, p.OpenFor, p.MaxOpenFor = 2, 10*time.Second, 25*time.Second }),
			"[0 0 10 30 55 80 105 130 155 180 205 230 255 280 305 330 355 380 405 430 455 480 505 530 555 580 605 630 655 680 705 730 755 780 805 830 855 880 905 930 955 980]"},
		{"MaxOpenFor is OpenFor", with(func(p *Policy) { p.Consecutive, p.OpenFor, p.MaxOpenFor = 1, 400*time.Second, 400*time.Second }), "[0 400 800]"},
		{"without a longest", with(func(p *Policy) { p.Consecutive, p.MaxOpenFor = 1, 0 }), "[0 5 15 35 75 155 315 635]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.policy, func(t *testing.T, w *world) {
				start := time.Now()
				var times []int
				ask := func() {
					if p := w.ask(); p != nil {
						times = append(times, int(time.Since(start).Seconds()))
						p.Report(Failure)
					}
				}
				for range 4 {
					ask()
				}
				for range 1000 {
					ask()
					time.Sleep(time.Second)
				}
				if got := fmt.Sprint(times); got != tt.want {
					t.Errorf("attempts at %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// Jitter spreads the ends of pauses over their last tenth.
func TestCircuit_Jitter(t *testing.T) {
	lowest, highest := time.Hour, time.Duration(0)
	for range 10_000 {
		d := jitter(time.Second)
		lowest, highest = min(lowest, d), max(highest, d)
	}
	if lowest <= 900*time.Millisecond || highest > time.Second || lowest > 910*time.Millisecond || highest < 990*time.Millisecond {
		t.Errorf("jitter(1s) is between %v and %v, want all of the last tenth", lowest, highest)
	}
	if d := jitter(1); d != 1 {
		t.Errorf("jitter(1ns) = %v", d)
	}
}

// Settings without a Jitter use the default one. Settings without an OnChange work.
func TestCircuit_JitterByDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := NewSet(Settings{Policy: byDefault})
		spread := make(map[time.Duration]bool)
		for n := range 100 {
			w := &world{t: t, set: set, c: set.Get(fmt.Sprint(n))}
			w.play("FFFFF")
			left := time.Until(w.c.Status(time.Now()).Until)
			if left <= 4500*time.Millisecond || left > 5*time.Second {
				t.Fatalf("a pause of %v, want one of the last tenth of 5s", left)
			}
			spread[left] = true
		}
		if len(spread) < 50 {
			t.Errorf("100 circuits have %d different pauses", len(spread))
		}
	})
}

// A probe that succeeds closes the circuit, and the next pause is OpenFor again.
func TestCircuit_ProbeCloses(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		w.stands("after five failures", Open, 5*time.Second)
		time.Sleep(5 * time.Second)
		w.play("F")
		w.stands("after the failed probe", Open, 10*time.Second)
		time.Sleep(10 * time.Second)
		w.stands("when the pause is over", HalfOpen, 0)
		w.play("S")
		w.stands("after the probe", Closed, 0)
		w.play("FFFFF")
		w.stands("opened again", Open, 5*time.Second)
	})
}

// After a neutral probe the next may follow at once, because the neutral one proved
// nothing. After a probe that had too little time, the next has to wait for another
// pause.
func TestCircuit_NeutralProbe(t *testing.T) {
	for _, tt := range []struct {
		name    string
		outcome Outcome
		state   string
		wait    time.Duration
	}{
		{"neutral", Neutral, HalfOpen, 0},
		{"inconclusive", Inconclusive, Open, 5 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, byDefault, func(t *testing.T, w *world) {
				w.play("FFFFF")
				time.Sleep(5 * time.Second)
				w.allowed().Report(tt.outcome)
				w.stands("after the probe", tt.state, tt.wait)
				if p := w.ask(); p == nil != (tt.wait > 0) {
					t.Errorf("the next attempt is refused: %v, want it to wait for %v", p == nil, tt.wait)
				} else if p != nil {
					p.Report(Neutral)
				}
				time.Sleep(tt.wait)
				w.play("S")
				w.stands("after the next", Closed, 0)
			})
		})
	}
}

// A forced probe that is inconclusive does not shorten the pause.
func TestCircuit_InconclusiveProbeNeverShortensAPause(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		time.Sleep(5 * time.Second)
		w.play("F")
		time.Sleep(4 * time.Second)
		w.force().Report(Inconclusive)
		w.stands("after the forced probe", Open, 10*time.Second)
		w.allowedAfter(10 * time.Second).Report(Success)
	})
}

// allowedAfter checks that an attempt is refused until d has passed, and allowed then.
func (w *world) allowedAfter(d time.Duration) *Permit {
	w.t.Helper()
	time.Sleep(d - 1)
	if w.ask() != nil {
		w.t.Fatalf("an attempt passed within %v", d)
	}
	time.Sleep(time.Nanosecond)
	return w.allowed()
}

// A probe closes the circuit at its commit, not at the end of a long stream. If the
// stream breaks later, that counts as a failure.
func TestCircuit_ClosesAtTheCommit(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Consecutive = 1 }), func(t *testing.T, w *world) {
		w.play("F")
		p := w.allowedAfter(5 * time.Second)
		if !p.Probing() {
			t.Error("the attempt is no probe")
		}
		p.Commit()
		w.stands("at the commit", Closed, 0)
		if p.Probing() {
			t.Error("the attempt is still a probe after its commit")
		}
		p.Report(Failure)
		w.stands("after the break", Open, 10*time.Second)
	})
}

// For a closed circuit a commit is no result, because the stream may still break.
func TestCircuit_CommitIsNoResult(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		p := w.allowed()
		p.Commit()
		w.play("FFFF")
		p.Report(Failure)
		w.stands("after four failures and a stream that breaks", Open, 5*time.Second)
	})
}

// An attempt that began before the circuit opened neither shortens nor lengthens the
// pause when it ends.
func TestCircuit_LateEndsLeaveThePauseAlone(t *testing.T) {
	for _, letter := range "SFBNI" {
		t.Run(string(letter), func(t *testing.T) {
			inWorld(t, byDefault, func(t *testing.T, w *world) {
				late := w.allowed()
				w.play("FFFFF")
				time.Sleep(2 * time.Second)
				end(late, letter)
				w.stands("after the late end", Open, 3*time.Second)
				w.allowedAfter(3 * time.Second).Report(Failure)
				w.stands("after the failed probe", Open, 10*time.Second)
			})
		})
	}
}

// Probes is how many probes may be under way. Other attempts are refused meanwhile. The
// circuit closes after so many probes have succeeded.
func TestCircuit_Probes(t *testing.T) {
	large := math.MaxInt
	for _, probes := range []int{1, 2, 3, large} {
		t.Run(fmt.Sprint(probes), func(t *testing.T) {
			policy := with(func(p *Policy) { p.Probes = probes })
			inWorld(t, policy, func(t *testing.T, w *world) {
				w.play("FFFFF")
				time.Sleep(5 * time.Second)
				var all []*Permit
				for range 5 {
					if p := w.ask(); p != nil {
						all = append(all, p)
					}
				}
				if want := min(5, probes); len(all) != want {
					t.Errorf("%d probes at once, want %d", len(all), want)
				}
				for _, p := range all {
					w.stands("before the last good probe", HalfOpen, 0)
					p.Report(Success)
				}
				if probes <= 5 {
					w.stands("after the good probes", Closed, 0)
				}
			})
			if probes == large {
				return
			}
			inWorld(t, policy, func(t *testing.T, w *world) {
				w.play("FFFFF")
				time.Sleep(5 * time.Second)
				for range probes {
					w.stands("before the last good probe", HalfOpen, 0)
					w.play("S")
				}
				w.stands("after the good probes", Closed, 0)
			})
		})
	}
}

// After a probe has failed, the next pause's probes are allowed in full, even if other
// probes of the earlier pause are still under way.
func TestCircuit_ProbesOfAnEarlierPause(t *testing.T) {
	inWorld(t, with(func(p *Policy) { p.Probes = 2 }), func(t *testing.T, w *world) {
		w.play("FFFFF")
		time.Sleep(5 * time.Second)
		late := w.allowed()
		w.allowed().Report(Failure)
		w.stands("after the failed probe", Open, 10*time.Second)
		time.Sleep(10 * time.Second)
		first, second := w.allowed(), w.allowed()
		if _, probes := w.set.InUse(); probes != 2 || w.ask() != nil {
			t.Errorf("%d probes, want the two that are allowed", probes)
		}
		first.Report(Success)
		late.Report(Neutral)
		w.stands("after one good probe", HalfOpen, 0)
		second.Report(Success)
		w.stands("after two good probes", Closed, 0)
	})
}

// A probe that shows payload closes the circuit. If its stream breaks before another
// attempt has succeeded, the circuit opens again for twice as long. Otherwise a host
// that cuts its streams would get five more calls after each probe.
func TestCircuit_BrokenProbeReopens(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		w.play("FFFFF")
		for _, lasts := range []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second} {
			time.Sleep(lasts)
			w.play("B")
			w.stands("after a broken probe", Open, 2*lasts)
		}
		time.Sleep(40 * time.Second)
		w.play("SB") // one whole stream, so that the broken one is a failure like any other
		w.stands("after a success and a broken stream", Closed, 0)
		w.play("FFFF")
		w.stands("after five failures in a row", Open, 5*time.Second)
	})
}

// In slow start, a circuit allows as many concurrent attempts as have succeeded since it
// closed, plus one.
func TestCircuit_SlowStart(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		slow := func(open int64) bool { return w.c.Standing(time.Now(), open).SlowStart }
		if slow(1000) {
			t.Error("a circuit that never opened is in slow start")
		}
		w.play("FFFFF")
		time.Sleep(5 * time.Second)
		w.play("S") // closes the circuit, and is the first that succeeded
		for answered := range int64(3) {
			if slow(answered+1) || !slow(answered+2) {
				t.Errorf("%d answered: slow start with %d open: %v, with %d: %v", answered+1, answered+1, slow(answered+1), answered+2, slow(answered+2))
			}
			w.play("S")
		}
		time.Sleep(30*time.Second - 1)
		if !slow(1000) {
			t.Error("slow start is over before its time")
		}
		time.Sleep(time.Nanosecond)
		if slow(1000) {
			t.Error("slow start is not over in time")
		}
	})
}

// A circuit is ready if Allow would let an attempt pass. It is tripped from the time
// when it opens until it closes.
func TestCircuit_Standing(t *testing.T) {
	inWorld(t, byDefault, func(t *testing.T, w *world) {
		check := func(when string, ready, tripped bool) {
			t.Helper()
			if s := w.c.Standing(time.Now(), 0); s.Ready != ready || s.Tripped != tripped {
				t.Errorf("%s: %+v, want ready %v, tripped %v", when, s, ready, tripped)
			}
		}
		check("new", true, false)
		w.play("FFFFF")
		check("open", false, true)
		time.Sleep(5 * time.Second)
		check("half-open", true, true)
		p := w.allowed()
		check("probed", false, true)
		time.Sleep(ProbeGrace)
		check("probed slowly", true, true)
		p.Report(Success)
		check("closed", true, false)
	})
	var none *Circuit
	if s := none.Standing(time.Now(), 1000); s != (Standing{Ready: true}) {
		t.Errorf("no circuit: %+v, want it ready", s)
	}
}

// A pause that cannot be doubled is as long as any can be.
func TestCircuit_LongestPauses(t *testing.T) {
	inWorld(t, with(func(p *Policy) {
		p.Consecutive, p.OpenFor, p.MaxOpenFor = 1, math.MaxInt64/2+1, math.MaxInt64
	}), func(t *testing.T, w *world) {
		w.play("F")
		time.Sleep(math.MaxInt64/2 + 1)
		w.play("F")
		if s := w.c.Status(time.Now()); s.State != Open || time.Until(s.Until) < math.MaxInt64/2 {
			t.Errorf("after the failed probe, the circuit is %s until %v", s.State, s.Until)
		}
	})
}

// Numbers of any size mean what they say.
func TestCircuit_LargeNumbers(t *testing.T) {
	const longest = time.Duration(math.MaxInt64)
	for _, tt := range []struct {
		name   string
		policy Policy
		plays  string
		state  string
	}{
		{"99 of 100 probes succeed", with(func(p *Policy) { p.Probes = 100 }), "FFFFF_" + strings.Repeat("S", 99), HalfOpen},
		{"100 of 100 probes succeed", with(func(p *Policy) { p.Probes = 100 }), "FFFFF_" + strings.Repeat("S", 100), Closed},
		{"one of more probes than gobreaker counts", with(func(p *Policy) { p.Probes = math.MaxInt }), "FFFFF_S", HalfOpen},
		{"fewer results than any number", with(func(p *Policy) { p.Consecutive, p.MinRequests = 0, math.MaxInt }), strings.Repeat("F", 1000), Closed},
		{"half of 1000 results", with(func(p *Policy) { p.Consecutive, p.MinRequests = 0, 1000 }), strings.Repeat("SF", 500), Open},
		{"the longest window", with(func(p *Policy) { p.Consecutive, p.Window = 0, longest }), strings.Repeat("____SF", 10), Open},
		{"the shortest window", with(func(p *Policy) { p.Consecutive, p.Window = 0, 1 }), strings.Repeat("SF_", 10), Closed},
		{"the longest row", with(func(p *Policy) { p.FailureRate, p.Consecutive = 0, math.MaxInt }), strings.Repeat("F", 1000), Closed},
		{"the longest pause", with(func(p *Policy) { p.OpenFor, p.MaxOpenFor = longest, longest }), "FFFFF____", Open},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.policy, func(t *testing.T, w *world) {
				for _, letter := range tt.plays {
					if letter == '_' {
						time.Sleep(5 * time.Second)
						continue
					}
					w.play(string(letter))
				}
				if s := w.c.Status(time.Now()); s.State != tt.state {
					t.Errorf("the circuit is %s, want %s", s.State, tt.state)
				}
			})
		})
	}
}
