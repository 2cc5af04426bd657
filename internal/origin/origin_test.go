package origin

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Two spellings of one server are one origin if net/http dials the same for both.
func TestOrigin_Spellings(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"https://api.deepseek.com", "https://API.DeepSeek.com:443", true},
		{"https://api.deepseek.com", "https://api.deepseek.com:", true},
		{"https://api.deepseek.com", "https://api\u3002deepseek\uff0ecom", true},
		{"https://b\u00fccher.example", "https://xn--bcher-kva.example", true},
		{"https://B\u00dcCHER.example", "https://b\u00fccher.example", true},
		{"http://[::1]", "http://[::1]:80", true},
		{"https://api.deepseek.com", "http://api.deepseek.com", false},
		{"https://api.deepseek.com", "http://api.deepseek.com:443", false},
		{"https://api.deepseek.com", "https://api.deepseek.com:8443", false},
		{"https://api.deepseek.com", "https://api.deepseek.com.", false}, // another address for the resolver
		{"https://api.siliconflow.cn", "https://api.s\u0130liconflow.cn", false},
		{"https://api.deepseek.com", "https://api.deep\u017feek.com", true}, // net/http dials an s for it
	} {
		a, ok1 := Of(parse(t, tt.a))
		b, ok2 := Of(parse(t, tt.b))
		if same := ok1 && ok2 && a == b; same != tt.same {
			t.Errorf("%s and %s are one origin: %v, want %v", tt.a, tt.b, same, tt.same)
		}
		if ok1 && a.Has(parse(t, tt.b)) != tt.same {
			t.Errorf("the origin of %s has %s: %v, want %v", tt.a, tt.b, !tt.same, tt.same)
		}
	}
	for _, nobody := range []string{"https://\u0378.example", "https:opaque", "/v1"} {
		if at, ok := Of(parse(t, nobody)); ok {
			t.Errorf("%q has the origin %v, want none", nobody, at)
		}
	}
	if u := (&url.URL{Scheme: "http", Host: "a.example", Opaque: "//b.example/v1"}); (Origin{"http", "a.example", "80"}).Has(u) {
		t.Error("a URL whose Opaque names another server is of the origin of its Host")
	}
}

// An origin's URL names the server as a URL does, and is of that origin.
func TestOrigin_URL(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"https://API.DeepSeek.com:443/v1?q=1", "https://api.deepseek.com"},
		{"http://a.example:80", "http://a.example"},
		{"http://a.example:443/", "http://a.example:443"},
		{"https://[::1]/v1", "https://[::1]"},
		{"https://[::1]:8443/v1", "https://[::1]:8443"},
		{"https://b\u00fccher.example/v1", "https://xn--bcher-kva.example"},
		{"ftp://a.example", "ftp://a.example"},
	} {
		o, ok := Of(parse(t, tt.in))
		if got := o.URL(); !ok || got.String() != tt.want || !o.Has(got) {
			t.Errorf("the origin of %s has the URL %s, want %s", tt.in, got, tt.want)
		}
	}
}

// InASCII changes the server's name alone, and makes a copy for it.
func TestOrigin_InASCII(t *testing.T) {
	u := parse(t, "https://b\u00fccher.example:8443/v1?q=1")
	if got := InASCII(u).String(); got != "https://xn--bcher-kva.example:8443/v1?q=1" || u.Host != "b\u00fccher.example:8443" {
		t.Errorf("got %s, and the URL that was given is %s", got, u)
	}
	for _, same := range []string{"https://API.example/v1", "https://\u0378.example", "/v1"} {
		if u := parse(t, same); InASCII(u) != u {
			t.Errorf("%s came back as another URL", same)
		}
	}
}

func TestOrigin_Loopback(t *testing.T) {
	for _, host := range []string{"localhost", "LocalHost", "localhost.", "a.localhost", "127.0.0.1", "127.8.0.1", "::1", "\uff4cocalhost"} {
		if !IsLoopback(host) {
			t.Errorf("%q is not taken for this machine", host)
		}
	}
	for _, host := range []string{"", "localhost.example", "notlocalhost", "10.0.0.1", "0.0.0.0", "\u0378", "127.0.0.1.example"} {
		if IsLoopback(host) {
			t.Errorf("%q is taken for this machine", host)
		}
	}
}

var errNotDialed = errors.New("noted, not dialed")

// dialedFor returns where net/http dials for a URL, "" if it does not. Nothing is sent.
func dialedFor(u *url.URL) (address string) {
	dials := func(scheme string) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, to string) (net.Conn, error) {
			address = scheme + " " + strings.Map(foldASCII, to) // as resolvers do
			return nil, errNotDialed
		}
	}
	base := http.Transport{DialContext: dials("http"), DialTLSContext: dials("https")}
	if resp, err := base.RoundTrip(&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}); err == nil {
		resp.Body.Close()
	}
	return address
}

func foldASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r - 'A' + 'a'
	}
	return r
}

// FuzzOf: a URL is of an origin exactly if net/http dials the origin's address
// for it, and the URL in ASCII is dialed as the URL is.
func FuzzOf(f *testing.F) {
	for _, host := range []string{
		"api.siliconflow.cn", "API.SiliconFlow.CN", "api.siliconflow.cn:443", "api.siliconflow.cn:", "api.siliconflow.cn:0443", "api.siliconflow.cn.",
		"api.s\u0130liconflow.cn", "api.sil\u0131conflow.cn", "api.\u017filiconflow.cn", "\uff41\uff50\uff49.siliconflow.cn", "api\u3002siliconflow\u3002cn",
		"api.sil\u00adiconflow.cn", "api.siliconf\u2113ow.cn", "api.siliconflow.cn\uff1a443", "xn--api-", "api.siliconflow.cn%2e",
		"api.siliconflow.cn:443:443", "[api.siliconflow.cn]", "api.siliconflow.cn:80", "evil.example", "", "\xff.cn", "api.siliconflow.cn\x00", "\u00ad",
	} {
		f.Add(host, true)
		f.Add(host, false)
	}
	f.Fuzz(func(t *testing.T, host string, secure bool) {
		scheme := "http"
		if secure {
			scheme = "https"
		}
		u := &url.URL{Scheme: scheme, Host: host, Path: "/v1"}
		dialed := dialedFor(u)
		own := Origin{"https", "api.siliconflow.cn", "443"}
		if is := own.Has(u); is && dialed != "https api.siliconflow.cn:443" || !is && dialed == "https api.siliconflow.cn:443" {
			t.Errorf("%q is of the origin: %v, and net/http dials %q for it", u.Host, is, dialed)
		}
		if got := dialedFor(InASCII(u)); got != dialed {
			t.Errorf("net/http dials %q for %q, and %q for it in ASCII", dialed, host, got)
		}
	})
}
