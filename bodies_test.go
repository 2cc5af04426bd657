package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// A lateHost reads request bodies when and as it likes, as bases may until they
// have closed them: before it answers, behind that, on another goroutine while
// it closes them, or once more. What it gets must be what its own call sent.
type lateHost struct {
	random  func(int) int
	readers sync.WaitGroup
	wrong   atomic.Int64
	read    atomic.Int64
	closed  atomic.Int64 // reads that met a body closed meanwhile
}

func (h *lateHost) answers(req *http.Request) (*http.Response, error) {
	name := req.Header.Get("User-Agent") // which every endpoint is told
	read := func(body io.ReadCloser) {
		text, err := io.ReadAll(body)
		others := strings.ReplaceAll(string(text), name+" ", "")
		if i := strings.Index(others, "call-"); i >= 0 && (err == nil || !strings.HasPrefix(name, others[i:])) {
			h.wrong.Add(1)
		}
		if err == nil && strings.Count(string(text), name+" ") != mentions {
			h.wrong.Add(1)
		}
		if err != nil {
			h.closed.Add(1)
		} else {
			h.read.Add(1)
		}
	}
	body, again := req.Body, req.GetBody
	switch h.random(5) {
	case 0:
		read(body)
		body.Close()
	case 1: // still at it when the answer is there
		h.readers.Go(func() { read(body); body.Close() })
	case 2: // closed while it is read, and read on when the call is over
		h.readers.Go(func() {
			body.Close()
			<-req.Context().Done()
			read(body)
		})
		h.readers.Go(func() { read(body) })
	case 3: // never read, and once more when all may be over
		body.Close()
		h.readers.Go(func() {
			if once, err := again(); err == nil {
				read(once)
				once.Close()
			}
		})
	case 4: // never closed
		h.readers.Go(func() { read(body) })
	}
	switch h.random(6) {
	case 0:
		return nil, errors.New("reset")
	case 1:
		return answer(503, asJSON, "{}"), nil
	case 2:
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return answer(200, asJSON, goodJSON), nil
}

// mentions is how often a body names its call: often enough to be read in parts.
const mentions = 100

// The buffers of requests' bodies go from call to call. No base may ever read
// another call's: prompts would reach strangers.
func TestBodiesAreNeverMixedUp(t *testing.T) {
	synctest.Test(t, neverMixedUp)
}

func neverMixedUp(t *testing.T) {
	var mu sync.Mutex
	source := rand.New(rand.NewPCG(1, 2))
	host := &lateHost{random: func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return source.IntN(n)
	}}
	rt := over(t, fakehost.NewUnread(host.answers), WithEndpoints(append(at("a", "b"), Endpoint{Name: "c", URL: "https://c", APIKey: "sk-c", Models: map[string]string{"m": "another"}})...),
		WithRetry(RetryPolicy{MinDelay: Off, Budget: 100}), WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off}),
		WithStream(StreamPolicy{Hedge: time.Millisecond, FirstToken: 5 * time.Millisecond, Thinking: 5 * time.Millisecond}),
		WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper { return next }))
	var callers sync.WaitGroup
	whole := 0
	for worker := range 8 {
		callers.Go(func() {
			for i := range 150 {
				name := fmt.Sprintf("call-%d-%d", worker, i)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				got := asks(ctx, rt, `{"messages":[{"role":"user","content":"`+strings.Repeat(name+" ", mentions)+`"}],"model":"m"}`, func(req *http.Request) {
					req.Header.Set("User-Agent", name)
				})
				cancel()
				if got.status() == 200 {
					mu.Lock()
					whole++
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	host.readers.Wait()
	if n := host.wrong.Load(); n > 0 {
		t.Errorf("%d bodies were not those of their calls", n)
	}
	if whole == 0 || host.read.Load() == 0 || host.closed.Load() == 0 {
		t.Errorf("%d answers, %d bodies read, %d closed meanwhile: nothing was tested", whole, host.read.Load(), host.closed.Load())
	}
}
