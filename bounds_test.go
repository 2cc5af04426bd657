package breakwater

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
)

// A flood gives out the same text over and over, and looks at its end at how
// much memory is held that was not before.
type flood struct {
	text   string
	left   int // bytes
	at     int
	before uint64
	held   int64
	end    error // io.EOF if nil
}

func newFlood(text string, size int) *flood {
	return &flood{text: strings.Repeat(text, 1+4096/len(text)), left: size, before: heap()} // not byte by byte
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// allocated is how much memory has been asked for so far, given back or not.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func (f *flood) Read(p []byte) (int, error) {
	if f.left <= 0 {
		if f.held == 0 {
			f.held = max(int64(heap())-int64(f.before), 1)
		}
		if f.end != nil {
			return 0, f.end
		}
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && f.left > 0 {
		c := copy(p[n:min(len(p), n+f.left)], f.text[f.at:])
		n, f.at, f.left = n+c, (f.at+c)%len(f.text), f.left-c
	}
	return n, nil
}

// However much a host sends of what is no answer, memory stays bounded, and
// the call ends as it should.
func TestBounds_Memory(t *testing.T) {
	const payload = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
	pad := strings.Repeat(" ", ifFull(0, 500)) // fewer events for the same bytes
	role := "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}" + pad + "\n\n"
	keep := WithStream(StreamPolicy{KeepComments: true})
	for _, tt := range []struct {
		name        string
		status      int
		contentType string
		text        string
		opts        []Option
		bound       int64
		sees        int   // the caller's status
		is          error // what the body ends in
	}{
		{"blank lines in the place of JSON", 200, asJSON, "\n", nil, 1 << 20, 502, nil},
		{"comments before a stream", 200, asStream, ": keep-alive\n\n", nil, 1 << 20, 502, nil},
		{"comments that are to be kept", 200, asStream, ": keep-alive" + pad + "\n\n", []Option{keep}, 40 << 20, 200, ErrBadResponse},
		{"a comment without an end", 200, asStream, ":", nil, 40 << 20, 502, nil},
		{"blank lines before a stream", 200, asStream, "\n\n", nil, 1 << 20, 502, nil},
		{"an event without an end", 200, asStream, "data: x", nil, 40 << 20, 502, nil},
		{"roles without payload", 200, asStream, role, nil, 40 << 20, 200, ErrBadResponse},
		{"pings before a message", 200, asStream, "event: ping\ndata: {\"type\":\"ping\"}" + pad + "\n\n", nil, 40 << 20, 200, ErrBadResponse},
		{"a stream of payload", 200, asStream, payload, nil, 1 << 20, 200, ErrTruncated},
		{"a stream of payload, cached", 200, asStream, payload, []Option{WithCache(CachePolicy{})}, 4 << 20, 200, ErrTruncated},
		{"JSON without an end", 200, asJSON, `{"a":"` + strings.Repeat("x", 1000) + `",`, nil, 40 << 20, 200, ErrTruncated},
		{"a refusal without an end", 400, asJSON, "x", nil, 8 << 20, 400, ErrTruncated},
		{"an error page without an end", 503, "text/html", "x", []Option{once}, 8 << 20, 503, ErrTruncated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var f *flood
			rt := over(t, RoundTripperFunc(func(*http.Request) (*http.Response, error) {
				f = newFlood(tt.text, int(max(int64(ifFull(8, 5))*tt.bound/4, int64(ifFull(16, 2))<<20)))
				return answerFrom(tt.status, tt.contentType, f), nil
			}), append(tt.opts, once)...)
			req, _ := post(t.Context(), "https://a", chatStream)
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != tt.sees || !errors.Is(err, tt.is) {
				t.Errorf("the caller read %d bytes of a %d and %v, want %d and %v", n, resp.StatusCode, err, tt.sees, tt.is)
			}
			if f.held == 0 {
				f.held = int64(heap()) - int64(f.before)
			}
			if f.held > tt.bound {
				t.Errorf("%d MiB are held, want at most %d", f.held>>20, tt.bound>>20)
			}
		})
	}
}

// Over a real connection: headers without an end, a small body that unpacks
// to a large one. What is allocated in all is looked at, for a large buffer
// that is dropped again would have hurt meanwhile.
func TestBounds_Bombs(t *testing.T) {
	pack := func(text string) []byte {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		io.WriteString(w, text)
		w.Close()
		return packed.Bytes()
	}
	bomb := func(prefix string) []byte { // packed in parts, which are one (RFC 1952, section 2.2)
		return append(pack(prefix), bytes.Repeat(pack(strings.Repeat(" ", 1<<20)), 32)...)
	}
	for _, tt := range []struct {
		name  string
		write func(net.Conn)
		sees  int
		class Class
	}{
		{"headers", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			io.Copy(c, &flood{text: "X-Bomb: " + strings.Repeat("x", 4000) + "\r\n", left: 32 << 20, held: 1})
		}, 503, ClassUnreachable},
		{"one header", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Bomb: ")
			io.Copy(c, &flood{text: strings.Repeat("x", 4096), left: 32 << 20, held: 1})
		}, 503, ClassUnreachable},
		{"informational answers", func(c net.Conn) {
			io.Copy(c, &flood{text: "HTTP/1.1 103 Early Hints\r\nLink: <" + strings.Repeat("x", 4000) + ">\r\n\r\n", left: 32 << 20, held: 1})
		}, 503, ClassUnreachable},
		{"blanks packed", func(c net.Conn) {
			body := bomb("")
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")
			c.Write(body)
		}, 502, ClassBadResponse},
		{"a refusal packed", func(c net.Conn) {
			body := bomb("{")
			io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")
			c.Write(body)
		}, 400, ClassRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					io.ReadAtLeast(conn, make([]byte, 4096), 100) // the request, which is small
					tt.write(conn)
					conn.Close()
				}
			}()
			rt, err := New(once) // over the transport of our own
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			before := allocated()
			got := asks(t.Context(), rt, chatJSON, func(req *http.Request) {
				req.URL.Scheme, req.URL.Host = "http", listener.Addr().String()
			})
			if got.status() != tt.sees {
				t.Fatalf("the caller got %v, want %d", got.status(), tt.sees)
			}
			trail := TrailOf(got.resp)
			if class := trail[len(trail)-1].Class; class != tt.class {
				t.Errorf("class %s, want %s", class, tt.class)
			}
			if after := allocated(); after > before+16<<20 { // half of what came
				t.Errorf("%d MiB were allocated, want at most 16", (after-before)>>20)
			}
		})
	}
}

// What the cache holds of memory is what it says it may, whatever the sizes of
// the answers and the ways the calls are spelt.
func TestBounds_MemoryOfTheCache(t *testing.T) {
	maxBytes := ifFull(16, 6) << 20
	for name, sizes := range map[string][2]int{"small": {200, 400}, "large": {200_000, 1_000_000}, "mixed": {200, 100_000}} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			size := 0
			base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				resp := answer(200, asJSON, jsonOf(size))
				resp.Header["X-Request-Id"] = []string{strings.Repeat("x", 36)}
				return resp, nil
			})
			before := inUse()
			rt := over(t, base, WithCache(CachePolicy{MaxEntries: Off, MaxBytes: int64(maxBytes)}))
			calls := 3 * maxBytes / ((sizes[0] + sizes[1]) / 2)
			for n := range min(calls, ifFull(60_000, 10_000)) {
				size = sizes[0] + random.IntN(sizes[1]-sizes[0])
				ask := question(random.IntN(calls))
				if n%2 == 0 {
					ask = strings.Replace(ask, "{", `{"stream":true,`, 1)
				}
				asks(t.Context(), rt, ask)
			}
			held, s := inUse()-before, rt.Status().Cache
			if s.Bytes < int64(maxBytes)*3/4 || s.Evictions == 0 {
				t.Errorf("%+v: the cache is not full", s)
			}
			if most := int64(maxBytes)*12/10 + 1<<20; held > most {
				t.Errorf("the cache holds %d bytes, says %d, and may hold %d: %d entries", held, s.Bytes, most, s.Entries)
			}
			t.Logf("%d entries: held %d, counted %d", s.Entries, held, s.Bytes)
		})
	}
}

// Sizes that no int of 32 bits holds are as good as any: nothing of an answer
// is too large, or lost, for them.
func TestBounds_LargestBuffers(t *testing.T) {
	for _, size := range []int64{1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, math.MaxInt64} {
		for name, opts := range map[string][]Option{
			"alone":  nil,
			"backed": {WithEndpoints(at("a")...), WithBackup(at("b")...)},
			"cached": {WithCache(CachePolicy{MaxBytes: size, MaxEntryBytes: size, MaxEntries: math.MaxInt})},
		} {
			opts = append(opts, WithStream(StreamPolicy{MaxBuffer: size}), WithRetry(RetryPolicy{MaxReplay: size}))
			rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
				if strings.HasPrefix(req.Header.Get("Accept"), "text/event-stream") || req.Header.Get("X-Streams") != "" {
					return answer(200, asStream, wholeStream), nil
				}
				return answer(200, asJSON, goodJSON), nil
			}), opts...)
			for range 2 {
				if got := asks(t.Context(), rt, question(1)); got.body != goodJSON || got.err != nil {
					t.Errorf("%s, sizes of %d: %v, want the answer", name, size, got)
				}
				if got := asks(t.Context(), rt, chatStream, with("Accept", asStream)); got.body != wholeStream || got.err != nil {
					t.Errorf("%s, sizes of %d: %v, want the stream", name, size, got)
				}
				if got := asks(t.Context(), rt, question(2), with("X-Streams", "1")); textOf(got.body) != "hi" || got.err != nil {
					t.Errorf("%s, sizes of %d: %v, want the stream as JSON", name, size, got)
				}
			}
		}
	}
}

// JSON that is not judged whole does not end as if it were whole, either.
func TestBounds_CutJSONThatIsNotBuffered(t *testing.T) {
	for _, buffer := range []int64{Off, 10} {
		base := newHosts(func(*http.Request) (*http.Response, error) {
			resp := answer(200, asJSON, goodJSON[:len(goodJSON)-9])
			resp.ContentLength = -1
			return resp, nil
		})
		got := asks(t.Context(), over(t, base, WithStream(StreamPolicy{MaxBuffer: buffer})), chatJSON)
		if !errors.Is(got.err, ErrTruncated) {
			t.Errorf("MaxBuffer %d: %v, want ErrTruncated", buffer, got)
		}
	}
}

// naming asks for a model by name.
func naming(model string) string {
	return fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"q"}]}`, model)
}

// modelOf is the model that a request names.
func modelOf(req *http.Request) string { return callOf(req.Context()).params.Model }

// A well model shares nothing with names that mean nothing, whatever a host
// makes of those and however many they are; and it keeps what it has.
func TestBounds_GarbageModels(t *testing.T) {
	for name, garbage := range map[string]handler{
		"not found": gives(404, asJSON, `{"error":{"code":"model_not_found"}}`),
		"refused":   gives(400, asJSON, `{"error":{"message":"?"}}`),
		"failing":   failing503,
		"open":      failing503, // each opens its circuit
		"broken":    gives(200, asJSON, "<html>"),
		"served":    gives(200, asJSON, goodJSON),
	} {
		for _, first := range []bool{true, false} { // the well model is known before
			t.Run(fmt.Sprintf("%s/known=%v", name, first), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					policy := BreakerPolicy{}
					if name == "open" {
						policy.Consecutive = 1
					}
					rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
						if modelOf(req) == "well" {
							return answer(200, asJSON, goodJSON), nil
						}
						return garbage(req)
					}), once, WithEndpoints(at("a")...), WithBreaker(policy))
					circuits := rt.now().tiers[0][0].circuits
					if first {
						asks(t.Context(), rt, naming("well"))
					}
					before := circuits.Lookup("well")
					for n := range 3 * circuit.MaxCircuits {
						asks(t.Context(), rt, naming(fmt.Sprint("garbage-", n)))
						if n%50 == 0 && first {
							asks(t.Context(), rt, naming("well"))
						}
						if n%8 == 0 {
							if all := len(circuits.Status(time.Now())); all > circuit.MaxCircuits {
								t.Fatalf("%d circuits, want at most %d", all, circuit.MaxCircuits)
							}
						}
					}
					for n := range 60 {
						asks(t.Context(), rt, naming(fmt.Sprint("more-", n)))
						if got := asks(t.Context(), rt, naming("well")); got.body != goodJSON {
							t.Fatalf("call %d of a well model got %v", n+1, got)
						}
					}
					if c := circuits.Lookup("well"); c == nil || first && c != before {
						t.Errorf("the well model's circuit is %p, want its own, as before: %p", c, before)
					}
				})
			})
		}
	}
}

// What is open stays open, and who is being served is not forgotten, for all
// the names that come meanwhile.
func TestBounds_WhatIsInUseStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		piped := newPiped()
		rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
			switch modelOf(req) {
			case "sick":
				return failing503(req)
			case "held":
				return piped.RoundTrip(req)
			}
			return gives(404, asJSON, `{"error":{"code":"model_not_found"}}`)(req)
		}), once, WithEndpoints(at("a")...), WithBreaker(BreakerPolicy{Consecutive: 1}))
		circuits := rt.now().tiers[0][0].circuits
		asks(t.Context(), rt, naming("sick"))
		ask := func() *http.Response {
			req, _ := post(t.Context(), "https://a", strings.Replace(naming("held"), "{", `{"stream":true,`, 1))
			go func() { (<-piped.opened).Send(goodEvent) }()
			resp, err := rt.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		resp := ask()
		sick, held := circuits.Lookup("sick"), circuits.Lookup("held")
		for n := range 3 * circuit.MaxCircuits {
			asks(t.Context(), rt, naming(fmt.Sprint("garbage-", n)))
		}
		if circuits.Lookup("sick") != sick || circuits.Lookup("held") != held {
			t.Error("a circuit that is open, or in use, is another now")
		}
		if s := circuits.Lookup("sick").Status(time.Now()).State; s != "open" {
			t.Errorf("the sick model's circuit is %s, want open", s)
		}
		resp.Body.Close()
	})
}

// Models in use at once may be more than are kept: still none shares another's
// circuit or limit, and what is open in all of them is given back.
func TestBounds_AllInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		piped := newPiped()
		rt := over(t, piped, once, WithEndpoints(at("a")...), WithRateLimit(RatePolicy{InFlight: 1}))
		var open []*http.Response
		for n := range circuit.MaxCircuits + 20 {
			req, _ := post(t.Context(), "https://a", strings.Replace(chatStream, `"m"`, fmt.Sprintf(`"m%d"`, n), 1))
			go func() { (<-piped.opened).Send(goodEvent) }()
			resp, err := rt.RoundTrip(req)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			open = append(open, resp)
		}
		if n := len(rt.now().tiers[0][0].circuits.Status(time.Now())); n != len(open) {
			t.Errorf("%d circuits of %d models in use", n, len(open))
		}
		for _, resp := range open {
			resp.Body.Close()
		}
		if left := stillHeld(rt); left != "" {
			t.Errorf("got %s left, want nothing", left)
		}
		asks(t.Context(), rt, naming("one more"))
		if n := len(rt.now().tiers[0][0].circuits.Status(time.Now())); n > circuit.MaxCircuits {
			t.Errorf("%d circuits when none is in use any more, want at most %d", n, circuit.MaxCircuits)
		}
	})
}

// Origins are as callers name them: what is kept for them is bounded, and those
// that are in use, sick or of use stay when others come.
func TestBounds_Origins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		piped := newPiped()
		base := newHosts(gives(404, asJSON, `{"error":{"code":"model_not_found"}}`))
		base.Set("a", piped.RoundTrip)
		base.Set("sick", failing503)
		base.Set("well", gives(200, asJSON, goodJSON))
		rt := over(t, base, once, WithRateLimit(RatePolicy{InFlight: 10}), WithBreaker(BreakerPolicy{Consecutive: 1}))
		ask := func(host string) seen {
			return asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL.Host = host })
		}
		of := func(host string) *upstream { return rt.now().targetOf(mustURL(t, "https://"+host), true) }
		h := piped.hold(t, rt)
		ask("sick")
		ask("well")
		busy, sick, well := of("a"), of("sick"), of("well")
		for n := range 12 * maxOrigins {
			ask(fmt.Sprintf("garbage-%d", n))
			if all := len(rt.now().origins.All()); all > maxOrigins {
				t.Fatalf("%d origins, want at most %d", all, maxOrigins)
			}
		}
		if of("a") != busy || of("sick") != sick || of("well") != well {
			t.Errorf("kept: the busy origin %v, the sick one %v, the well one %v, want all", of("a") == busy, of("sick") == sick, of("well") == well)
		}
		before := base.Count("sick")
		if got := ask("sick"); got.header(headerError) != string(ClassCircuitOpen) || base.Count("sick") != before {
			t.Errorf("the sick origin was asked again: %v", got)
		}
		for n := range 12 * maxOrigins { // now they answer, too
			host := fmt.Sprintf("other-%d", n)
			base.Set(host, gives(200, asJSON, goodJSON))
			ask(host)
			ask("well")
		}
		if of("a") != busy || of("well") != well {
			t.Errorf("kept: the busy origin %v, the well one %v, want both", of("a") == busy, of("well") == well)
		}
		h.leave()
	})
}

// However many origins callers name, and whatever these answer, what is kept of them is
// bounded: circuits, limits, budgets, pauses and memory.
func TestBounds_FloodOfOrigins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		answers := []handler{gives(429, asJSON, "{}"), gives(503, asJSON, "{}", "Retry-After", "600"), refusing, gives(200, asJSON, goodJSON), gives(404, asJSON, "{}")}
		rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) { n++; return answers[n%len(answers)](req) }),
			once, WithRateLimit(RatePolicy{InFlight: 10, PerSecond: 1000}), WithBreaker(BreakerPolicy{Consecutive: 1}), WithStream(StreamPolicy{Rescue: RescueOff}))
		before := heap()
		for i := range ifFull(15000, 5000) { // more change nothing: by then, all bounds are reached
			host := fmt.Sprintf("%d.example", i)
			asks(t.Context(), rt, chatJSON, func(req *http.Request) { req.URL.Host = host })
			if i%100 == 0 {
				gets(t.Context(), rt, "https://"+host+"/models")
			}
		}
		if grown := int64(heap()) - int64(before); grown > 16<<20 {
			t.Errorf("the heap has grown by %d bytes", grown)
		} else {
			t.Logf("the heap has grown by %d bytes", grown)
		}
		circuits := 0
		for _, e := range rt.now().upstreams.all() {
			circuits += len(e.circuits.Status(time.Now()))
		}
		if n, pauses := len(rt.now().origins.All()), len(rt.now().failover.pauses.List(time.Now())); n > maxOrigins || circuits > 2*maxOrigins || pauses > 4096 {
			t.Errorf("%d origins, %d circuits, %d pauses", n, circuits, pauses)
		}
	})
}

// Names like books are passed on, and not kept.
func TestBounds_LongModelNamesAreNotKept(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON))
	rt := over(t, base)
	const long = 1000 // bytes
	name := strings.Repeat("m", long)
	if got := asks(t.Context(), rt, `{"model":"`+name+`","messages":[]}`); got.body != goodJSON {
		t.Errorf("the caller got %v", got)
	}
	for _, c := range rt.Status().Endpoints[0].Circuits {
		if len(c.Model) >= long {
			t.Errorf("a circuit keeps a name of %d bytes", len(c.Model))
		}
	}
}
