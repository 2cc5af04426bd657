package breakwater

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/request"
)

// Bodies that are lent to net/http's own transport: what is sent, what is known of it, and
// that no call's body ever gets into another's request.

// pipedBase is net/http's own transport, whose connections lead to serve. Nothing is buffered
// between both ends: what serve does not read, the transport has not written.
func pipedBase(serve func(net.Conn)) (base *http.Transport, writes *atomic.Int32) {
	writes = new(atomic.Int32)
	return &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serve(server)
		return &countedConn{client, writes}, nil
	}}, writes
}

// A countedConn counts its writes. Its Close does not end a write, so that the transport goes
// on with a request that it has given up, as one may do with what its kernel or its TLS layer
// has taken.
type countedConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c *countedConn) Close() error {
	time.AfterFunc(time.Second, func() { c.Conn.Close() })
	return nil
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// closeAll closes the connections of a pipedBase, and waits until they are closed.
func closeAll(base *http.Transport) {
	base.CloseIdleConnections()
	time.Sleep(2 * time.Second)
}

// respond writes a whole answer.
func respond(conn net.Conn, status, body string) {
	fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// answersAll reads each request, and answers it.
func answersAll(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			conn.Close()
			return
		}
		io.Copy(io.Discard, req.Body)
		respond(conn, "200 OK", goodJSON)
	}
}

// toLocal has calls go to http://127.0.0.1, which pipedBase leads elsewhere.
func toLocal(req *http.Request) { req.URL.Scheme, req.URL.Host = "http", "127.0.0.1" }

// Headers and body go in one write, unless somebody has to see the body's reads.
func TestLoan_OneWrite(t *testing.T) {
	through := func(next http.RoundTripper) http.RoundTripper { return next }
	for name, tt := range map[string]struct {
		want int32
		wrap func(http.RoundTripper) http.RoundTripper
		opts []Option
		edit func(*http.Request)
	}{
		"by default":                 {want: 1},
		"a base that is not its own": {want: 2, wrap: func(rt http.RoundTripper) http.RoundTripper { return RoundTripperFunc(rt.RoundTrip) }},
		"SendOnce":                   {want: 2, opts: []Option{WithRetry(RetryPolicy{SendOnce: true})}},
		"middleware":                 {want: 2, opts: []Option{WithAttemptMiddleware(through)}},
		"Rewrite":                    {want: 2, opts: []Option{WithEndpoints(Endpoint{Name: "a", URL: "http://127.0.0.1", APIKey: "sk", Rewrite: func(*http.Request) error { return nil }})}},
		"Expect":                     {want: 2, edit: with("Expect", "100-continue")},
		"an upload":                  {want: 2, opts: []Option{WithRetry(RetryPolicy{MaxReplay: 1})}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				base, writes := pipedBase(answersAll)
				defer closeAll(base)
				var below http.RoundTripper = base
				if tt.wrap != nil {
					below = tt.wrap(base)
				}
				edit := tt.edit
				if edit == nil {
					edit = func(*http.Request) {}
				}
				got := asks(t.Context(), over(t, below, tt.opts...), chatJSON, toLocal, edit)
				if n := writes.Load(); got.status() != 200 || n != tt.want {
					t.Errorf("the caller got %v after %d writes, want an answer after %d", got, n, tt.want)
				}
			})
		})
	}
}

// What is known of an attempt does not depend on how its body was sent.
func TestLoan_WhatIsBilled(t *testing.T) {
	for name, tt := range map[string]struct {
		serve  func(net.Conn)
		edit   func(*http.Request)
		billed bool
	}{
		"hung up at once":                              {serve: func(conn net.Conn) { conn.Close() }},
		"hung up after the body":                       {serve: func(conn net.Conn) { readRequest(conn); conn.Close() }, billed: true},
		"hung up before a body that it should ask for": {serve: func(conn net.Conn) { http.ReadRequest(bufio.NewReader(conn)); conn.Close() }, edit: with("Expect", "100-continue")},
		"hung up within the body":                      {serve: func(conn net.Conn) { io.ReadFull(conn, make([]byte, 200)); conn.Close() }, billed: true},
		"refused before the body": {serve: func(conn net.Conn) {
			http.ReadRequest(bufio.NewReader(conn))
			respond(conn, "417 Expectation Failed", "{}")
		}, edit: with("Expect", "100-continue")},
		"refused after the body":   {serve: func(conn net.Conn) { readRequest(conn); respond(conn, "500 Internal Server Error", "{}") }},
		"a gateway that timed out": {serve: func(conn net.Conn) { readRequest(conn); respond(conn, "504 Gateway Timeout", "{}") }, billed: true},
	} {
		for _, lent := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/lent=%v", name, lent), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					base, _ := pipedBase(func(conn net.Conn) { tt.serve(conn) })
					base.ExpectContinueTimeout = time.Minute
					var below http.RoundTripper = base
					if !lent {
						below = RoundTripperFunc(base.RoundTrip)
					}
					var trail Trail
					edit := tt.edit
					if edit == nil {
						edit = func(*http.Request) {}
					}
					asks(WithCall(t.Context(), Call{Trail: &trail, Attempts: 1}), over(t, below), longChat("x"), toLocal, edit)
					if a := trail.Attempts(); len(a) != 1 || a[0].MayBeBilled != tt.billed && name != "hung up at once" {
						t.Errorf("the trail is %+v, want one attempt, to be billed: %v", a, tt.billed)
					}
					closeAll(base)
				})
			})
		}
	}
}

// Rewrite may read as many copies of the body as it likes, to sign them.
func TestLoan_RewriteReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, _ := pipedBase(answersAll)
		signs := func(req *http.Request) error {
			for range 5 {
				body, err := req.GetBody()
				if err != nil {
					return err
				}
				if text, err := io.ReadAll(body); string(text) != chatJSON || err != nil {
					t.Errorf("Rewrite reads %q, %v", text, err)
				}
				body.Close()
			}
			return nil
		}
		rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "http://127.0.0.1", APIKey: "sk", Rewrite: signs}))
		if got := asks(t.Context(), rt, chatJSON, toLocal); got.status() != 200 {
			t.Errorf("the caller got %v, want an answer", got)
		}
		closeAll(base)
	})
}

// A buffer goes back to the pool when the transport has written the request, and not if
// that failed or the transport asked for another body.
func TestLoan_Settles(t *testing.T) {
	type steps func(*attempt, *http.Request)
	headers := func(a *attempt, _ *http.Request) { a.loan.wroteHeaders() }
	reads := func(_ *attempt, req *http.Request) { io.Copy(io.Discard, req.Body) }
	wrote := func(a *attempt, _ *http.Request) { a.loan.wroteRequest(httptrace.WroteRequestInfo{}) }
	failed := func(a *attempt, _ *http.Request) { a.loan.wroteRequest(httptrace.WroteRequestInfo{Err: io.EOF}) }
	replay := func(_ *attempt, req *http.Request) {
		body, err := req.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		body.Close()
	}
	for name, tt := range map[string]struct {
		steps []steps
		back  bool
	}{
		"nothing said":              {[]steps{reads}, false},
		"written":                   {[]steps{headers, reads, wrote}, true},
		"failed":                    {[]steps{headers, reads, failed}, false},
		"failed, written":           {[]steps{headers, reads, failed, wrote}, false},
		"replayed, written":         {[]steps{headers, reads, replay, wrote}, false},
		"written, replayed":         {[]steps{headers, reads, wrote, replay, headers, wrote}, true},
		"a dialer's before, unread": {[]steps{headers, wrote}, false},
	} {
		a, req := lending(t)
		b := a.buffer
		for _, step := range tt.steps {
			step(a, req)
		}
		a.useBuffer(nil)
		a.call.releaseBody()
		if back := len(b.Bytes()) == 0; back != tt.back {
			t.Errorf("%s: the buffer is back in the pool: %v, want %v", name, back, tt.back)
		}
	}
}

// lending returns an attempt whose body is lent, and the request with that body.
func lending(t *testing.T) (*attempt, *http.Request) {
	rt := over(t, &http.Transport{})
	req, _ := http.NewRequest(http.MethodPost, "http://127.0.0.1/chat/completions", strings.NewReader(chatJSON))
	op, _ := request.OperationOf(req)
	c, err := rt.now().newCall(req, op, rt.now().targetOf(req.URL, true))
	if err != nil {
		t.Fatal(err)
	}
	r := rt.now().failover.newRun(c)
	r.now()
	a := r.begin(step{action: try, endpoint: c.target})
	req = req.Clone(t.Context())
	a.setBody(req)
	return a, req
}

// Of the bodies that the transport asks for, it may send one in place of the first that was
// sent, also if no trace says that the first one was.
func TestLoan_ReplaysAreCounted(t *testing.T) {
	a, _ := lending(t)
	for i, want := range []error{nil, nil, errNotTaken} {
		body, err := a.transmission.replay()
		if err != want {
			t.Fatalf("replay %d: %v, want %v", i, err, want)
		}
		if err == nil {
			io.Copy(io.Discard, body)
			body.Close()
		}
	}
}

// Also over HTTP/2, a request that no host has read is sent once more, and not again and
// again.
func TestLoan_UnreadIsSentOnceMore(t *testing.T) {
	overHTTP2(t, func(rt *Transport, server *kit.Server, ask func() seen) {
		ask() // connects
		before := len(server.Requests())
		server.Break(kit.RefusedStream())
		server.BreakNext(1, kit.GoAway())
		got := ask()
		if n := len(server.Requests()) - before; got.status() != 503 || n > 3 {
			t.Errorf("the caller got %v after %d requests, want our own 503 after 3 at most", got, n)
		}
	})
}

// readRequest reads a whole request, and returns its body.
func readRequest(conn net.Conn) string {
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return ""
	}
	body, _ := io.ReadAll(req.Body)
	return string(body)
}

// longChat is a chat that is larger than any buffer on its way, and says in all its parts
// whose it is.
func longChat(name string) string {
	return `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat(name+" ", 200_000/(len(name)+1)) + `"}]}`
}

// A registered protocol takes the body out of net/http's hands, and traces nothing.
func TestLoan_RegisteredProtocol(t *testing.T) {
	for _, fails := range []bool{true, false} {
		base := &http.Transport{}
		base.RegisterProtocol("http", RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
			if fails {
				return nil, errors.New("reset")
			}
			return answer(504, asJSON, "{}"), nil
		}))
		var trail Trail
		asks(WithCall(t.Context(), Call{Trail: &trail, Attempts: 1}), over(t, base), chatJSON, toLocal)
		if a := trail.Attempts(); len(a) != 1 || !a[0].MayBeBilled {
			t.Errorf("fails: %v: the trail is %+v, want an attempt that may be billed", fails, a)
		}
	}
	var trail Trail
	asks(WithCall(t.Context(), Call{Trail: &trail, Attempts: 1}), over(t, &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no route") }}), chatJSON, toLocal)
	if a := trail.Attempts(); len(a) != 1 || a[0].MayBeBilled {
		t.Errorf("the trail is %+v, want an attempt that reached nobody", a)
	}
}

// The caller's own trace sees what it sees without breakwater.
func TestLoan_CallersTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bare, through []string
		for _, events := range []*[]string{&bare, &through} {
			base, _ := pipedBase(answersAll)
			var rt http.RoundTripper = base
			if events == &through {
				rt = over(t, base)
			}
			var mu sync.Mutex
			note := func(event string) {
				mu.Lock()
				defer mu.Unlock()
				*events = append(*events, event)
			}
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GetConn: func(host string) { note("GetConn " + host) }, GotConn: func(httptrace.GotConnInfo) { note("GotConn") },
				WroteHeaders: func() { note("WroteHeaders") }, WroteRequest: func(i httptrace.WroteRequestInfo) { note(fmt.Sprint("WroteRequest ", i.Err)) },
				GotFirstResponseByte: func() { note("GotFirstResponseByte") },
			})
			asks(ctx, rt, chatJSON, toLocal)
			synctest.Wait()
			closeAll(base)
		}
		slices.Sort(bare) // the end of the writing and the first byte may come in any order
		slices.Sort(through)
		if got, want := fmt.Sprint(through), fmt.Sprint(bare); got != want || len(bare) != 5 {
			t.Errorf("the caller's trace has %s, want %s", got, want)
		}
	})
}

// A host may answer before it has read the request, and read on when the caller has its
// answer. Meanwhile the calls of others fill buffers.
func TestLoan_HostsThatReadLate(t *testing.T) {
	for name, beforeDial := range map[string]func(context.Context){
		"directly": func(context.Context) {},
		// The context of a dial has the request's trace, so the trace tells of the dialer's
		// own requests, too.
		"through a dialer that sends a request": func(ctx context.Context) {
			req, _ := http.NewRequestWithContext(ctx, http.MethodConnect, "http://proxy", http.NoBody)
			req.Write(io.Discard)
		},
		"through a dialer that asks a server": func(ctx context.Context) {
			resolver, _ := pipedBase(answersAll)
			resolver.DisableKeepAlives = true
			req, _ := http.NewRequestWithContext(ctx, http.MethodPost, "http://resolver", strings.NewReader("where?"))
			if resp, err := resolver.RoundTrip(req); err == nil {
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		},
	} {
		bubble(t, name, func(t *testing.T) {
			var rest strings.Builder
			answered, others := make(chan struct{}), make(chan struct{})
			late := func(conn net.Conn) {
				in := bufio.NewReader(conn)
				req, _ := http.ReadRequest(in)
				io.CopyN(&rest, req.Body, 1000)
				respond(conn, "200 OK", goodJSON)
				close(answered)
				<-others
				io.Copy(&rest, req.Body)
				conn.Close()
			}
			n := 0
			base, _ := pipedBase(func(conn net.Conn) {
				if n++; n == 1 {
					late(conn)
				} else {
					answersAll(conn)
				}
			})
			dial := base.DialContext
			base.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				beforeDial(ctx)
				return dial(ctx, network, addr)
			}
			rt := over(t, base)
			first := longChat("first")
			if got := asks(t.Context(), rt, first, toLocal); got.status() != 200 {
				t.Fatalf("the caller got %v, want an answer", got)
			}
			<-answered
			for i := range 20 {
				asks(t.Context(), rt, longChat(fmt.Sprintf("no-%02d", i)), toLocal)
			}
			close(others)
			synctest.Wait()
			if got := rest.String(); len(got) < 10_000 || !strings.HasPrefix(first, got) {
				t.Errorf("the host got %d bytes that are not the first call's", len(got))
			}
			closeAll(base)
		})
	}
}

// Whatever hosts and callers do, a host gets the beginning of one call's body and nothing
// else.
func TestLoan_BodiesAreNeverMixedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		source := rand.New(rand.NewPCG(1, 2))
		random := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return source.IntN(n)
		}
		var read, wrong, whole atomic.Int64
		serve := func(conn net.Conn) {
			defer conn.Close()
			in := bufio.NewReader(conn)
			for {
				req, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				var got bytes.Buffer
				early, part := random(3) == 0, random(2) == 0
				if part {
					io.CopyN(&got, req.Body, int64(random(100_000)))
				}
				if early {
					respond(conn, []string{"200 OK", "500 Internal Server Error"}[random(2)], goodJSON)
				}
				if hangsUp := random(4) == 0; !hangsUp {
					for range random(3) {
						time.Sleep(time.Duration(random(20)) * time.Millisecond)
						io.CopyN(&got, req.Body, int64(random(100_000)))
					}
					io.Copy(&got, req.Body)
				}
				read.Add(int64(got.Len()))
				if name, _, _ := strings.Cut(strings.TrimPrefix(got.String(), longChatHead), " "); got.Len() > len(longChatHead)+20 && !strings.HasPrefix(longChat(name), got.String()) {
					wrong.Add(1)
				}
				if early || random(4) == 0 {
					return
				}
				respond(conn, "200 OK", goodJSON)
			}
		}
		base, _ := pipedBase(serve)
		rt := over(t, base, WithEndpoints(
			Endpoint{Name: "a", URL: "http://127.0.0.1", APIKey: "sk-a", Account: "a"}, Endpoint{Name: "b", URL: "http://127.0.0.2", APIKey: "sk-b", Account: "b"}),
			WithRetry(RetryPolicy{MinDelay: Off, Budget: 100}), WithBreaker(BreakerPolicy{FailureRate: Off, Consecutive: Off}),
			WithStream(StreamPolicy{Hedge: 5 * time.Millisecond, HedgeBackup: true, FirstToken: 20 * time.Millisecond, Thinking: 20 * time.Millisecond}))
		var callers sync.WaitGroup
		for worker := range 8 {
			callers.Go(func() {
				for i := range 40 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(10+random(100))*time.Millisecond)
					if got := asks(ctx, rt, longChat(fmt.Sprintf("call-%d-%d", worker, i)), toLocal); got.status() == 200 {
						whole.Add(1)
					}
					cancel()
				}
			})
		}
		callers.Wait()
		time.Sleep(time.Minute) // until the last connection is closed
		closeAll(base)
		if wrong.Load() > 0 {
			t.Errorf("%d hosts got bytes of another call", wrong.Load())
		}
		if whole.Load() == 0 || read.Load() < 10<<20 {
			t.Errorf("%d answers, %d bytes read: nothing was tested", whole.Load(), read.Load())
		}
	})
}

// longChatHead is how longChat begins.
const longChatHead = `{"model":"m","messages":[{"role":"user","content":"`
