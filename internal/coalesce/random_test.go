package coalesce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Callers of every kind come, read, leave and close at random, while hosts answer
// late, in part or not at all. Whoever reads to a clean end has all of one answer,
// nobody reads anything else, and nothing is left. A round is the same again by
// its seed, but for which of several goroutines is first.
func TestAtRandom(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	var ends, breaks, left atomic.Int32
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playRound(t, uint64(seed), &ends, &breaks, &left) })
		})
	}
	if ends.Load() == 0 || breaks.Load() == 0 || left.Load() == 0 {
		t.Errorf("%d clean ends, %d breaks, %d left: little was tested", ends.Load(), breaks.Load(), left.Load())
	}
}

func playRound(t *testing.T, seed uint64, ends, breaks, left *atomic.Int32) {
	var mu sync.Mutex // guards random
	random := rand.New(rand.NewPCG(seed, 7))
	dice := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	millis := func(n int) time.Duration { return time.Duration(dice(n)) * time.Millisecond }
	h := streaming()
	h.held = int64(50 + dice(1000))
	h.answer = func(n int, f *Flight) (Source, error) {
		time.Sleep(millis(3000))
		switch dice(6) {
		case 0:
			select {
			case <-time.After(20 * time.Second):
			case <-f.Context().Done():
			}
			return Source{}, errors.New("timeout")
		case 1:
			return Source{Failed: dice(2) == 0}, errors.New("failed")
		case 2:
			return inOnePiece(f, answerText(n)), nil
		}
		source := h.stream(f)
		go func() {
			b := source.Body.(*tap)
			for _, text := range strings.SplitAfter(answerText(n), "\n\n") {
				time.Sleep(millis(200))
				if dice(40) == 0 {
					f.Completion.Narrow(Reach(dice(3)))
				}
				switch {
				case dice(40) == 0:
					b.stop(errors.New("reset"))
					return
				case text == lastEvent:
					b.finish()
					b.stop(io.EOF)
					return
				}
				b.send(text)
			}
		}()
		return source, nil
	}
	var callers sync.WaitGroup
	for range 60 {
		callers.Go(func() {
			time.Sleep(millis(5000))
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if dice(3) == 0 {
				time.AfterFunc(millis(4000), cancel)
			}
			if dice(3) == 0 {
				ctx, cancel = context.WithTimeout(ctx, millis(6000)+1)
				defer cancel()
			}
			edits := []func(*Ask){of(byte(dice(2))), func(a *Ask) {
				a.Limits.First, a.Limits.Stall = 2*time.Second, time.Second
				a.Terms.Attempts = 1 + dice(2)
			}}
			if dice(3) == 0 {
				edits = append([]func(*Ask){wantJSON}, edits...)
			}
			if dice(10) == 0 {
				edits = append(edits, alone)
			}
			if dice(10) == 0 {
				if r := h.Renew(ctx, h.ask(edits...), dice(2) == 0); r != nil {
					r.Run()
				}
				return
			}
			c := &caller{}
			f, err := h.take(ctx, c, h.ask(edits...))
			if err != nil {
				left.Add(1)
				return
			}
			defer f.Close()
			text, ended := c.readRandomly(ctx, f, dice, millis)
			switch {
			case ended == io.EOF:
				ends.Add(1)
				if !isAnswer(func(all string) bool { return text == all }) {
					t.Errorf("read %q to a clean end, want one answer", text)
				}
			case ended != nil:
				breaks.Add(1)
				// The event that tells of the break may be cut off by the caller's own end.
				begun, _, _ := strings.Cut(text, "data: b")
				begun = strings.TrimSuffix(begun, "\n\n")
				if !isAnswer(func(all string) bool { return strings.HasPrefix(all, begun) }) {
					t.Errorf("read %q before %v, want a beginning of one answer", text, ended)
				}
			default:
				left.Add(1)
			}
		})
	}
	callers.Wait()
	time.Sleep(time.Minute)
	h.isEmpty(t)
}

// answerText is the n-th call's answer.
func answerText(n int) string {
	text := ""
	for i := range 10 {
		text += event(n*10 + i)
	}
	return text + lastEvent
}

// isAnswer reports whether some answer fits.
func isAnswer(fits func(all string) bool) bool {
	for n := range 100 {
		if fits(answerText(n)) {
			return true
		}
	}
	return false
}

// readRandomly reads an answer, and returns nil for its end if it stops before.
func (c *caller) readRandomly(ctx context.Context, f *Follower, dice func(int) int, millis func(int) time.Duration) (text string, ended error) {
	if data, end, ok := f.Whole(); ok {
		return string(data), end
	}
	if all, ok := f.All(); f.WaitsForAll() && ok {
		return string(all), io.EOF
	}
	f.Watch(ctx)
	room := make([]byte, 1+dice(40))
	for stops := dice(3) == 0; ended == nil; {
		if stops && dice(8) == 0 {
			if dice(2) == 0 {
				go f.Close() // while it is read
			}
			return text, nil
		}
		var n int
		n, ended = f.Read(room)
		text += string(room[:n])
		if dice(5) == 0 {
			time.Sleep(millis(300))
		}
	}
	return text, ended
}
