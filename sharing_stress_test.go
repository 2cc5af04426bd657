package breakwater

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

var stressRounds = flag.Int("stress", 0, "rounds of TestSharing_AtRandom; 0: a few for every policy")

// Callers ask a few questions, in both forms, at random times; they read at any
// pace, leave at any moment, and the hosts answer late, wrongly, in part or not
// at all. Whoever reads to a clean end has the whole answer to its own question,
// nobody reads anything else, and at the end nothing is held. A round is the
// same again by its seed, but for who of several goroutines is first.
func TestSharing_AtRandom(t *testing.T) {
	const hedge = 300 * time.Millisecond
	policies := []struct {
		name string
		opts []Option
	}{
		{"hedges", []Option{
			WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: time.Second, StaleIfError: 3 * time.Second}),
			WithStream(StreamPolicy{Hedge: hedge, HedgeBackup: true}),
		}},
		{"rescues", []Option{WithCache(CachePolicy{TTL: time.Second}), WithStream(StreamPolicy{Rescue: RescueRestart})}},
		{"no bounds", []Option{
			WithCache(CachePolicy{TTL: Off, MaxEntryBytes: Off, MaxBytes: Off}), WithStream(StreamPolicy{Rescue: RescueRestart}),
		}},
		{"a Store, hedges, errors", []Option{
			WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: 5 * time.Second, Store: &memoryStore{}}),
			WithStream(StreamPolicy{Hedge: hedge, HedgeBackup: true}), WithErrors(),
		}},
		{"little patience", []Option{
			WithCache(CachePolicy{TTL: time.Second / 2, StaleWhileRevalidate: time.Second}),
			WithStream(StreamPolicy{FirstToken: time.Second, Thinking: time.Second, Queued: time.Second, Stall: 200 * time.Millisecond, Rescue: RescueRestart}),
		}},
		{"little patience, hedges", []Option{
			WithCache(CachePolicy{TTL: time.Second / 2, StaleWhileRevalidate: time.Second}),
			WithStream(StreamPolicy{FirstToken: time.Second, Thinking: time.Second, Queued: time.Second, Stall: 200 * time.Millisecond, Hedge: hedge, HedgeBackup: true}),
		}},
		{"keys", []Option{WithIdempotency(IdempotencyPolicy{TTL: time.Second, Linger: time.Second}), keyedByBody, WithStream(StreamPolicy{Rescue: RescueRestart})}},
		{"keys, a cache, hedges", []Option{
			WithIdempotency(IdempotencyPolicy{TTL: 2 * time.Second, MaxEntryBytes: 2000}), keyedByBody, WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: time.Second}),
			WithStream(StreamPolicy{Hedge: hedge, HedgeBackup: true}),
		}},
		{"sent once", []Option{WithCache(CachePolicy{TTL: time.Second / 2}), WithRetry(RetryPolicy{SendOnce: true})}},
	}
	rounds := 12 * len(policies)
	if testing.Short() {
		rounds = len(policies)
	}
	if *stressRounds > 0 {
		rounds = *stressRounds
	}
	var sum stressTally
	for n := range rounds {
		p := policies[n%len(policies)]
		t.Run(fmt.Sprintf("%s/seed=%d", p.name, n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { stressed(t, uint64(n), &sum, p.opts) })
		})
	}
	if sum.whole.Load() == 0 || sum.failed.Load() == 0 || sum.left.Load() == 0 || sum.hedges.Load() == 0 || sum.shared == 0 || sum.renewals.Load() == 0 {
		t.Errorf("got %d whole answers, %d failures, %d left, %d shared, %d hedges, %d renewals, want some of each: else little was tested",
			sum.whole.Load(), sum.failed.Load(), sum.left.Load(), sum.shared, sum.hedges.Load(), sum.renewals.Load())
	}
}

// A stressTally is what became of the calls of all rounds.
type stressTally struct {
	whole, failed, left, hedges, renewals atomic.Int64
	shared                                int64
}

// stressed is one round.
func stressed(t *testing.T, seed uint64, sum *stressTally, opts []Option) {
	random := rand.New(rand.NewPCG(seed, 7))
	host := &stressHost{t: t, random: rand.New(rand.NewPCG(seed, 8))}
	var rt *Transport
	rt = over(t, fakehost.NewUnread(host.answers), append([]Option{
		WithEndpoints(deepSeekAt("a"), deepSeekAt("b")), WithRateLimit(RatePolicy{InFlight: 50}), WithRetry(RetryPolicy{Budget: 100, MinDelay: 10 * time.Millisecond}),
		WithObserver(func(ctx context.Context, e Event) {
			rt.Status()
			ctx.Deadline()
			switch e.Kind {
			case KindHedge:
				sum.hedges.Add(1)
				elapse(100 * time.Millisecond) // so that answers come before the hedge is on its way
			case KindCacheRenew:
				sum.renewals.Add(1)
			}
		}),
	}, opts...)...)
	var callers sync.WaitGroup
	for i := range 120 {
		own := rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
		callers.Go(func() { stressCaller(t, rt, own, sum) })
	}
	if seed%3 == 0 { // renewals end, calls do not
		elapse(2 * time.Second)
		rt.Close()
	}
	callers.Wait()
	elapse(10 * time.Second)
	rt.Close()
	synctest.Wait()
	sum.shared += rt.Status().Cache.Shared
	if left, open := stillHeld(rt), host.open.Load(); left != "" || open != 0 {
		t.Errorf("got %s left, %d bodies open, want nothing", left, open)
	}
}

// words are the answer to a question.
func words(question string) []string {
	var list []string
	for i := range 12 {
		list = append(list, fmt.Sprintf("%s-%d ", question, i*i))
	}
	return list
}

// stressCaller makes one call and reads, leaves and closes as chance has it.
func stressCaller(t *testing.T, rt *Transport, random *rand.Rand, sum *stressTally) {
	millis := func(n int) time.Duration { return time.Duration(random.IntN(n)) * time.Millisecond }
	elapse(millis(6000))
	letter, stream := string(rune('a'+random.IntN(4))), random.IntN(2) == 0
	// Questions of different lengths show whether buffers are mixed up; blanks make other bytes of the same.
	body := fmt.Sprintf(`{"model":"m",%s"messages":[{"role":"user","content":"%s/%s"}],"stream":%v}`,
		strings.Repeat(" ", random.IntN(3)), letter, strings.Repeat(letter, 50*int(letter[0]-'a')), stream)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	switch random.IntN(5) {
	case 0:
		defer time.AfterFunc(millis(3000), cancel).Stop()
	case 1:
		ctx, cancel = context.WithTimeout(ctx, millis(4000))
		defer cancel()
	}
	req, _ := post(ctx, "https://a", body)
	if wishes := []string{"no-cache", "no-store", "max-age=0", "stale-if-error=0", "only-if-cached"}; random.IntN(8) == 0 {
		req.Header.Set("Cache-Control", wishes[random.IntN(len(wishes))])
	}
	resp, err := rt.RoundTrip(req)
	if (resp == nil) == (err == nil) {
		t.Errorf("RoundTrip = %v, %v, want exactly one", resp, err)
	}
	if err != nil {
		sum.failed.Add(1)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		io.Copy(io.Discard, resp.Body)
		sum.failed.Add(1)
		return
	}
	var got bytes.Buffer
	how, room := random.IntN(6), make([]byte, 1+random.IntN(400))
	for ended := error(nil); ; {
		if how == 0 && random.IntN(10) == 0 {
			break
		}
		if how == 1 && random.IntN(8) == 0 {
			go resp.Body.Close() // while it is read
		}
		var n int
		n, ended = resp.Body.Read(room)
		got.Write(room[:n])
		if ended != nil {
			checkStressed(t, got.String(), stream, ended, words(letter))
			if ended == io.EOF {
				sum.whole.Add(1)
				return
			}
			break
		}
		if random.IntN(10) == 0 {
			elapse(millis(300))
		}
	}
	sum.left.Add(1)
}

// checkStressed compares what a caller read with the answer to its question.
func checkStressed(t *testing.T, body string, stream bool, ended error, words []string) {
	want, text := strings.Join(words, ""), ""
	if !stream {
		text = gjson.Get(body, "choices.0.message.content").Str
	}
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(line, "data: "); ok && stream && gjson.Valid(data) {
			text += gjson.Get(data, "choices.0.delta.content").Str
		}
	}
	switch {
	case ended == io.EOF && text != want:
		t.Errorf("before a clean end: got %q of %q, want %q", text, body, want)
	case stream && !strings.HasPrefix(want, text):
		t.Errorf("before %v: got %q, want a beginning of %q", ended, text, want)
	}
}

// A stressHost answers every question rightly, if chance has it answer at all.
type stressHost struct {
	t    *testing.T
	open atomic.Int64 // bodies

	mu     sync.Mutex // guards what follows
	random *rand.Rand
}

func (h *stressHost) intN(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.random.IntN(n)
}

func (h *stressHost) answers(req *http.Request) (*http.Response, error) {
	text, _ := io.ReadAll(req.Body)
	req.Body.Close()
	var asked struct {
		Stream   bool
		Messages []struct{ Content string }
	}
	if err := json.Unmarshal(text, &asked); err != nil || len(asked.Messages) == 0 {
		h.t.Errorf("the host got %q, want a question", text)
		return answer(400, asJSON, "{}"), nil
	}
	letter, pad, _ := strings.Cut(asked.Messages[0].Content, "/")
	if strings.Trim(pad, letter) != "" || len(pad) != 50*int(letter[0]-'a') {
		h.t.Errorf("the host got %q, want one question's letter only", text)
	}
	all := words(letter)
	if len(asked.Messages) == 2 { // a rescue: the answer is to go on after what was told
		rest, ok := strings.CutPrefix(strings.Join(all, ""), asked.Messages[1].Content)
		if !ok {
			h.t.Errorf("the host is to go on behind %q, want a beginning of its answer", asked.Messages[1].Content)
		}
		all = strings.SplitAfter(rest, " ")
	}
	if h.intN(2) == 0 {
		if err := sleep(req.Context(), time.Duration(h.intN(3000))*time.Millisecond); err != nil {
			return nil, err
		}
	}
	switch h.intN(12) {
	case 0:
		return failing503(req)
	case 1:
		return refusing(req)
	}
	b := &stressBody{ctx: req.Context(), host: h, closed: make(chan struct{}), end: io.EOF}
	resp := answer(200, asJSON, "")
	resp.Body = b
	h.open.Add(1)
	if !asked.Stream {
		json := strings.Replace(goodJSON, `"hi"`, fmt.Sprintf("%q", strings.Join(all, "")), 1)
		b.parts = []string{"\n", json[:len(json)/2], json[len(json)/2:]}
		return resp, nil
	}
	resp.Header.Set("Content-Type", asStream)
	for _, word := range all {
		b.parts = append(b.parts, event(word))
	}
	switch h.intN(16) {
	case 0, 1, 2, 3:
		b.parts, b.end = b.parts[:1+h.intN(len(all))], io.ErrUnexpectedEOF
	case 4, 5, 6:
		b.parts = append(b.parts, finishEvent)
	default:
		b.parts = append(b.parts, finishEvent, doneEvent)
	}
	return resp, nil
}

// A stressBody gives its parts one by one, with and without pauses.
type stressBody struct {
	ctx    context.Context
	host   *stressHost
	parts  []string
	end    error
	once   sync.Once
	closed chan struct{}
}

func (b *stressBody) Read(p []byte) (int, error) {
	if len(b.parts) == 0 {
		return 0, b.end
	}
	if b.host.intN(2) == 0 {
		timer := time.NewTimer(time.Duration(b.host.intN(300)) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		case <-b.closed:
			return 0, errors.New("closed")
		}
	}
	n := copy(p, b.parts[0])
	if b.parts[0] = b.parts[0][n:]; b.parts[0] == "" {
		b.parts = slices.Delete(b.parts, 0, 1)
	}
	return n, nil
}

func (b *stressBody) Close() error {
	b.once.Do(func() {
		b.host.open.Add(-1)
		close(b.closed)
	})
	return nil
}

// Close ends a renewal at the very moment it begins, while others join it:
// whoever is first, the call is made once or not at all, and they are answered.
func TestSharing_CloseWhileARenewalBegins(t *testing.T) {
	for range 300 {
		rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithCache(CachePolicy{TTL: time.Nanosecond, StaleWhileRevalidate: time.Hour}))
		asks(t.Context(), rt, chatJSON)
		var callers sync.WaitGroup
		callers.Go(func() { asks(t.Context(), rt, chatJSON) }) // begins a renewal
		callers.Go(func() { rt.Close() })
		for range 4 {
			callers.Go(func() {
				if got := asks(t.Context(), rt, chatJSON, with("Cache-Control", "max-age=0, stale-if-error=0")); got.body != goodJSON || got.err != nil {
					t.Errorf("who joins the renewal got %v, want an answer", got)
				}
			})
		}
		callers.Wait()
		if t.Failed() {
			return
		}
	}
}
