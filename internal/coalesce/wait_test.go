package coalesce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// losing is a host that never answers what lost names, by number from 1, and
// answers the rest after d.
func losing(lost func(n int) bool, d time.Duration) *host {
	h := streaming()
	h.answer = func(n int, f *Flight) (Source, error) {
		if lost(n) {
			return hangs(f)
		}
		select {
		case <-time.After(d):
			return inOnePiece(f, "answer"), nil
		case <-f.Context().Done():
			return Source{}, f.Context().Err()
		}
	}
	return h
}

func first(n int) bool { return n == 1 }

// A crowd asks one question, one caller after the other.
type crowd struct {
	edits    []func(*Ask)  // by turns
	deadline time.Duration // of each; 0: none
	callers  int
	every    time.Duration
}

func asIs(*Ask) {}

var (
	streams = []func(*Ask){asIs}
	jsons   = []func(*Ask){wantJSON}
	both    = []func(*Ask){wantJSON, asIs}
)

// ask returns how many were answered, and how long the slowest of those waited.
// A caller that comes after an answer was kept gets that answer at once.
func (c crowd) ask(t *testing.T, h *host) (answered int, slowest time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	kept := func(a *Ask) {
		a.Changed = func() bool { return h.kept != nil }
		a.Stored = h.isStored
	}
	for n := range c.callers {
		all.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			if c.deadline > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), c.deadline)
			}
			defer cancel()
			start := time.Now()
			ok := h.isStored()
			if !ok {
				got := h.call(ctx, c.edits[n%len(c.edits)], kept)
				ok = got.text == "answer" || got.result == Stored
			}
			took := time.Since(start)
			if c.deadline > 0 && took > c.deadline+2*leaveWait {
				t.Errorf("a caller with a deadline of %v waited %v", c.deadline, took)
			}
			if ok {
				mu.Lock()
				answered++
				slowest = max(slowest, took)
				mu.Unlock()
			}
		})
		time.Sleep(c.every)
	}
	all.Wait()
	return answered, slowest
}

// One call that is lost at a host that would answer the next holds its question
// only for as long as such a call may show nothing, and nobody for longer than half
// of what its deadline leaves.
func TestWait_LockAge(t *testing.T) {
	const s = time.Second
	never := func(int) bool { return false }
	upTo := func(most int) func(int) bool { return func(n int) bool { return n <= most } }
	for _, tt := range []struct {
		name     string
		lost     func(n int) bool
		takes    time.Duration
		crowd    crowd
		answered int // at least
		within   time.Duration
		sent     int // at most
	}{
		{"5 s", first, 0, crowd{streams, 5 * s, 120, s}, 120, 5 * s, 2},
		{"two forms, 5 s", first, 0, crowd{both, 5 * s, 120, s}, 120, 5 * s, 3},
		{"5 s, two are lost", upTo(2), 0, crowd{jsons, 5 * s, 120, s}, 117, 5 * s, 4},
		{"2 s", first, 0, crowd{jsons, 2 * s, 60, s / 4}, 59, 2 * s, 2},
		{"a minute", first, 0, crowd{jsons, time.Minute, 120, s}, 120, 31 * s, 2},
		{"no deadline", first, 0, crowd{streams, 0, 120, s}, 120, 30 * s, 2},
		{"no deadline, and much patience", first, 0, crowd{jsons, 0, 600, s}, 600, 5 * time.Minute, 2},
		{"a host that takes 2 s", first, 2 * s, crowd{jsons, 5 * s, 120, s}, 118, 5 * s, 3},
		{"a host that takes 4 s, and loses none", never, 4 * s, crowd{jsons, 5 * s, 120, s}, 120, 4 * s, 3},
		{"a host that takes 20 s, and loses none", never, 20 * s, crowd{jsons, 5 * s, 120, s}, 104, 5 * s, 9},
		{"a host that is down for 12 s", upTo(5), 0, crowd{jsons, 5 * s, 120, s}, 105, 5 * s, 7},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := losing(tt.lost, tt.takes)
				answered, slowest := tt.crowd.ask(t, h)
				if n := h.requests().sent; answered < tt.answered || slowest > tt.within || n > tt.sent {
					t.Errorf("%d of %d were answered, the slowest after %v, by %d calls; want %d, %v and %d", answered, tt.crowd.callers, slowest, n, tt.answered, tt.within, tt.sent)
				}
				h.isEmpty(t)
			})
		})
	}
}

// A host that is down gets no flood: a new call each lock age, few at once.
func TestWait_ADeadHostGetsNoFlood(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name       string
		crowd      crowd
		sent, most int
	}{
		{"5 s", crowd{jsons, 5 * s, 1200, s / 10}, 120 / 2, maxUnanswered},
		{"300 ms", crowd{streams, 300 * time.Millisecond, 600, s / 100}, 7, 2},
		{"at once", crowd{jsons, 10 * s, 1000, 0}, 3, 3},
		{"each form, 5 s", crowd{both, 5 * s, 600, s / 10}, 2 * 60 / 2, 2 * maxUnanswered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := losing(func(int) bool { return true }, 0)
				tt.crowd.ask(t, h)
				if n := h.requests(); n.sent > tt.sent || n.most > tt.most {
					t.Errorf("%d calls, %d at once, want at most %d and %d", n.sent, n.most, tt.sent, tt.most)
				}
				h.isEmpty(t)
			})
		})
	}
}

// Callers in a hurry have no more than a few calls made for the same at once,
// though others, who have time, stay with each of them.
func TestWait_TheHurriedDoNotFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := losing(func(int) bool { return true }, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 120 {
			all.Go(func() { h.call(ctx) })
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				h.call(ctx)
			})
			time.Sleep(time.Second)
		}
		if want, most := maxUnanswered+120/30, h.requests().most; most > want {
			t.Errorf("%d calls at once, want at most %d: few for who has no time, and one each 30 s", most, want)
		}
		cancel()
		all.Wait()
		h.isEmpty(t)
	})
}

// stalled is a host with a stream that has shown one event, its reader, and what
// makes an answer from then on.
func stalled(t *testing.T, then func(*Flight) (Source, error)) (*host, *caller) {
	h := streaming()
	stream := h.answer
	h.answer = func(n int, f *Flight) (Source, error) {
		if n == 1 {
			return stream(n, f)
		}
		return then(f)
	}
	leader := h.begin(t)
	h.tap(1).send(event(1))
	synctest.Wait()
	return h, leader
}

func answers(text string) func(*Flight) (Source, error) {
	return func(f *Flight) (Source, error) { return inOnePiece(f, text), nil }
}

// A stream that has begun and then shows nothing more is joined for no longer
// than Stall, or half of what a deadline leaves; who has joined it goes on. What
// carries no payload is nothing.
func TestWait_LockAgeOfAStreamThatStalls(t *testing.T) {
	for _, tt := range []struct {
		name     string
		pings    bool // each second
		deadline time.Duration
		json     bool
		from     time.Duration // who comes so long after the last event asks anew
	}{
		{"no deadline", false, 0, false, time.Minute},
		{"no deadline, pings", true, 0, false, time.Minute},
		{"5 s", false, 5 * time.Second, false, 2500 * time.Millisecond},
		{"5 s, pings", true, 5 * time.Second, false, 2500 * time.Millisecond},
		{"JSON, 5 s", false, 5 * time.Second, true, 2500 * time.Millisecond},
	} {
		for _, early := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/early=%v", tt.name, early), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h, leader := stalled(t, answers("anew"))
					wait := tt.from
					if early {
						wait -= time.Second / 2
					}
					for ; tt.pings && wait > time.Second; wait -= time.Second {
						time.Sleep(time.Second)
						h.tap(1).ping(event(0))
					}
					time.Sleep(wait)
					ctx := t.Context()
					if tt.deadline > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, tt.deadline)
						defer cancel()
					}
					edit := asIs
					if tt.json {
						edit = wantJSON
					}
					late := h.beginIn(ctx, edit)
					if anew := h.requests().sent == 2; anew == early {
						t.Errorf("who comes asks anew: %v, want %v", anew, !early)
					}
					h.tap(1).finish()
					h.tap(1).stop(io.EOF)
					h.isEmpty(t)
					if leader.ended != io.EOF || late.ended != io.EOF {
						t.Errorf("the leader's stream ended in %v, the other's in %v", leader.ended, late.ended)
					}
				})
			})
		}
	}
}

// Who waits for all of a stream, and sees it stall, asks anew while there is time;
// and takes the stream, if that goes on first.
func TestWait_AllOfAStreamThatStalls(t *testing.T) {
	for _, goesOn := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			h, leader := stalled(t, func(f *Flight) (Source, error) { <-release; return inOnePiece(f, "JSON"), nil })
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			json := h.beginIn(ctx, wantJSON)
			want := event(1)
			for n := range 4 {
				time.Sleep(time.Second)
				want += event(n)
				h.tap(1).send(event(n))
			}
			synctest.Wait()
			if n := h.requests().sent; n != 1 {
				t.Fatalf("%d calls while the stream goes on, want 1", n)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if n := h.requests().sent; n != 2 {
				t.Errorf("%d calls 5 s after the stream stalled, want 2", n)
			}
			if goesOn {
				h.tap(1).finish()
				synctest.Wait()
				want += lastEvent
			} else {
				want = "JSON"
			}
			close(release)
			synctest.Wait()
			if json.text != want {
				t.Errorf("who waits for all read %q, %v, want %q", json.text, json.ended, want)
			}
			leader.cancel()
			h.isEmpty(t)
		})
	}
}

// Who waits in two flights that hang, one of them an answered stream, hears of a
// third that has answered.
func TestWait_AThirdAnswerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var well atomic.Bool
		h, leader := stalled(t, func(f *Flight) (Source, error) {
			if well.Load() {
				return inOnePiece(f, "JSON"), nil
			}
			return hangs(f)
		})
		waiting := h.begin(t, wantJSON, func(a *Ask) { a.Stored = h.isStored }) // for all of it, without a deadline
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := h.requests().sent; n != 2 {
			t.Fatalf("%d calls: nothing is tested", n)
		}
		well.Store(true)
		time.Sleep(10 * time.Minute)
		third := h.begin(t, wantJSON)
		if third.text != "JSON" || waiting.result != Stored {
			t.Errorf("the third read %q, who waits for the same came out as %d, want the answer, and that it is kept", third.text, waiting.result)
		}
		leader.cancel()
		h.isEmpty(t)
	})
}

// Streams that have answered, and that nobody new joins, do not count among the
// calls that are made for the sake of callers with little time.
func TestWait_StalledStreamsAreNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		stream := h.answer
		h.answer = func(n int, f *Flight) (Source, error) {
			switch {
			case n <= maxUnanswered:
				return stream(n, f)
			case n == maxUnanswered+1:
				return hangs(f)
			}
			return inOnePiece(f, "answer"), nil
		}
		var patient []*caller
		for n := range maxUnanswered {
			patient = append(patient, h.begin(t))
			h.tap(n + 1).send(event(1))
			time.Sleep(61 * time.Second)
		}
		answered, slowest := crowd{streams, 5 * time.Second, 60, time.Second}.ask(t, h)
		if n := h.requests().sent - maxUnanswered; answered < 60 || n > 2 {
			t.Errorf("%d of 60 were answered, the slowest after %v, by %d more calls, want all, by 2", answered, slowest, n)
		}
		for _, c := range patient {
			c.cancel()
		}
		h.isEmpty(t)
	})
}

// Who has been overtaken, the leader too, takes the answer of the other call, kept
// or coming in, and its own is let go of.
func TestWait_TheFirstAnswerIsEverybodys(t *testing.T) {
	for _, streams := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			stream := h.answer
			h.answer = func(n int, f *Flight) (Source, error) {
				switch {
				case n == 1:
					return hangs(f)
				case streams:
					return stream(n, f)
				}
				return inOnePiece(f, "answer"), nil
			}
			kept := func(a *Ask) { a.Stored = h.isStored }
			leader, follower := h.begin(t, kept), h.begin(t, kept)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			unanswered := h.beginIn(ctx) // asks anew after a second
			time.Sleep(1500 * time.Millisecond)
			if streams {
				h.tap(1).send(event(1))
				h.tap(1).finish()
				h.tap(1).stop(io.EOF)
			}
			synctest.Wait()
			if n := h.requests(); n.sent != 2 || n.open != 0 {
				t.Errorf("%d calls, %d of them open, want 2, and none", n.sent, n.open)
			}
			for name, c := range map[string]*caller{"leader": leader, "follower": follower, "hurried": unanswered} {
				if ok := c.text == event(1)+lastEvent || !streams && (c.text == "answer" || c.result == Stored); !ok {
					t.Errorf("streams %v: the %s read %q, %d, %v", streams, name, c.text, c.result, c.err)
				}
			}
			h.isEmpty(t)
		})
	}
}

// Whose an answer is: callers take what is theirs, and others share the next call
// with those of their kind, so that a failure makes no herd.
func TestWait_WhoseAnAnswerIs(t *testing.T) {
	const callers = 100
	failed := func(f *Flight) (Source, error) {
		return Source{Body: io.NopCloser(nil), Whole: true, End: io.EOF, Failed: true}, nil
	}
	errFailed := errors.New("failed")
	attempts := func(n int) func(*Ask) { return func(a *Ask) { a.Terms.Attempts = n } }
	for _, tt := range []struct {
		name     string
		first    func(*Flight) (Source, error)
		leads    func(*Ask)
		follower func(n int) func(*Ask)
		sent     int
	}{
		{"an answer is everybody's", answers("well"), of('a'), func(n int) func(*Ask) { return of(byte(n)) }, 1},
		{"what is not judged is its credential's", func(*Flight) (Source, error) { return refused("no"), nil }, of('a'), func(n int) func(*Ask) { return of('a') }, 1},
		{"and not another's", func(*Flight) (Source, error) { return refused("no"), nil }, of('a'), func(n int) func(*Ask) { return of('b') }, 2},
		{"nor five others'", func(*Flight) (Source, error) { return refused("no"), nil }, of('a'), func(n int) func(*Ask) { return of(byte(n % 5)) }, 6},
		{"a failure is who may try as often", failed, attempts(2), func(int) func(*Ask) { return attempts(2) }, 1},
		{"or less", failed, attempts(2), func(int) func(*Ask) { return attempts(1) }, 1},
		{"but not who may try more often", failed, attempts(2), func(int) func(*Ask) { return attempts(3) }, 2},
		{"a failure that comes as an error is shared, too", func(*Flight) (Source, error) { return Source{Failed: true}, errFailed }, of('a'), func(int) func(*Ask) { return of('a') }, 1},
		{"another error is the leader's", func(*Flight) (Source, error) { return Source{}, errFailed }, of('a'), func(int) func(*Ask) { return of('a') }, 2},
		{"what is for the leader only", func(f *Flight) (Source, error) { f.Completion.Narrow(LeaderOnly); return inOnePiece(f, "mine"), nil }, asIs, func(int) func(*Ask) { return asIs }, 1 + callers},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := streaming()
				h.answer = func(n int, f *Flight) (Source, error) {
					time.Sleep(time.Second)
					if n == 1 {
						return tt.first(f)
					}
					return inOnePiece(f, "second"), nil
				}
				h.begin(t, tt.leads)
				var followers []*caller
				for n := range callers {
					followers = append(followers, h.begin(t, tt.follower(n)))
				}
				time.Sleep(time.Minute)
				h.isEmpty(t)
				second := 0
				for _, c := range followers {
					if !c.done {
						t.Error("a follower still waits")
					}
					if c.text == "second" {
						second++
					}
				}
				if n := h.requests().sent; n != tt.sent || (second > 0) != (tt.sent > 1) {
					t.Errorf("%d calls, want %d; %d of the followers got another answer", n, tt.sent, second)
				}
			})
		})
	}
}

// A call that may give up early, for it has something to fall back on, is not
// shared by who has nothing.
func TestWait_Fallbacks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		fallback := func(a *Ask) { a.Terms.Fallback = true }
		one, two := h.begin(t, fallback), h.begin(t, fallback)
		if n := h.requests().sent; n != 1 {
			t.Errorf("%d calls by two that have a fallback, want 1", n)
		}
		none := h.begin(t)
		if n := h.requests().sent; n != 2 {
			t.Errorf("%d calls, want another for who has no fallback", n)
		}
		for _, c := range []*caller{one, two, none} {
			c.cancel()
		}
		h.isEmpty(t)
	})
}

// Who is to be alone shares with nobody, and nobody with him.
func TestWait_Alone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		var all []*caller
		for _, edit := range []func(*Ask){alone, alone, asIs, asIs, alone} {
			all = append(all, h.begin(t, edit))
		}
		if n := h.requests().sent; n != 4 {
			t.Errorf("%d calls by five, two of whom may share, want 4", n)
		}
		for _, c := range all {
			c.cancel()
		}
		h.isEmpty(t)
	})
}

// The caller's end ends its wait at once if what is below heeds its context, and
// shortly after if not.
func TestWait_TheCallersEnd(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			h.answer = func(_ int, f *Flight) (Source, error) {
				if heeds {
					return hangs(f)
				}
				time.Sleep(time.Minute)
				return inOnePiece(f, "late"), nil
			}
			cause := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			c := h.call(ctx)
			if most := time.Second + leaveWait; c.result != CallerLeft || c.err != cause || c.took > most || heeds && c.took > time.Second {
				t.Errorf("heeding %v: came out as %d in %v after %v, want %v within %v", heeds, c.result, c.err, c.took, cause, most)
			}
			time.Sleep(time.Minute)
			h.isEmpty(t)
		})
	}
}

// What a renewal brings is for those who join it, too.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		renew := func(list bool) *Renewal { return h.Renew(t.Context(), h.ask(), list) }
		r := renew(true)
		if again := renew(true); again != nil {
			t.Error("another renewal for the same has begun")
		}
		go r.Run()
		synctest.Wait()
		var in bool
		joined := h.begin(t, func(a *Ask) {
			a.Take = func(f *Follower) bool { return true }
		})
		w := h.Wait(t.Context(), h.ask(func(a *Ask) { a.Take = func(*Follower) bool { return true } }))
		if in = w.Join() && w.InRenewal(); !in {
			t.Error("who comes does not join the renewal")
		}
		w.Leave()
		if !r.IsAnswered() {
			t.Error("a renewal that streams is not answered")
		}
		h.tap(1).send(event(1))
		h.tap(1).finish()
		h.tap(1).stop(io.EOF)
		h.isEmpty(t)
		if !h.isStored() || !joined.done {
			t.Errorf("the renewal is kept: %v", h.isStored())
		}
	})
}

// A renewal that shows nothing gives itself up, and before that keeps nobody from
// renewing for longer than such a call may show nothing.
func TestRenewal_Lost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := losing(first, 0)
		lost := h.Renew(t.Context(), h.ask(), true)
		ended := make(chan time.Time, 1)
		start := time.Now()
		go func() { lost.Run(); ended <- time.Now() }()
		time.Sleep(29 * time.Second)
		if h.Renew(t.Context(), h.ask(), true) != nil {
			t.Error("after 29 s another renewal has begun")
		}
		time.Sleep(2 * time.Second)
		if took := (<-ended).Sub(start); took > 31*time.Second || lost.IsAnswered() == false {
			t.Errorf("a lost renewal has ended after %v", took)
		}
		next := h.Renew(t.Context(), h.ask(), true)
		if next == nil {
			t.Fatal("after 31 s no other renewal begins")
		}
		next.Run()
		h.isEmpty(t)
		if !h.isStored() {
			t.Error("the next one is not kept")
		}
	})
}

// A renewal gives itself up where another call for the same has answered, and ends
// with its context.
func TestRenewal_GivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := losing(first, 0)
		r := h.Renew(t.Context(), h.ask(), true)
		ended := false
		go func() { r.Run(); ended = true }()
		synctest.Wait()
		h.begin(t, alone)
		if !ended || h.requests().open != 0 {
			t.Errorf("another has answered: the renewal has ended: %v, %d calls are open", ended, h.requests().open)
		}
		h.isEmpty(t)
	})
	synctest.Test(t, func(t *testing.T) {
		h := losing(first, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		h.Renew(ctx, h.ask(), false).Run()
		h.isEmpty(t)
	})
}

// A renewal that cannot be run fails those who have joined it, who ask anew; so
// does one whose observer panics.
func TestRenewal_NotRun(t *testing.T) {
	for _, panics := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := losing(func(int) bool { return false }, 0)
			r := h.Renew(t.Context(), h.ask(func(a *Ask) { a.OnLead = func() { panic("observer") } }), true)
			joined := h.begin(t)
			if joined.done {
				t.Fatal("nobody has joined: nothing is tested")
			}
			if panics {
				func() {
					defer func() {
						if p := recover(); p != "observer" {
							t.Errorf("Run panics with %v", p)
						}
					}()
					r.Run()
				}()
			} else {
				r.Drop()
			}
			synctest.Wait()
			if joined.text != "answer" || joined.err != nil {
				t.Errorf("who has joined read %q, %v", joined.text, joined.err)
			}
			h.isEmpty(t)
		})
	}
}
