package internet

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
)

// The environment leads to the hosts that there are, by https alone.
func TestEnvironment(t *testing.T) {
	says := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text+r.URL.Path) })
	}
	set := make(map[string]string)
	for _, pair := range Environment(t, map[string]http.Handler{"a.example": says("a"), "b.example": says("b")}) {
		name, value, _ := strings.Cut(pair, "=")
		set[name] = value
	}
	proxy, err := url.Parse(set["HTTPS_PROXY"])
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile(set["SSL_CERT_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(trusted)
	wire := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer wire.CloseIdleConnections()
	for address, want := range map[string]string{
		"https://a.example/1": "a/1", "https://b.example/2": "b/2", "https://c.example": "", "https://a.example:444": "", "http://a.example/": "no such host\n",
	} {
		got := ""
		if resp, err := (&http.Client{Transport: wire}).Get(address); err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got = string(body)
		}
		if got != want {
			t.Errorf("%s says %q, want %q", address, got, want)
		}
	}
}
