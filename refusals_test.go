package breakwater

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// What hosts, and what stands in front of them, say beside an answer: see also
// verdict_test.go, pause_test.go and foreign_test.go.

// then answers by each handler once, and by the last one from then on.
func then(all ...handler) handler {
	var n atomic.Int64
	return func(req *http.Request) (*http.Response, error) {
		return all[min(int(n.Add(1)), len(all))-1](req)
	}
}

// A host that says whether to repeat a request is obeyed. Others may be asked
// whatever it says.
func TestRefusal_ShouldRetry(t *testing.T) {
	for _, tt := range []struct {
		status int
		header []string
		asks   int // of the host, alone
	}{
		{503, nil, 3},
		{503, []string{"X-Should-Retry", "false"}, 1},
		{500, []string{"X-Should-Retry", "false"}, 1},
		{529, []string{"X-Should-Retry", " False "}, 1},
		{429, []string{"X-Should-Retry", "false"}, 1},
		{429, []string{"X-Should-Retry", "false", "Retry-After", "1"}, 1},
		{408, []string{"X-Should-Retry", "false"}, 1},
		{409, nil, 1},
		{409, []string{"X-Should-Retry", "true"}, 3},
		{400, []string{"X-Should-Retry", "true"}, 3},
		{422, []string{"X-Should-Retry", "true"}, 3},
		{503, []string{"X-Should-Retry", "true"}, 3},
		{503, []string{"X-Should-Retry", "perhaps"}, 3},
		{409, []string{"X-Should-Retry", "false"}, 1},
		{401, []string{"X-Should-Retry", "false"}, 1},
	} {
		for _, body := range []string{chatJSON, chatStream} {
			bubble(t, fmt.Sprint(tt.status, tt.header, body == chatStream), func(t *testing.T) {
				base := newHosts(gives(tt.status, asJSON, `{"error":{"message":"m"}}`, tt.header...))
				got := asks(t.Context(), over(t, base, WithEndpoints(at("a")...)), body)
				if got.status() != tt.status || base.Count("a") != tt.asks {
					t.Errorf("alone, the caller got %v after %d requests, want %d", got, base.Count("a"), tt.asks)
				}
				base = newHosts(gives(200, asJSON, goodJSON))
				base.Set("a", gives(tt.status, asJSON, `{"error":{"message":"m"}}`, tt.header...))
				got = asks(t.Context(), over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...)), chatJSON)
				if passing := tt.status != 409 || tt.asks > 1; passing != (got.status() == 200) || tt.asks == 1 && base.Count("a") != 1 {
					t.Errorf("backed, the caller got %v after %d requests to the first", got, base.Count("a"))
				}
			})
		}
	}
	bubble(t, "the second time is answered", func(t *testing.T) {
		base := newHosts(then(gives(409, asJSON, "{}", "X-Should-Retry", "true"), gives(200, asJSON, goodJSON)))
		if got := asks(t.Context(), over(t, base), chatJSON); got.body != goodJSON || base.Count("") != 2 {
			t.Errorf("the caller got %v after %d requests", got, base.Count(""))
		}
	})
}

// A certificate that does not verify will not verify a moment later either.
func TestRefusal_CertificatesAreTriedOnce(t *testing.T) {
	good := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", asJSON)
		io.WriteString(w, goodJSON)
	})
	trusted, plain := httptest.NewUnstartedServer(good), httptest.NewServer(good)
	trusted.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	trusted.StartTLS()
	defer trusted.Close()
	defer plain.Close()
	pool := x509.NewCertPool()
	pool.AddCert(trusted.Certificate())
	for name, tt := range map[string]struct {
		url    string
		config *tls.Config
	}{
		"unknown authority": {trusted.URL, &tls.Config{RootCAs: x509.NewCertPool()}},
		"another name":      {trusted.URL, &tls.Config{RootCAs: pool, ServerName: "other.test"}},
		"out of date":       {trusted.URL, &tls.Config{RootCAs: pool, Time: func() time.Time { return time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC) }}},
		"no TLS at all":     {"https" + plain.URL[len("http"):], &tls.Config{RootCAs: pool}},
	} {
		for _, body := range []string{chatJSON, chatStream} {
			t.Run(name, func(t *testing.T) {
				base := &http.Transport{TLSClientConfig: tt.config}
				defer base.CloseIdleConnections()
				alone := Endpoint{Name: "a", URL: tt.url, APIKey: "sk-a"}
				trail := &Trail{}
				ask := func(rt *Transport) (*http.Response, error) {
					req, _ := post(WithCall(context.Background(), Call{Trail: trail}), tt.url, body)
					return rt.RoundTrip(req)
				}
				resp, err := ask(over(t, base, WithEndpoints(alone)))
				if err != nil || resp.StatusCode != 503 || len(trail.Attempts()) != 1 {
					t.Errorf("alone, %d attempts ended in %v, %v, want one", len(trail.Attempts()), resp, err)
				}
				resp, err = ask(over(t, base, WithEndpoints(alone), WithBackup(Endpoint{Name: "b", URL: plain.URL, Keyless: true})))
				if got := trail.Attempts(); err != nil || resp.StatusCode != 200 || len(got) != 2 || got[0].Class != ClassUnreachable {
					t.Errorf("backed, it ended in %v, %v after %+v", resp, err, got)
				}
				if resp != nil {
					resp.Body.Close()
				}
			})
		}
	}
}

// A refusal whose body trickles delays nothing: a backup answers at once.
func TestRefusal_BodyThatTrickles(t *testing.T) {
	for _, status := range []int{500, 502, 503, 504, 529, 429, 408, 401, 403, 402} {
		for _, endless := range []bool{false, true} {
			bubble(t, fmt.Sprint(status, endless), func(t *testing.T) {
				base := newHosts(gives(200, asJSON, goodJSON))
				base.Set("a", func(req *http.Request) (*http.Response, error) {
					n := 0
					return answerFrom(status, asJSON, fakehost.ReaderFunc(func(p []byte) (int, error) {
						select {
						case <-time.After(time.Second):
						case <-req.Context().Done():
							return 0, req.Context().Err()
						}
						if n++; n > 5 && !endless {
							return 0, io.EOF
						}
						return copy(p, "{"), nil
					})), nil
				})
				rt := over(t, base, impatient, WithEndpoints(at("a")...), WithBackup(at("b")...))
				start := time.Now()
				got := asks(t.Context(), rt, chatJSON)
				if took := time.Since(start); got.header(headerEndpoint) != "b" || took > 500*time.Millisecond {
					t.Errorf("the caller got %v after %v", got, took)
				}
			})
		}
	}
}
