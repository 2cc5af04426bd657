package breakwater

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// go test -bench . -run ^$

// chat2K is a chat request of about 2 KB.
var chat2K = []byte(`{"model":"deepseek-flash","messages":[{"role":"user","content":"` + strings.Repeat("what is a breakwater? ", 90) + `"}]}`)

type memoryBody struct{ bytes.Reader }

func (*memoryBody) Close() error { return nil }

// memoryBase answers from memory, after reading the request as a wire would.
func memoryBase(contentType, text string) http.RoundTripper {
	header := http.Header{"Content-Type": {contentType}}
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			io.Copy(io.Discard, req.Body)
			req.Body.Close()
		}
		body := &memoryBody{}
		body.Reset([]byte(text))
		return &http.Response{
			StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header.Clone(), Body: body, ContentLength: int64(len(text)), Request: req,
		}, nil
	})
}

func roundTrips(b *testing.B, rt http.RoundTripper, body []byte) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer sk-caller")
		req.Header.Set("Content-Type", "application/json")
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			b.Fatal(resp, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

func transport(b *testing.B, opts ...Option) *Transport {
	b.Helper()
	rt, err := New(opts...)
	if err != nil {
		b.Fatal(err)
	}
	return rt
}

func BenchmarkBareBase(b *testing.B) {
	roundTrips(b, memoryBase("application/json", goodJSON), chat2K)
}

func BenchmarkDefaultPipeline(b *testing.B) {
	roundTrips(b, transport(b, WithBase(memoryBase("application/json", goodJSON))), chat2K)
}

func BenchmarkThreeEndpoints(b *testing.B) {
	roundTrips(b, transport(b, WithBase(memoryBase("application/json", goodJSON)),
		WithEndpoints(DeepSeek("sk-1"), Endpoint{Name: "second", URL: "https://second.example", APIKey: "sk-2"}),
		WithBackup(SiliconFlow("sk-3"))), chat2K)
}

func BenchmarkCacheHit(b *testing.B) {
	roundTrips(b, transport(b, WithBase(memoryBase("application/json", goodJSON)), WithCache(CachePolicy{})), chat2K)
}

// endlessEvents gives out the same events for ever, the first carrying payload.
type endlessEvents struct {
	events string
	at     int
}

func (e *endlessEvents) Read(p []byte) (int, error) {
	n := copy(p, e.events[e.at:])
	e.at = (e.at + n) % len(e.events)
	return n, nil
}

func (*endlessEvents) Close() error { return nil }

// BenchmarkStreamEvent is one event behind the commit.
func BenchmarkStreamEvent(b *testing.B) {
	const event = `data: {"id":"2e6c8ad5-4a4f-4b0e-8f0a-5d5dd1a1d1b2","object":"chat.completion.chunk","created":1764000000,"model":"deepseek-flash","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":"wa\n\"ve"},"logprobs":null,"finish_reason":null}]}` + "\n\n"
	rt := transport(b, WithBase(RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: &endlessEvents{events: event}}, nil
	})))
	req, _ := http.NewRequest(http.MethodPost, "https://api.deepseek.com/chat/completions", strings.NewReader(chatStream))
	resp, err := rt.RoundTrip(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, len(event))
	b.ReportAllocs()
	b.SetBytes(int64(len(event)))
	for b.Loop() {
		if _, err := io.ReadFull(resp.Body, buf); err != nil {
			b.Fatal(err)
		}
	}
}
