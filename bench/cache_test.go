package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/cachepolicy"
	"github.com/gregjones/httpcache"

	"github.com/breakwater-go/breakwater"
)

// Peers with a cache. None of them but breakwater keys a POST by its body or
// keeps an answer until it is whole, so each is set up for the nearest thing
// that it does:
//
//   - httpcache keeps GETs, by URL, as their Cache-Control says: the question
//     is in the URL here;
//   - failsafe-go's cache policy keeps what a function returned under a key
//     that its user makes: here SHA-256 of the body and the key, and the bytes
//     of the answer (an *http.Response kept by it has no body the second time).
var caches = []struct {
	name string
	make func(base http.RoundTripper) http.RoundTripper
	get  bool
}{
	{"breakwater", func(base http.RoundTripper) http.RoundTripper {
		rt, err := breakwater.New(breakwater.WithBase(base), breakwater.WithCache(breakwater.CachePolicy{}))
		if err != nil {
			panic(err)
		}
		return rt
	}, false},
	{"failsafe-go", func(base http.RoundTripper) http.RoundTripper {
		return &failsafeCache{base, failsafe.With[[]byte](cachepolicy.New[[]byte](&mapCache{all: make(map[string][]byte)}))}
	}, false},
	{"httpcache", func(base http.RoundTripper) http.RoundTripper {
		t := httpcache.NewMemoryCacheTransport()
		t.Transport = base
		return t
	}, true},
}

type mapCache struct {
	mu  sync.RWMutex // guards all
	all map[string][]byte
}

func (c *mapCache) Get(key string) ([]byte, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	b, ok := c.all[key]
	return b, ok
}

func (c *mapCache) Set(key string, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[key] = b
}

// A failsafeCache is the least that makes a cache of failsafe-go's policy.
type failsafeCache struct {
	base     http.RoundTripper
	executor failsafe.Executor[[]byte]
}

func (c *failsafeCache) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	hash := sha256.New()
	io.WriteString(hash, req.Header.Get("Authorization"))
	hash.Write(body)
	key := hex.EncodeToString(hash.Sum(nil))
	answer, err := c.executor.WithContext(cachepolicy.ContextWithCacheKey(req.Context(), key)).Get(func() ([]byte, error) {
		req := req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
		resp, err := c.base.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		return io.ReadAll(resp.Body)
	})
	if err != nil {
		return nil, err
	}
	return response(req, answer), nil
}

func response(req *http.Request, body []byte) *http.Response {
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(body)),
		Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"max-age=300"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: req,
	}
}

// counting is a base in memory that counts what reaches it.
type counting struct{ asked int }

func (c *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.asked++
	if req.Body != nil {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	resp := response(req, []byte(answerJSON))
	resp.Header.Set("Date", "Mon, 02 Jan 2090 15:04:05 GMT")
	return resp, nil
}

// ask makes one call with a chat of so many bytes.
func ask(rt http.RoundTripper, get bool, body []byte) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://api.deepseek.com/chat/completions", bytes.NewReader(body))
	if get {
		req, err = http.NewRequestWithContext(context.Background(), http.MethodGet, "https://api.deepseek.com/chat/completions?"+string(body), nil)
	}
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer sk-1")
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if string(text) != answerJSON {
		return fmt.Errorf("got %q, %v", text, err)
	}
	return err
}

func TestCachesHit(t *testing.T) {
	for _, c := range caches {
		base := &counting{}
		rt := c.make(base)
		for range 3 {
			if err := ask(rt, c.get, chat(2<<10, c.get)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if base.asked != 1 {
			t.Errorf("%s: three calls for the same reached the host %d times", c.name, base.asked)
		}
	}
}

// BenchmarkCacheHit takes the whole of a hit: making the request and reading the answer.
func BenchmarkCacheHit(b *testing.B) {
	for _, size := range []int{2 << 10, 32 << 10, 200 << 10} {
		for _, c := range caches {
			b.Run(fmt.Sprintf("%dKB/%s", size>>10, c.name), func(b *testing.B) {
				rt, body := c.make(&counting{}), chat(size, c.get)
				b.ReportAllocs()
				for b.Loop() {
					if err := ask(rt, c.get, body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
