package breakwater

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What the base, or middleware, sends again by itself.

// What the base replays draws on the budget, and is said to be perhaps billed.
func TestResend_DrawsOnTheBudget(t *testing.T) {
	wire := 0
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		wire++
		body, err := req.GetBody() // as net/http does into a connection that turned out closed
		if err != nil {
			return nil, err
		}
		body.Close()
		wire++
		return answer(200, asJSON, goodJSON), nil
	}), once, noBreaker)
	for range 100 {
		got := asks(t.Context(), rt, chatJSON)
		if trail := TrailOf(got.resp); len(trail) > 0 && !trail[0].MayBeBilled {
			t.Fatal("the trail does not say that the request may have been billed")
		}
	}
	if wire > 100+100/5+budgetFloor {
		t.Errorf("100 calls were %d requests, want at most %d", wire, 100+100/5+budgetFloor)
	}
}

// bodyReaders are what users put above the base, or in its place, that reads the
// request's body before it is sent: to sign it, to log it, to count it.
func bodyReaders() map[string]func(*http.Request) {
	read := func(body io.ReadCloser, err error) []byte {
		if err != nil {
			panic(err)
		}
		text, _ := io.ReadAll(body)
		body.Close()
		return text
	}
	return map[string]func(*http.Request){
		"reads a copy": func(req *http.Request) { read(req.GetBody()) },
		"reads many":   func(req *http.Request) { read(req.GetBody()); read(req.GetBody()); read(req.GetBody()) },
		"sends a copy": func(req *http.Request) {
			read(req.GetBody())
			req.Body.Close()
			req.Body, _ = req.GetBody()
		},
		"sends a copy, leaves the other": func(req *http.Request) { req.Body, _ = req.GetBody() },
		"sends its own": func(req *http.Request) {
			text := read(req.Body, nil)
			req.Body = io.NopCloser(bytes.NewReader(text))
		},
		"sends its own, again and again": func(req *http.Request) {
			text := read(req.Body, nil)
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
			req.Body, _ = req.GetBody()
		},
		"looks into it": func(req *http.Request) {
			body, _ := req.GetBody()
			io.ReadFull(body, make([]byte, 5))
			body.Close()
		},
		"takes one and leaves it": func(req *http.Request) { _, _ = req.GetBody() },
	}
}

// resending has a Transport's requests read by reads, which takes so long, in a
// Rewrite, an attempt middleware or what a base is wrapped into.
func resending(t *testing.T, where string, took time.Duration, reads func(*http.Request), base http.RoundTripper, opts ...Option) *Transport {
	signs := func(req *http.Request) {
		elapse(took)
		reads(req)
	}
	wrap := func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			req = req.Clone(req.Context())
			signs(req)
			return next.RoundTrip(req)
		})
	}
	e := at("a")
	switch where {
	case "Rewrite":
		e[0].Rewrite = func(req *http.Request) error { signs(req); return nil }
	case "middleware":
		opts = append(opts, WithAttemptMiddleware(wrap))
	case "base":
		base = wrap(base)
	}
	return over(t, base, append(opts, WithEndpoints(e...))...)
}

// To read a request's body is no sending: it takes nothing from the budget, is
// never too late, and says nothing of a bill, as often and wherever it happens.
func TestResend_ReadingIsFree(t *testing.T) {
	for name, reads := range bodyReaders() {
		for _, where := range []string{"Rewrite", "middleware", "base"} {
			for _, took := range []time.Duration{0, 2 * time.Second} {
				for _, sendOnce := range []bool{false, true} {
					if where == "base" && sendOnce && !strings.HasSuffix(name, "own") {
						continue // which has no GetBody then
					}
					t.Run(fmt.Sprintf("%s/%s/%v/once=%v", name, where, took, sendOnce), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							var sent []string
							rt := resending(t, where, took, reads, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
								text, _ := io.ReadAll(req.Body)
								req.Body.Close()
								sent = append(sent, string(text))
								return answer(200, asJSON, goodJSON), nil
							}), WithRetry(RetryPolicy{Budget: Off, SendOnce: sendOnce}))
							for range 15 {
								got := asks(t.Context(), rt, chatJSON)
								if trail := TrailOf(got.resp); got.body != goodJSON || len(trail) != 1 || trail[0].MayBeBilled {
									t.Fatalf("the caller got %v, trail %+v, want an answer and nothing of a bill", got, trail)
								}
							}
							if len(sent) != 15 || sent[0] != chatJSON || sent[14] != chatJSON {
								t.Errorf("15 calls sent %q", sent)
							}
						})
					})
				}
			}
		}
	}
}

// Who reads a body and is then not sent has reached no host: SendOnce lets the
// call go on.
func TestResend_ReadingReachesNoHost(t *testing.T) {
	unsent := func(req *http.Request) (*http.Response, error) {
		req.Body.Close()
		return nil, errors.New("refused")
	}
	for name, reads := range bodyReaders() {
		for _, where := range []string{"Rewrite", "middleware"} {
			rt := resending(t, where, 0, reads, fakehost.NewUnread(unsent), WithRetry(RetryPolicy{SendOnce: true, Attempts: 1, Patience: Off}), WithBackup(at("b")...))
			got := asks(t.Context(), rt, chatJSON)
			for _, a := range ErrorOf(got.resp).(*Error).Attempts {
				if a.MayBeBilled {
					t.Errorf("%s, %s: %+v, want no word of a bill", name, where, a)
				}
			}
			if trail := TrailOf(got.resp); trail[len(trail)-1].Endpoint != "b" {
				t.Errorf("%s, %s: %+v, want the call to go on to b", name, where, trail)
			}
		}
	}
}

// A base that sends again what it has sent, as net/http may, draws on the
// budget, once an attempt and within a second of when it got the request,
// whoever has read or replaced the body above it.
func TestResend_TheBaseIsCounted(t *testing.T) {
	for name, reads := range bodyReaders() {
		for _, where := range []string{"", "Rewrite", "middleware"} {
			for _, tt := range []struct {
				name   string
				after  time.Duration
				policy RetryPolicy
				want   int // requests of one call
			}{
				{"at once", 0, RetryPolicy{}, 2},
				{"without a budget", 0, RetryPolicy{Budget: Off}, 1},
				{"late", 2 * time.Second, RetryPolicy{}, 1},
				{"SendOnce", 0, RetryPolicy{SendOnce: true}, 1},
			} {
				if where != "" && name == "sends its own" {
					continue // and keeps the attempt's GetBody: as above
				}
				t.Run(fmt.Sprintf("%s/%s/%s", name, where, tt.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						sent := 0
						rt := resending(t, where, 2*time.Second, reads, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
							for body := req.Body; ; sent++ {
								io.Copy(io.Discard, body)
								body.Close()
								elapse(tt.after)
								if req.GetBody == nil {
									break
								}
								again, err := req.GetBody()
								if err != nil {
									break
								}
								body = again
							}
							sent++
							return answer(200, asJSON, goodJSON), nil
						}), WithRetry(tt.policy))
						got := asks(t.Context(), rt, chatJSON)
						if trail := TrailOf(got.resp); sent != tt.want || trail[0].MayBeBilled != (sent > 1) {
							t.Errorf("sent %d times, trail %+v, want %d", sent, trail, tt.want)
						}
					})
				})
			}
		}
	}
}

// Middleware that sends again, with a fresh token say, makes an extra attempt:
// the budget counts it, and SendOnce forbids it unless the first was refused.
// It may take its time. What it fetches elsewhere is none.
func TestResend_MiddlewareIsCounted(t *testing.T) {
	reset := func(*http.Request) (*http.Response, error) { return nil, errors.New("reset") }
	for _, tt := range []struct {
		name   string
		first  handler
		policy RetryPolicy
		sent   int
		billed bool
	}{
		{"after a refusal", gives(401, asJSON, "{}"), RetryPolicy{}, 2, false},
		{"after a refusal, SendOnce", gives(401, asJSON, "{}"), RetryPolicy{SendOnce: true}, 2, false},
		{"after a refusal, without a budget", gives(401, asJSON, "{}"), RetryPolicy{Budget: Off}, 1, true}, // for all that can be told
		{"after a reset", reset, RetryPolicy{Attempts: 1}, 2, true},
		{"after a reset, SendOnce", reset, RetryPolicy{Attempts: 1, SendOnce: true}, 1, true},
		{"after a gateway's 504", gives(504, asJSON, "{}"), RetryPolicy{Attempts: 1, SendOnce: true}, 1, true},
		{"after an answer", gives(200, asJSON, goodJSON), RetryPolicy{}, 2, true},
	} {
		for name, again := range map[string]func(*http.Request){
			"GetBody": func(req *http.Request) { req.Body, _ = req.GetBody() },
			"its own": func(req *http.Request) { req.Body = io.NopCloser(strings.NewReader(chatJSON)) },
		} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					sent := 0
					rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
						io.Copy(io.Discard, req.Body)
						req.Body.Close()
						if req.URL.Path == "/token" {
							return answer(200, asJSON, "{}"), nil
						}
						if sent++; sent == 1 {
							return tt.first(req)
						}
						return answer(200, asJSON, goodJSON), nil
					}), noBreaker, WithRetry(tt.policy), WithEndpoints(at("a")...), WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
						return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
							if resp, err := next.RoundTrip(req); err == nil {
								io.Copy(io.Discard, resp.Body)
								resp.Body.Close()
							}
							elapse(2 * time.Second)
							token, _ := http.NewRequestWithContext(req.Context(), http.MethodPost, "https://a/token", strings.NewReader("grant"))
							if resp, err := next.RoundTrip(token); err != nil || resp.StatusCode != 200 {
								return nil, fmt.Errorf("no token: %w", err)
							}
							req = req.Clone(req.Context())
							again(req)
							return next.RoundTrip(req)
						})
					}))
					var trail Trail
					got := asks(WithCall(t.Context(), Call{Trail: &trail}), rt, chatJSON)
					if a := trail.Attempts(); sent != tt.sent || len(a) != 1 || a[0].MayBeBilled != tt.billed || (got.status() == 200) != (tt.sent == 2) {
						t.Errorf("%v, sent %d times, trail %+v, want %d, to be billed: %v", got, sent, a, tt.sent, tt.billed)
					}
				})
			})
		}
	}
}

// Over HTTP/2, too, a body that was read or replaced above the base is sent
// once more to a host that refuses its streams, and no further.
func TestResend_OverHTTP2(t *testing.T) {
	for name, reads := range bodyReaders() {
		t.Run(name, func(t *testing.T) {
			signs := WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					req = req.Clone(req.Context())
					reads(req)
					return next.RoundTrip(req)
				})
			})
			overHTTP2(t, func(rt *Transport, server *kit.Server, ask func() seen) {
				for range 15 {
					if got := ask(); got.status() != 200 {
						t.Fatalf("the caller got %v, want an answer", got)
					}
				}
			}, signs)
			overHTTP2(t, func(rt *Transport, server *kit.Server, ask func() seen) {
				server.Break(kit.RefusedStream())
				got := ask()
				if n := len(server.Requests()); got.status() != 503 || n != 2 {
					t.Errorf("the caller got %v after %d requests, want our own 503 after 2", got, n)
				}
			}, signs)
		})
	}
}

// A call that has waited for its turn is replayed as one that has not: the
// second runs from when the base got it.
func TestResend_BehindAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			io.Copy(io.Discard, body)
			body.Close()
			return answer(200, asJSON, goodJSON), nil
		}), once, WithRateLimit(RatePolicy{PerSecond: 0.5, Burst: 1}))
		for range 2 {
			if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
				t.Errorf("the caller got %v, want an answer", got)
			}
		}
	})
}

// What the base sends again by itself, as HTTP/2 does with a stream that was
// refused unread, it sends once; what comes of it is the loop's to decide.
func TestResend_TheBaseReplaysOnce(t *testing.T) {
	var replays []error
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		for range 3 {
			body, err := req.GetBody()
			replays = append(replays, err)
			if err != nil {
				return nil, err
			}
			io.Copy(io.Discard, body)
			body.Close()
		}
		return answer(200, asJSON, goodJSON), nil
	}), once)
	got := asks(t.Context(), rt, chatJSON)
	if len(replays) != 2 || replays[0] != nil || !errors.Is(replays[1], errNotTaken) {
		t.Errorf("GetBody gave %v, want one body, then an error", replays)
	}
	if got.status() != 503 || got.header(headerError) != string(ClassUnreachable) {
		t.Errorf("the caller got %v, want our own 503", got)
	}
}

// Over HTTP/2, net/http would send a request on for a minute to a host that
// refuses its streams unread: once more, and the host is unreachable.
func TestResend_RefusedStreamsAreSentOnceMore(t *testing.T) {
	overHTTP2(t, func(rt *Transport, server *kit.Server, ask func() seen) {
		server.Break(kit.RefusedStream())
		start := time.Now()
		got := ask()
		state := rt.Status().Endpoints[0].Circuits[0].State
		if n := len(server.Requests()); got.status() != 503 || got.header(headerError) != string(ClassUnreachable) || n != 2 || state != "open" || time.Since(start) != 0 {
			t.Errorf("the caller got %v after %v and %d requests, the circuit is %s; want our own 503 at once after 2, and it open", got, time.Since(start), n, state)
		}
	})
}

// A request that a host turns away unread once, by a stream refused or a
// connection it takes leave of (GOAWAY), costs nobody an attempt: net/http sends
// it again, though after GOAWAY it asks twice for the body to send.
func TestResend_UnreadRequestsCostNoAttempt(t *testing.T) {
	overHTTP2(t, func(rt *Transport, server *kit.Server, ask func() seen) {
		ask() // connects
		for _, f := range []kit.Fault{kit.GoAway(), kit.RefusedStream()} {
			server.BreakNext(1, f)
			before := len(server.Requests())
			got := ask()
			if n := len(server.Requests()) - before; got.status() != 200 || got.header(headerAttempts) != "1" || n != 2 {
				t.Errorf("%v: the caller got %v after %d requests, want the answer of one attempt, sent twice", f, got, n)
			}
			if state := rt.Status().Endpoints[0].Circuits[0].State; state != "closed" {
				t.Errorf("%v: the circuit is %s", f, state)
			}
		}
	})
}

// overHTTP2 has one host, over HTTP/2, asked once a call, and a circuit that one
// failure opens.
func overHTTP2(t *testing.T, do func(rt *Transport, server *kit.Server, ask func() seen), opts ...Option) {
	synctest.Test(t, func(t *testing.T) {
		host := kit.DeepSeek("host")
		host.HTTP2 = true
		fleet, err := kit.NewPipeFleet(host)
		if err != nil {
			t.Fatal(err)
		}
		base, server := fleet.Transport(), fleet.Server("host")
		rt := over(t, base, append(opts, once, WithBreaker(BreakerPolicy{Consecutive: 1}), WithEndpoints(Endpoint{Name: "host", URL: server.URL(), APIKey: "sk"}))...)
		do(rt, server, func() seen {
			return asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL = mustURL(t, server.URL()+"/chat/completions") })
		})
		base.CloseIdleConnections()
		fleet.Close()
	})
}

// Without a budget, the base may not send twice either.
func TestResend_NoBudgetNoReplay(t *testing.T) {
	var err error
	rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		io.Copy(io.Discard, req.Body)
		_, err = req.GetBody()
		return answer(200, asJSON, goodJSON), nil
	}), WithRetry(RetryPolicy{Budget: Off}))
	if asks(t.Context(), rt, chatJSON); !errors.Is(err, errNotTaken) {
		t.Errorf("GetBody = %v, want %v", err, errNotTaken)
	}
}
