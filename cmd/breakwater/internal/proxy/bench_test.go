package proxy

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/breakwater-go/breakwater"
)

// The cost of a call through the proxy, beside one without it, over loopback.
func BenchmarkProxy(b *testing.B) {
	answer := `{"id":"1","object":"chat.completion","model":"deepseek-flash","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("hello ", 100) + `"},"finish_reason":"stop"}]}`
	var events strings.Builder
	for i := range 100 {
		events.WriteString(`data: {"id":"1","object":"chat.completion.chunk","model":"deepseek-flash","choices":[{"index":0,"delta":{"content":"word` + strconv.Itoa(i) + ` "},"finish_reason":null}]}` + "\n\n")
	}
	end := `data: {"id":"1","object":"chat.completion.chunk","model":"deepseek-flash","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, answer)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for event := range strings.SplitAfterSeq(events.String(), "\n\n") {
			io.WriteString(w, event)
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, end)
	}))
	defer host.Close()
	e := breakwater.Endpoint{Name: "own", URL: host.URL, APIKey: "sk-1234567890"}
	s, err := New(Config{Endpoints: []breakwater.Endpoint{e}, Options: []breakwater.Option{breakwater.WithEndpoints(e)}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	front := httptest.NewServer(s)
	defer front.Close()
	for _, at := range []struct{ name, url string }{{"host", host.URL}, {"proxy", front.URL}} {
		for _, kind := range []struct{ name, body string }{{"json", chatBody}, {"stream", strings.Replace(chatBody, "{", `{"stream":true,`, 1)}} {
			b.Run(at.name+"/"+kind.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					resp, err := http.Post(at.url+"/chat/completions", "application/json", strings.NewReader(kind.body))
					if err != nil {
						b.Fatal(err)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
						b.Fatal(resp.Status, err)
					}
					resp.Body.Close()
				}
			})
		}
	}
}
