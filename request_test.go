package breakwater

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A caller has its request back when the exchange is over, and may make another
// of it. What goes on behind its back goes on with what was asked.

// A renewal asks in the name of who asked, and keeps what comes for that one.
func TestRenewalsAreOfTheRequestAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reused := make(chan struct{})
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			return answer(200, asJSON, strings.Replace(goodJSON, "hi", "for "+req.Header.Get("Authorization"), 1)), nil
		}), WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: time.Hour}), WithObserver(func(_ context.Context, e Event) {
			if e.Kind == KindCacheRenew {
				<-reused
			}
		}))
		asks(t.Context(), rt, chatJSON, with("Authorization", "A"))
		elapse(2 * time.Second)
		req, _ := post(t.Context(), "https://a", chatJSON)
		req.Header.Set("Authorization", "A")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		req.Header.Set("Authorization", "B")
		req.URL.Path = "/v1/models"
		close(reused)
		synctest.Wait()
		got := asks(t.Context(), rt, chatJSON, with("Authorization", "A"))
		if !strings.Contains(got.body, "for A") || !strings.Contains(got.header("Cache-Status"), "hit") || got.header("Age") != "0" {
			t.Errorf("A got %v, want what was said to A anew", got)
		}
	})
}

// Who rides on with a flight whose leader has left rides to where it set out for,
// and gets nothing that was said to the leader alone.
func TestFlightsAreOfTheRequestAsItWas(t *testing.T) {
	for _, status := range []int{503, 401} {
		synctest.Test(t, func(t *testing.T) {
			fail := make(chan struct{})
			var asked []string
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				asked = append(asked, req.URL.Path+" "+req.Header.Get("X-Try")+" "+req.Header.Get("Authorization"))
				if len(asked) == 1 {
					<-fail
					return answer(status, asJSON, "{}"), nil
				}
				return answer(200, asJSON, goodJSON), nil
			}), WithCache(CachePolicy{Scope: func(*http.Request) string { return "all" }}), WithRetry(RetryPolicy{MinDelay: Off}))
			ctx, cancel := context.WithCancel(t.Context())
			leader, _ := post(ctx, "https://a", chatJSON)
			leader.Header.Set("Authorization", "A")
			left := make(chan error)
			go func() {
				_, err := rt.RoundTrip(leader)
				left <- err
			}()
			synctest.Wait()
			other := calls(t, rt, chatJSON, with("Authorization", "B"))
			cancel()
			<-left
			leader.Header.Set("Authorization", "B")
			leader.Header.Set("X-Try", "2")
			leader.URL.Path = "/v1/models"
			close(fail)
			synctest.Wait()
			want := "/chat/completions  A" // the flight's own second try
			if status == 401 {
				want = "/chat/completions  B" // what was said to A is not B's, who asks
			}
			if len(asked) != 2 || asked[1] != want || other.read.String() != goodJSON {
				t.Errorf("behind a %d, asked %q, and the other got %q, %v; want %q then, and an answer", status, asked, other.read.String(), other.err, want)
			}
		})
	}
}

// An attempt that another one was faster than may go on for a while.
func TestLosersAreOfTheRequestAsItWas(t *testing.T) {
	for name, lose := range map[string]func(*http.Request) (*http.Response, error){
		"an error": func(req *http.Request) (*http.Response, error) { return nil, req.Context().Err() },
		"its URL":  func(req *http.Request) (*http.Response, error) { return nil, errors.New(req.URL.Path) },
		"a limit": func(*http.Request) (*http.Response, error) {
			resp := answer(200, asJSON, goodJSON)
			resp.Header.Set("X-Ratelimit-Remaining", "0")
			resp.Header.Set("X-Ratelimit-Reset", "1")
			return resp, nil
		},
	} {
		t.Run(name, func(t *testing.T) { // the race detector looks on
			var losers sync.WaitGroup
			over1 := make(chan struct{})
			base := newHosts(func(req *http.Request) (*http.Response, error) { return answer(200, asJSON, goodJSON), nil })
			base.Set("a", func(req *http.Request) (*http.Response, error) {
				losers.Add(1)
				defer losers.Done()
				<-req.Context().Done()
				<-over1
				return lose(req)
			})
			rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a", Host: HostTogether}), WithBackup(at("b")...), WithStream(StreamPolicy{Hedge: time.Millisecond}))
			req, _ := post(t.Context(), "https://a", chatJSON)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			close(over1)
			for range 1000 {
				req.Header.Set("Authorization", "another")
				req.Header.Del("X-Try")
				req.URL.Path = "/v1/models"
			}
			losers.Wait()
		})
	}
}

// A rescue may be on its way when the caller closes the stream, and has its
// request back: from an Observer, here, which hears of the circuit that it probes.
func TestRescuesAreOfTheRequestAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(refusing)
		var asked []string
		var req *http.Request
		var resp *http.Response
		rt := over(t, base, WithEndpoints(deepSeekAt("a")), WithBackup(deepSeekAt("b")), WithBreaker(BreakerPolicy{Consecutive: 1}),
			WithRetry(RetryPolicy{Attempts: 1}), WithStream(StreamPolicy{Rescue: RescueRestart}), WithObserver(func(_ context.Context, e Event) {
				if resp != nil && e.Kind == KindCircuit && e.Endpoint == "b" && e.To == "half-open" {
					resp.Body.Close()
					req.Header.Set("User-Agent", "another")
				}
			}))
		asks(t.Context(), rt, chatStream) // opens both circuits
		elapse(time.Minute)
		base.Set("a", gives(200, asStream, goodEvent))
		base.Set("b", func(req *http.Request) (*http.Response, error) {
			asked = append(asked, req.Header.Get("User-Agent"))
			return answer(200, asStream, wholeStream), nil
		})
		req, _ = post(t.Context(), "https://a", chatStream)
		req.Header.Set("User-Agent", "one")
		var err error
		if resp, err = rt.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		if len(asked) != 1 || asked[0] != "one" {
			t.Errorf("the rescue asked as %q, want as the one who made the call", asked)
		}
	})
}
