package coalesce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
)

// What followers read is the same whatever the pace and the sizes of their reads.
func TestFlight_FollowersReadTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		var callers sync.WaitGroup
		got := make([]string, 50)
		for i := range got {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Millisecond)
				f, err := h.take(t.Context(), &caller{}, h.ask())
				if err != nil {
					t.Error(err)
					return
				}
				defer f.Close()
				buf := make([]byte, 1+i*i)
				for {
					n, err := f.Read(buf)
					got[i] += string(buf[:n])
					if err != nil {
						if err != io.EOF {
							t.Error(err)
						}
						return
					}
					time.Sleep(time.Duration(i%5) * time.Millisecond)
				}
			})
		}
		synctest.Wait()
		want := ""
		for n := range 40 {
			want += event(n)
			h.tap(1).send(event(n))
			time.Sleep(10 * time.Millisecond)
		}
		h.tap(1).finish()
		h.tap(1).stop(io.EOF)
		callers.Wait()
		for i, text := range got {
			if text != want+lastEvent {
				t.Errorf("caller %d read %d bytes, want %d", i, len(text), len(want+lastEvent))
			}
		}
		if n := h.requests().sent; n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		h.isEmpty(t)
	})
}

// Who comes late gets what has come so far at once, and then follows live.
func TestFlight_LateFollowersFollowLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		leader := h.begin(t)
		h.tap(1).send(event(1))
		h.tap(1).send(event(2))
		synctest.Wait()
		late := h.begin(t)
		if late.text != event(1)+event(2) {
			t.Errorf("a late follower has %q, want what has come so far", late.text)
		}
		h.tap(1).send(event(3))
		synctest.Wait()
		if late.text != leader.text || !strings.HasSuffix(late.text, event(3)) {
			t.Errorf("the leader has %q, the late follower %q", leader.text, late.text)
		}
		h.tap(1).finish()
		h.tap(1).stop(io.EOF)
		h.isEmpty(t)
		if leader.ended != io.EOF || late.ended != io.EOF || leader.wait.Shares() || !late.wait.Shares() || late.wait.HasLed() {
			t.Errorf("they ended in %v and %v; shared: %v, %v", leader.ended, late.ended, leader.wait.Shares(), late.wait.Shares())
		}
	})
}

// An answer is kept at its terminator, before anybody reads that.
func TestFlight_KeepsAtTheTerminator(t *testing.T) {
	for _, tt := range []struct {
		name string
		last func(*Completion)
		kept bool
	}{
		{"whole", func(c *Completion) { c.Complete("host", true, true, false) }, true},
		{"not to stand for other answers", func(c *Completion) { c.Complete("host", true, false, false) }, false},
		{"flawed", func(c *Completion) { c.Complete("host", false, false, false) }, false},
		{"not for everybody", func(c *Completion) { c.Private(); c.Complete("host", true, true, false) }, false},
		{"not whole", func(*Completion) {}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			c := h.begin(t)
			h.tap(1).send(event(1))
			h.tap(1).add(chunk{text: lastEvent, then: tt.last})
			h.tap(1).ping("a tail")
			synctest.Wait()
			want := []string{event(1) + lastEvent}
			if !tt.kept {
				want = nil
			}
			if fmt.Sprint(h.kept) != fmt.Sprint(want) {
				t.Errorf("%s: kept %q, want %q", tt.name, h.kept, want)
			}
			c.cancel()
			h.isEmpty(t)
		})
	}
	c := new(Completion)
	if c.Complete("host", true, true, true); c.Endpoint() != "host" || !c.Usage() {
		t.Errorf("the answer is of %q, with usage: %v", c.Endpoint(), c.Usage())
	}
}

// A call is read no faster than the fastest of its followers reads.
func TestFlight_ReadsNoFasterThanTheFastest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		go func() {
			synctest.Wait()
			for n := range 100 {
				h.tap(1).send(event(n))
			}
		}()
		f, err := h.take(t.Context(), &caller{}, h.ask())
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(f, make([]byte, len(event(1))))
		synctest.Wait()
		if ahead := 99 - h.tap(1).left(); ahead > 2 {
			t.Errorf("%d events were read ahead of who has read one", ahead)
		}
		f.Close()
		h.isEmpty(t)
	})
}

// A slow follower holds nobody up, and what is held for it is bounded. It is cut off
// with a typed error, after the rest of the event it is in, and with the event
// that tells of the error.
func TestFlight_SlowFollower(t *testing.T) {
	const held = 100_000
	for _, read := range []int{5, len(event(1))} { // within an event, and at its end
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			h.held = held
			fast := h.begin(t)
			slow, _ := h.take(t.Context(), &caller{}, h.ask())
			h.tap(1).send(event(1))
			synctest.Wait()
			got := make([]byte, read)
			io.ReadFull(slow, got)
			for range 10 {
				h.tap(1).send(longEvent(held / 2))
				synctest.Wait()
			}
			if n := cap(slow.flight.data); n > 4*held {
				t.Errorf("%d bytes are held, want a few times %d", n, held)
			}
			late := h.begin(t) // nobody joins what has lost its beginning
			if n := h.requests().sent; n != 2 {
				t.Errorf("%d calls for another caller, want 2", n)
			}
			h.tap(1).finish()
			h.tap(1).stop(io.EOF)
			synctest.Wait()
			if fast.ended != io.EOF || !strings.HasSuffix(fast.text, lastEvent) {
				t.Errorf("the fast one ended in %v", fast.ended)
			}
			rest, err := io.ReadAll(slow)
			want := event(1) + "data: broke off\n\n"
			if got = append(got, rest...); string(got) != want || !errors.Is(err, outcome.ErrTruncated) || !errors.Is(err, errBehind) {
				t.Errorf("the slow one read %q, %v, want %q and a typed error", got, err, want)
			}
			if h.isStored() {
				t.Error("an answer that is not held from its beginning was kept")
			}
			slow.Close()
			late.cancel()
			h.isEmpty(t)
		})
	}
}

// A follower is not cut off if it is no farther behind than the bytes that may be held.
func TestFlight_SlowFollowerWithinTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		fast := h.begin(t)
		slow, _ := h.take(t.Context(), &caller{}, h.ask())
		want := ""
		for n := range 100 {
			want += event(n)
			h.tap(1).send(event(n))
			synctest.Wait()
		}
		h.tap(1).finish()
		h.tap(1).stop(io.EOF)
		synctest.Wait()
		got, err := io.ReadAll(slow)
		if fast.text != want+lastEvent || string(got) != want+lastEvent || err != nil {
			t.Errorf("the fast one read %d bytes, the slow one %d, %v, want %d", len(fast.text), len(got), err, len(want+lastEvent))
		}
		slow.Close()
		h.isEmpty(t)
	})
}

// Who reads all there is is not too far behind, however much comes at once and
// however little may be held.
func TestFlight_SoleFollowerIsNeverBehind(t *testing.T) {
	for _, size := range []int{50, 5000, 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			h.held = 100
			c := h.begin(t)
			for range 5 {
				h.tap(1).send(longEvent(size))
			}
			h.tap(1).finish()
			h.tap(1).stop(io.EOF)
			synctest.Wait()
			if want := strings.Repeat(longEvent(size), 5) + lastEvent; c.text != want || c.ended != io.EOF {
				t.Errorf("events of %d bytes: the only caller read %d, %v, want %d", size, len(c.text), c.ended, len(want))
			}
			h.isEmpty(t)
		})
	}
}

// Behind the terminator the body is read on and closed, though the caller, like
// several SDKs, neither reads on nor closes.
func TestFlight_NobodyCloses(t *testing.T) {
	for _, held := range []int64{1 << 20, 100} { // and one that is not held from its beginning
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			h.held = held
			var f *Follower
			go func() { f, _ = h.take(t.Context(), &caller{}, h.ask()) }()
			synctest.Wait()
			for range 10 {
				h.tap(1).send(longEvent(100))
			}
			h.tap(1).finish()
			h.tap(1).stop(io.EOF)
			io.ReadFull(f, make([]byte, 10*len(longEvent(100))+len(lastEvent)))
			synctest.Wait()
			if !h.tap(1).isClosed() {
				t.Errorf("held %d: the body is open", held)
			}
			f.Close()
			h.isEmpty(t)
		})
	}
}

// A host that goes on after the terminator cuts off no slow follower of what was
// before it, and is let go of, though somebody reads on.
func TestFlight_TailIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		h.held = 2000
		fast := h.begin(t)
		slow, _ := h.take(t.Context(), &caller{}, h.ask())
		h.tap(1).send(event(1))
		h.tap(1).finish()
		for range 100 {
			h.tap(1).send(strings.Repeat(event(2), 100))
		}
		synctest.Wait()
		if !h.tap(1).isClosed() || fast.ended != io.EOF {
			t.Errorf("behind the terminator: a closed body: %v, the fast one's end %v, want both", h.tap(1).isClosed(), fast.ended)
		}
		want := event(1) + lastEvent
		got, err := io.ReadAll(slow)
		if !strings.HasPrefix(string(got), want) || len(got) > len(want)+2*maxTail || err != nil {
			t.Errorf("the slow one read %d bytes, %v, want %d, at most %d more, and a clean end", len(got), err, len(want), 2*maxTail)
		}
		slow.Close()
		h.isEmpty(t)
	})
}

// What a host says after the terminator moves nothing of the whole answer while
// somebody makes another one of it.
func TestFlight_TailMovesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		h.held = 400_000
		body := longEvent(390_000)
		leader := h.begin(t)
		var seen atomic.Int32
		for range 3 {
			go h.call(t.Context(), wantJSON, func(a *Ask) {
				a.Take = func(f *Follower) bool {
					all, ok := f.All()
					for range 100 {
						time.Sleep(time.Millisecond) // while the tail comes
						if !ok || string(all) != body+lastEvent {
							t.Errorf("all of the answer is %d bytes, %v, want %d", len(all), ok, len(body+lastEvent))
							return true
						}
					}
					seen.Add(1)
					return true
				}
			})
		}
		synctest.Wait()
		h.tap(1).send(body)
		h.tap(1).finish()
		for range 1000 {
			h.tap(1).send(event(1))
			time.Sleep(100 * time.Microsecond)
		}
		h.tap(1).stop(io.EOF)
		time.Sleep(time.Second)
		if seen.Load() != 3 || h.requests().sent != 1 {
			t.Errorf("%d of 3 had all, after %d calls", seen.Load(), h.requests().sent)
		}
		leader.cancel()
		h.isEmpty(t)
	})
}

// Who wants another form than comes waits for all of it, which comes as fast as
// the host sends it. One that grows too large for that is left to who reads it, or
// let go of if nobody does.
func TestFlight_AllOfTheAnswer(t *testing.T) {
	for _, tt := range []struct {
		name   string
		send   func(*tap)
		leaves bool // the leader, who reads nothing
		second bool // a call is made for who waits
	}{
		{"whole", func(b *tap) { b.send(event(1)); b.finish() }, false, false},
		{"whole, and the leader has left", func(b *tap) { b.send(event(1)); b.finish() }, true, false},
		{"broken", func(b *tap) { b.send(event(1)); b.stop(outcome.ErrTruncated) }, false, true},
		{"too large", func(b *tap) { b.send(longEvent(3000)) }, false, true},
		{"too large, and the leader has left", func(b *tap) { b.send(longEvent(3000)) }, true, true},
		{"not for others any more", func(b *tap) { b.add(chunk{text: event(1), then: func(c *Completion) { c.Narrow(LeaderOnly) }}) }, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := streaming()
				h.held = 1000
				h.answer = func(n int, f *Flight) (Source, error) {
					if n == 1 {
						return h.stream(f), nil
					}
					return inOnePiece(f, "JSON"), nil
				}
				leader, _ := h.take(t.Context(), &caller{}, h.ask())
				json := h.begin(t, wantJSON)
				if tt.leaves {
					leader.Close()
				}
				tt.send(h.tap(1))
				synctest.Wait()
				want := event(1) + lastEvent
				if tt.second {
					want = "JSON"
				}
				if json.text != want || json.ended != io.EOF {
					t.Errorf("who waits for all read %q, %v, want %q", json.text, json.ended, want)
				}
				if !tt.leaves && strings.HasPrefix(tt.name, "too large") { // at its own pace
					h.tap(1).stop(io.EOF)
					if got, err := io.ReadAll(leader); string(got) != longEvent(3000) || err != nil {
						t.Errorf("who reads it read %d bytes, %v", len(got), err)
					}
				}
				leader.Close()
				h.isEmpty(t)
			})
		})
	}
}

// What an answer goes on with goes as far as that says: who may not have it reads
// what came before, and then an error.
func TestFlight_Narrows(t *testing.T) {
	for reach, may := range map[Reach][2]bool{Everyone: {true, true}, SameCredential: {true, false}, LeaderOnly: {false, false}} {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			leader, same, other := h.begin(t, of('a')), h.begin(t, of('a')), h.begin(t, of('b'))
			h.tap(1).send(event(1))
			synctest.Wait()
			h.tap(1).add(chunk{text: event(2), payload: true, then: func(c *Completion) { c.Narrow(reach) }})
			synctest.Wait()
			late := h.begin(t, of('a'))
			if joins := h.requests().sent == 1; joins != (reach == Everyone) {
				t.Errorf("reach %d: others join: %v", reach, joins)
			}
			h.tap(1).finish()
			h.tap(1).stop(io.EOF)
			synctest.Wait()
			check := func(name string, c *caller, may bool) {
				all := event(1) + event(2) + lastEvent
				if may && (c.text != all || c.ended != io.EOF) || !may && (c.text != event(1)+"data: broke off\n\n" || !errors.Is(c.ended, errNotShared)) {
					t.Errorf("reach %d: the %s read %q, %v; it may have all: %v", reach, name, c.text, c.ended, may)
				}
			}
			check("leader", leader, true)
			check("same", same, may[0])
			check("other", other, may[1])
			if kept := h.isStored(); kept != (reach == Everyone) {
				t.Errorf("reach %d: kept: %v", reach, kept)
			}
			late.cancel()
			h.isEmpty(t)
		})
	}
}

// The host's own event that an answer breaks off in is for the credential that it
// was said to. Others hear of the error.
func TestFlight_BreaksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		leader, same, other := h.begin(t, of('a')), h.begin(t, of('a')), h.begin(t, of('b'))
		h.tap(1).send(event(1))
		h.tap(1).ping("data: half")
		synctest.Wait()
		h.tap(1).tell.Break([]byte("data: org-SECRET\n\n"))
		h.tap(1).stop(outcome.ErrBadResponse)
		h.isEmpty(t)
		begun := event(1) + "data: half\n\n"
		for c, want := range map[*caller]string{leader: "data: org-SECRET\n\n", same: "data: org-SECRET\n\n", other: "data: broke off\n\n"} {
			if c.text != begun+want || !errors.Is(c.ended, outcome.ErrBadResponse) {
				t.Errorf("read %q, %v, want %q", c.text, c.ended, begun+want)
			}
		}
		if f := leader.wait.taken.flight; f.data != nil || f.Completion.failureEvent() != nil {
			t.Error("a flight that is over holds its answer")
		}
	})
}

// The last follower to leave ends the call, however it leaves; nobody joins that.
func TestFlight_LastToLeave(t *testing.T) {
	for _, closes := range []bool{true, false} {
		for _, answered := range []bool{true, false} {
			if closes && !answered {
				continue // there is nothing to close
			}
			t.Run(fmt.Sprintf("closes=%v/answered=%v", closes, answered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := streaming()
					var flight *Flight
					stream := h.answer
					h.answer = func(n int, f *Flight) (Source, error) {
						if n == 1 {
							flight = f
						}
						if !answered {
							return hangs(f)
						}
						return stream(n, f)
					}
					one, two := h.begin(t), h.begin(t)
					end := func(c *caller) {
						if closes {
							c.wait.taken.Close()
						} else {
							c.cancel()
						}
						synctest.Wait()
					}
					if end(one); flight.ctx.Err() != nil || !one.done || two.done {
						t.Fatalf("with one left: context %v, done: %v, %v", flight.ctx.Err(), one.done, two.done)
					}
					if end(two); flight.ctx.Err() == nil || !two.done {
						t.Errorf("with none left: context %v, done: %v", flight.ctx.Err(), two.done)
					}
					if err := flight.ctx.Err(); !errors.Is(err, context.Canceled) {
						t.Errorf("the call's context ended in %v, want %v", err, context.Canceled)
					}
					third := h.begin(t)
					if n := h.requests().sent; n != 2 {
						t.Errorf("%d calls after a third caller came, want 2", n)
					}
					third.cancel()
					h.isEmpty(t)
				})
			})
		}
	}
}

// A body that does not heed the context of its call is closed by who closes last,
// though its part has ended by a cancel before.
func TestFlight_CloseReachesTheBody(t *testing.T) {
	for _, cancels := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			pr, pw := io.Pipe()
			h.answer = func(_ int, f *Flight) (Source, error) {
				return Source{Body: pr, Success: true, Judged: true, AsAsked: true}, nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			f, err := h.take(ctx, &caller{}, h.ask())
			if err != nil {
				t.Fatal(err)
			}
			f.Watch(ctx, nil)
			go io.ReadAll(f)
			synctest.Wait()
			if cancels {
				cancel()
				synctest.Wait()
			}
			f.Close()
			if _, err := io.WriteString(pw, "more"); err != io.ErrClosedPipe {
				t.Errorf("the host's next write ended in %v, want a closed body", err)
			}
			cancel()
			h.isEmpty(t)
		})
	}
}

// A flight's deadline is the latest of its followers', and its values are the
// leader's.
func TestFlight_Deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type name struct{}
		h := streaming()
		within := func(d time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeout(context.WithValue(t.Context(), name{}, d), d)
		}
		short, cancel := within(time.Minute)
		defer cancel()
		long, cancel := within(time.Hour)
		defer cancel()
		one := h.beginIn(short)
		flight := h.peers[question].flights[0]
		deadline, ok := flight.Context().Deadline()
		if want, _ := short.Deadline(); deadline != want || !ok {
			t.Errorf("the deadline is %v, %v, want %v", deadline, ok, want)
		}
		two := h.beginIn(long)
		if deadline, ok = flight.Context().Deadline(); !ok || time.Until(deadline) != time.Hour {
			t.Errorf("with another the deadline is %v, %v, want an hour from now", deadline, ok)
		}
		if v := flight.Context().Value(name{}); v != time.Minute {
			t.Errorf("the context's value is %v, want the leader's", v)
		}
		none := h.begin(t)
		if _, ok = flight.Context().Deadline(); ok {
			t.Error("with one that has none there is a deadline")
		}
		none.cancel()
		two.cancel()
		h.tap(1).send(event(1))
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if !errors.Is(one.ended, context.DeadlineExceeded) || !errors.Is(flight.Context().Err(), context.DeadlineExceeded) {
			t.Errorf("the last one's deadline ended it in %v, and the flight in %v", one.ended, flight.Context().Err())
		}
		h.isEmpty(t)
	})
}

// What panics in a call panics in the leader; the others ask anew. What panics in
// a body panics in one of its readers, and the others hear of an error.
func TestFlight_Panics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		release := make(chan struct{})
		h.answer = func(n int, f *Flight) (Source, error) {
			if n == 1 {
				<-release
				panic("the call's")
			}
			return inOnePiece(f, "well"), nil
		}
		leader, other := h.begin(t), h.begin(t)
		close(release)
		synctest.Wait()
		if leader.panics != "the call's" || other.text != "well" {
			t.Errorf("the leader's panic: %v; the other read %q, %v", leader.panics, other.text, other.err)
		}
		h.isEmpty(t)
	})
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		gate := make(chan struct{})
		h.answer = func(_ int, f *Flight) (Source, error) {
			body := io.MultiReader(strings.NewReader(event(1)), readerFunc(func([]byte) (int, error) { <-gate; panic("the body's") }))
			return Source{Body: io.NopCloser(body), Success: true, Judged: true, Events: true, AsAsked: true}, nil
		}
		callers := []*caller{h.begin(t), h.begin(t), h.begin(t)}
		close(gate)
		h.isEmpty(t)
		panics, told := 0, 0
		for _, c := range callers {
			if c.panics == "the body's" {
				panics++
			}
			if errors.Is(c.ended, outcome.ErrTruncated) && c.text == event(1)+"data: broke off\n\n" {
				told++
			}
		}
		if panics != 1 || told != 2 {
			t.Errorf("%d of 3 readers panicked and %d were told, want 1 and 2", panics, told)
		}
	})
	synctest.Test(t, func(t *testing.T) { // in Close, of a flight that all have left
		h := streaming()
		h.answer = func(_ int, f *Flight) (Source, error) {
			return Source{Body: panicky{strings.NewReader(event(1))}, Success: true, Judged: true, AsAsked: true}, nil
		}
		if c := h.call(t.Context()); c.panics != "Close" {
			t.Errorf("the reader's panic: %v, ended in %v", c.panics, c.ended)
		}
		h.isEmpty(t)
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A panicky body panics when it is closed.
type panicky struct{ io.Reader }

func (panicky) Close() error { panic("Close") }

// An observer that panics before a flight is run leaves nobody waiting for it.
func TestFlight_Abandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		h.answer = func(_ int, f *Flight) (Source, error) { return inOnePiece(f, "well"), nil }
		release := make(chan struct{})
		leader := h.begin(t, func(a *Ask) { a.OnLead = func() { <-release; panic("observer") } })
		other := h.begin(t)
		if other.done {
			t.Fatal("nobody waits: nothing is tested")
		}
		close(release)
		synctest.Wait()
		if leader.panics != "observer" || other.text != "well" || other.err != nil {
			t.Errorf("the leader's panic: %v; the other read %q, %v", leader.panics, other.text, other.err)
		}
		h.isEmpty(t)
	})
}

// An answer that lands as the last one leaves is closed, whoever is first.
func TestFlight_LandsAsTheLastOneLeaves(t *testing.T) {
	for range 200 {
		synctest.Test(t, func(t *testing.T) {
			h := streaming()
			stream := h.answer
			h.answer = func(n int, f *Flight) (Source, error) { time.Sleep(time.Second); return stream(n, f) }
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			h.call(ctx)
			time.Sleep(time.Second)
			h.isEmpty(t)
		})
	}
}

// A reader after Close gets an error, not bytes.
func TestFlight_ReadAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := streaming()
		f, _ := h.take(t.Context(), &caller{}, h.ask())
		h.tap(1).send(event(1))
		f.Close()
		if n, err := f.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
			t.Errorf("Read after Close = %d, %v, want an error", n, err)
		}
		h.isEmpty(t)
	})
}

// A limit of the application's own stops a flight that may not wait for it, or not for as
// long as a caller may: that is no failure of the caller's.
func TestFlight_LimitsAreTheLeadersOwn(t *testing.T) {
	now := time.Now()
	at := func(d time.Duration) Terms { return Terms{until: now.Add(d)} }
	never := Terms{until: orNever(time.Time{})}
	for _, tt := range []struct {
		name             string
		renewal, limited bool
		leads, follows   Terms
		want             bool
	}{
		{"as long", false, true, at(time.Second), at(time.Second), true},
		{"less long", false, true, at(time.Second), at(time.Second - 1), true},
		{"longer", false, true, at(time.Second), at(time.Second + 1), false},
		{"for ever", false, true, at(time.Second), never, false},
		{"both for ever", false, true, never, never, true},
		{"a renewal", true, true, never, at(time.Second), false},
		{"another failure", false, false, at(time.Second), never, true},
		{"another failure of a renewal", true, false, at(time.Second), never, true},
	} {
		f := &Flight{renewal: tt.renewal, terms: tt.leads, source: Source{Failed: true, Limited: tt.limited}}
		if got := f.suits(tt.follows); got != tt.want {
			t.Errorf("%s: suits() = %v, want %v", tt.name, got, tt.want)
		}
	}
}
