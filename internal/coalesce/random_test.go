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
	var ends tally
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playRound(t, uint64(seed), &ends) })
		})
	}
	if ends.whole.Load() == 0 || ends.broken.Load() == 0 || ends.left.Load() == 0 {
		t.Errorf("%d clean ends, %d breaks, %d left: little was tested", ends.whole.Load(), ends.broken.Load(), ends.left.Load())
	}
}

// A round is what the goroutines of one round share.
type round struct {
	*host
	t    *testing.T
	ends *tally

	mu     sync.Mutex // guards random
	random *rand.Rand
}

// A tally is how what was read came to its end.
type tally struct{ whole, broken, left atomic.Int32 }

func (r *round) dice(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.IntN(n)
}

func (r *round) millis(n int) time.Duration { return time.Duration(r.dice(n)) * time.Millisecond }

func playRound(t *testing.T, seed uint64, ends *tally) {
	r := &round{host: streaming(), t: t, ends: ends, random: rand.New(rand.NewPCG(seed, 7))}
	r.held = int64(50 + r.dice(1000))
	r.answer = r.answerRandomly
	var callers sync.WaitGroup
	for range 60 {
		callers.Go(r.callRandomly)
	}
	callers.Wait()
	time.Sleep(time.Minute)
	r.isEmpty(t)
}

func (r *round) answerRandomly(n int, f *Flight) (Source, error) {
	time.Sleep(r.millis(3000))
	switch r.dice(6) {
	case 0:
		select {
		case <-time.After(20 * time.Second):
		case <-f.Context().Done():
		}
		return Source{}, errors.New("timeout")
	case 1:
		return Source{Failed: r.dice(2) == 0}, errors.New("failed")
	case 2:
		return inOnePiece(f, answerText(n)), nil
	}
	source := r.stream(f)
	b := source.Body.(*tap)
	go func() {
		for _, text := range strings.SplitAfter(answerText(n), "\n\n") {
			time.Sleep(r.millis(200))
			if r.dice(40) == 0 {
				f.Completion.Narrow(Reach(r.dice(3)))
			}
			switch {
			case r.dice(40) == 0:
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

func (r *round) callRandomly() {
	time.Sleep(r.millis(5000))
	ctx, cancel := context.WithCancel(r.t.Context())
	defer cancel()
	if r.dice(3) == 0 {
		time.AfterFunc(r.millis(4000), cancel)
	}
	if r.dice(3) == 0 {
		ctx, cancel = context.WithTimeout(ctx, r.millis(6000)+1)
		defer cancel()
	}
	edits := []func(*Ask){of(byte(r.dice(2))), func(a *Ask) {
		a.Limits.First, a.Limits.Stall = 2*time.Second, time.Second
		a.Terms.Attempts = 1 + r.dice(2)
	}}
	if r.dice(3) == 0 {
		edits = append([]func(*Ask){wantJSON}, edits...)
	}
	if r.dice(10) == 0 {
		edits = append(edits, alone)
	}
	if r.dice(10) == 0 {
		if renewal := r.Renew(ctx, r.ask(edits...), r.dice(2) == 0); renewal != nil {
			renewal.Run()
		}
		return
	}
	f, err := r.take(ctx, &caller{}, r.ask(edits...))
	if err != nil {
		r.ends.left.Add(1)
		return
	}
	defer f.Close()
	r.check(r.readRandomly(ctx, f))
}

// check compares what was read with all answers; ended is nil if the reader left.
func (r *round) check(text string, ended error) {
	switch {
	case ended == io.EOF:
		r.ends.whole.Add(1)
		if !isAnswer(func(all string) bool { return text == all }) {
			r.t.Errorf("read %q to a clean end, want one answer", text)
		}
	case ended != nil:
		r.ends.broken.Add(1)
		// The event that tells of the break may be cut off by the caller's own end.
		begun, _, _ := strings.Cut(text, "data: b")
		begun = strings.TrimSuffix(begun, "\n\n")
		if !isAnswer(func(all string) bool { return strings.HasPrefix(all, begun) }) {
			r.t.Errorf("read %q before %v, want a beginning of one answer", text, ended)
		}
	default:
		r.ends.left.Add(1)
	}
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
func (r *round) readRandomly(ctx context.Context, f *Follower) (text string, ended error) {
	if data, end, ok := f.Whole(); ok {
		return string(data), end
	}
	if all, ok := f.All(); f.WaitsForAll() && ok {
		return string(all), io.EOF
	}
	f.Watch(ctx, nil)
	room := make([]byte, 1+r.dice(40))
	for stops := r.dice(3) == 0; ended == nil; {
		if stops && r.dice(8) == 0 {
			if r.dice(2) == 0 {
				go f.Close() // while it is read
			}
			return text, nil
		}
		var n int
		n, ended = f.Read(room)
		text += string(room[:n])
		if r.dice(5) == 0 {
			time.Sleep(r.millis(300))
		}
	}
	return text, ended
}
