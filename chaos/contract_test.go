package chaos_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	bt "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// A tracked body counts its closes, and may be silent for a time.
type tracked struct {
	io.Reader
	ctx    context.Context // nil: it is never silent
	silent time.Duration
	closes atomic.Int32
	closed chan struct{}
	once   sync.Once
}

func track(r io.Reader) *tracked { return &tracked{Reader: r, closed: make(chan struct{})} }

func (b *tracked) Read(p []byte) (int, error) {
	select {
	case <-b.closed:
		return 0, http.ErrBodyReadAfterClose
	default:
	}
	if b.silent > 0 {
		select {
		case <-time.After(b.silent):
		case <-b.closed:
			return 0, http.ErrBodyReadAfterClose
		case <-b.ctx.Done():
			return 0, context.Cause(b.ctx)
		}
	}
	return b.Reader.Read(p[:min(len(p), 700)])
}

func (b *tracked) Close() error {
	b.closes.Add(1)
	b.once.Do(func() { close(b.closed) })
	return nil
}

// randomRule returns a rule with a random fault and random arguments that it has.
func randomRule(rng *rand.Rand) chaos.Rule {
	all := chaos.Faults()
	f := all[rng.IntN(len(all))]
	r := chaos.Rule{Fault: f.Fault, Every: rng.IntN(3), Skip: rng.IntN(2), Times: rng.IntN(4)}
	for _, arg := range f.Args {
		d := time.Duration(1+rng.IntN(5000)) * time.Millisecond
		switch arg {
		case "delay":
			r.Delay = d
		case "queue":
			r.Queue = d
		case "first_token":
			r.FirstToken = d
		case "per_token":
			r.PerToken = d
		case "retry_after":
			r.RetryAfter = d
		case "after":
			r.After = rng.IntN(6)
		case "limit":
			r.Limit = 1 + rng.IntN(9)
		case "status":
			r.Status = []int{400, 401, 403, 404, 429, 500, 503, 529}[rng.IntN(8)]
		case "bytes_per_second":
			r.BytesPerSecond = 1 + rng.IntN(5000)
		}
	}
	if rng.IntN(3) == 0 {
		r.Probability = 0.5
	}
	if rng.IntN(3) == 0 {
		r.Match.Stream = new(rng.IntN(2) == 0)
	}
	return r
}

// A sample is a host's answer.
type sample struct {
	contentType string
	text        []byte
}

func samples() []sample {
	var stream strings.Builder
	stream.WriteString("data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\"}}]}\n\n")
	for n := range 5 {
		fmt.Fprintf(&stream, ": keep-alive\r\n\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word %d\"}}]}\n\n", n)
	}
	stream.WriteString("data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	return []sample{
		{"text/event-stream", []byte(stream.String())},
		{"application/json", []byte(`{"choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 400) + `"},"finish_reason":"stop"}]}`)},
		{"application/json", nil},
		{"text/event-stream", []byte("data: {\"choices\":[{\"delta\":{\"content\":\"an event that does not end\"}}]}")},
		{"text/event-stream", []byte("\n\n\n: only comments\n\n")},
	}
}

// respond makes the answer of a host in one of many forms.
func respond(rng *rand.Rand, req *http.Request) (*http.Response, *tracked, []byte) {
	all := samples()
	one := all[rng.IntN(len(all))]
	resp := &http.Response{
		StatusCode: 200, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1 - rng.IntN(2),
		Header: http.Header{"Content-Type": {one.contentType}}, ContentLength: -1, Request: req,
	}
	if rng.IntN(5) == 0 {
		resp.StatusCode = 503
	}
	sent := one.text
	if rng.IntN(3) == 0 {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		_, _ = w.Write(one.text)
		_ = w.Close()
		sent = zipped.Bytes()
		resp.Header.Set("Content-Encoding", "gzip")
	} else if rng.IntN(8) == 0 {
		resp.Header.Set("Content-Encoding", "br")
	}
	if rng.IntN(2) == 0 {
		resp.ContentLength = int64(len(sent))
		resp.Header.Set("Content-Length", strconv.Itoa(len(sent)))
	}
	b := track(bytes.NewReader(sent))
	b.ctx, b.silent = req.Context(), time.Duration(rng.IntN(3))*time.Second
	resp.Body = b
	return resp, b, sent
}

// Whatever the rules are, the contract of http.RoundTripper holds: the request stays as it is,
// its body is closed once, the host's body too, lengths are right, all ends with the caller,
// and no goroutine is left.
func TestContract_Random(t *testing.T) {
	for seed := range uint64(3000) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 23))
			var rules []chaos.Rule
			for range 1 + rng.IntN(3) {
				rules = append(rules, randomRule(rng))
			}
			i := injector(t, chaos.Config{Seed: seed, Rules: rules})
			for n := range 4 {
				if what := breach(t, rng, i); what != "" {
					t.Errorf("seed %d, request %d, rules %+v: %s", seed, n, i.Rules(), what)
				}
			}
		})
	}
}

// breach makes a request and says what is wrong.
func breach(t *testing.T, rng *rand.Rand, i *chaos.Injector) string {
	var hostBody *tracked
	sends := 0
	host := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		sends++
		if req.Body != nil {
			_, _ = io.Copy(io.Discard, req.Body)
			_ = req.Body.Close()
		}
		if rng.IntN(8) == 0 {
			return nil, errors.New("the host's own error")
		}
		var resp *http.Response
		resp, hostBody, _ = respond(rng, req)
		return resp, nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.IntN(60))*time.Second)
	defer cancel()
	const text = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	body := track(strings.NewReader(text))
	req, err := http.NewRequestWithContext(ctx, "POST", "http://a.test/chat/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer sk-secret")
	if rng.IntN(2) == 0 {
		req.ContentLength = int64(len(text))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	} else if rng.IntN(4) == 0 {
		body.silent, body.ctx = time.Minute, context.Background() // an upload that takes its time
	}
	before := req.Clone(ctx)

	resp, err := i.Middleware(host).RoundTrip(req)
	var got []byte
	var readErr error
	if resp != nil {
		if resp.Request != req || resp.Body == nil || resp.Header == nil {
			return fmt.Sprintf("the response lacks something: %+v", resp)
		}
		if rng.IntN(4) == 0 {
			got = make([]byte, rng.IntN(200))
			_, readErr = io.ReadFull(resp.Body, got)
			readErr = cmpErr(readErr, io.ErrNoProgress) // it was left before its end
		} else {
			got, readErr = io.ReadAll(resp.Body)
		}
		_ = resp.Body.Close()
		if hostBody == nil || resp.Body != io.ReadCloser(hostBody) {
			_ = resp.Body.Close()
		}
		if n, err := resp.Body.Read(make([]byte, 1)); n > 0 || err == nil {
			return "a closed body gives more"
		}
	}
	cancel()
	synctest.Wait()
	switch {
	case (resp == nil) == (err == nil):
		return fmt.Sprintf("response %v and error %v", resp, err)
	case sends > 1:
		return fmt.Sprintf("it was sent %d times", sends)
	case body.closes.Load() != 1:
		return fmt.Sprintf("the request's body was closed %d times", body.closes.Load())
	case hostBody != nil && hostBody.closes.Load() != 1:
		return fmt.Sprintf("the host's body was closed %d times", hostBody.closes.Load())
	case !reflect.DeepEqual(req.Header, before.Header) || req.URL.String() != before.URL.String() || req.Body != body || req.ContentLength != before.ContentLength:
		return "the request was changed"
	case resp == nil:
		return ""
	}
	return flaw(resp, got, readErr)
}

// flaw says what is wrong with a response whose body was read.
func flaw(resp *http.Response, got []byte, readErr error) string {
	switch {
	case resp.ContentLength >= 0 && readErr == nil && int64(len(got)) != resp.ContentLength:
		return fmt.Sprintf("%d bytes ended cleanly, of a Content-Length of %d", len(got), resp.ContentLength)
	case (resp.ContentLength >= 0) != (resp.Header.Get("Content-Length") != ""):
		return fmt.Sprintf("ContentLength is %d, the header %q", resp.ContentLength, resp.Header.Get("Content-Length"))
	case resp.Header.Get("Content-Encoding") == "gzip" && readErr == nil && !bytes.HasPrefix(got, []byte{0x1f, 0x8b}):
		return "it says gzip, and is not"
	case strings.Contains(fmt.Sprint(resp.Header)+string(got), "chaos"):
		return "the answer shows the Injector"
	}
	return ""
}

// cmpErr returns err, or another error if there is none.
func cmpErr(err, otherwise error) error {
	if err == nil {
		return otherwise
	}
	return err
}

// Close ends a Read that waits.
func TestClose_EndsARead(t *testing.T) {
	for _, rule := range []chaos.Rule{
		{Fault: chaos.QueueForever, KeepAlive: time.Hour}, {Fault: chaos.Silence}, {Fault: chaos.StallStream}, {Fault: chaos.Slow, FirstToken: time.Hour},
	} {
		inBubble(t, host(), chaos.Config{Rules: []chaos.Rule{rule}}, func(r *rig) {
			req, err := bt.ChatRequest(r.t.Context(), r.fleet.Servers()[0].URL(), "sk-1", "m", prompt, true)
			if err != nil {
				r.t.Fatal(err)
			}
			resp, err := r.client.Do(req)
			if err != nil {
				r.t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := io.Copy(io.Discard, resp.Body)
				ended <- err
			}()
			synctest.Wait()
			start := time.Now()
			_ = resp.Body.Close()
			if err := <-ended; !errors.Is(err, http.ErrBodyReadAfterClose) || time.Since(start) > 0 {
				r.t.Errorf("%s: Read ended in %v after %v", rule.Fault, err, time.Since(start))
			}
		})
	}
}

// Over HTTP/2 and from hosts that compress, faults are what they are otherwise.
func TestFaults_OnHTTP2AndGzip(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		h := host()
		h.HTTP2 = http2
		for _, rule := range []chaos.Rule{
			{Fault: chaos.CutStream, After: 3}, {Fault: chaos.EndStream, After: 3}, {Fault: chaos.MalformedEvent, After: 3}, {Fault: chaos.Slow, FirstToken: time.Second},
		} {
			inBubble(t, h, chaos.Config{Rules: []chaos.Rule{rule}}, func(r *rig) {
				server := r.fleet.Servers()[0]
				want := r.call(bt.Chat, true)
				server.Break(bt.Gzip())
				got := r.call(bt.Chat, true)
				if (got.err == nil) != (want.err == nil) || got.reply.Content != want.reply.Content || r.Stats().Rules[0].Unfit != 0 {
					r.t.Errorf("%s: with gzip %q, %v, without %q, %v", rule.Fault, got.reply.Content, got.err, want.reply.Content, want.err)
				}
			})
		}
	}
}

// Trailers of a body that comes to its end arrive, and an answer that the caller itself asked to
// be compressed stays so if only its speed changes.
func TestTrailersAndEncoding_AreKept(t *testing.T) {
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(`{"choices":[]}`))
	_ = w.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(zipped.Bytes())
		w.Header().Set("X-Sum", "42")
	}))
	defer server.Close()
	for _, rule := range []chaos.Rule{
		{Fault: chaos.Bandwidth, BytesPerSecond: 1 << 20}, {Fault: chaos.Slow, FirstToken: time.Nanosecond}, {Fault: chaos.MalformedJSON},
	} {
		base := &http.Transport{}
		rt := injector(t, chaos.Config{Rules: []chaos.Rule{rule}}).Middleware(base)
		req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/chat/completions", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept-Encoding", "gzip")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.Trailer.Get("X-Sum") != "42" {
			t.Errorf("%s: trailers %v, %v", rule.Fault, resp.Trailer, err)
		}
		if isZipped := bytes.Equal(got, zipped.Bytes()); isZipped != (rule.Fault == chaos.Bandwidth) || isZipped != (resp.Header.Get("Content-Encoding") == "gzip") {
			t.Errorf("%s: got %q with the header %v", rule.Fault, got, resp.Header)
		}
		rt.(interface{ CloseIdleConnections() }).CloseIdleConnections()
	}
}
