package breakwater

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
)

// A dialed is a base that notes where net/http really dials for each request,
// and what key the request carried. Nothing is sent.
type dialed struct {
	http.Transport
	address string
	key     string
	answer  *http.Response // to the first request, instead of a dial
}

var errNotDialed = errors.New("noted, not dialed")

func newDialed() *dialed {
	d := &dialed{}
	note := func(scheme string) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) {
			d.address = scheme + " " + strings.Map(foldASCII, address) // as resolvers do
			return nil, errNotDialed
		}
	}
	d.DialContext, d.DialTLSContext = note("http"), note("https")
	return d
}

func foldASCII(r rune) rune {
	if 'A' <= r && r <= 'Z' {
		return r - 'A' + 'a'
	}
	return r
}

func (d *dialed) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		io.Copy(io.Discard, req.Body)
		req.Body.Close()
	}
	if resp := d.answer; resp != nil {
		d.answer = nil
		return resp, nil
	}
	d.address, d.key = "", req.Header.Get("Authorization")
	req = req.WithContext(req.Context())
	req.Body, req.ContentLength = nil, 0
	return d.Transport.RoundTrip(req)
}

// lookAlikes are spellings of a server's name, those of others among them.
var lookAlikes = []string{
	"api.siliconflow.cn", "API.SiliconFlow.CN", "api.siliconflow.cn:443", "api.siliconflow.cn:", "api.siliconflow.cn:0443", "api.siliconflow.cn.",
	"api.s\u0130liconflow.cn", "api.sil\u0131conflow.cn", "ap\u0130.siliconflow.cn", "api.\u017filiconflow.cn", "api.siliconflow.c\u0274",
	"\uff41\uff50\uff49.siliconflow.cn", "api\u3002siliconflow\u3002cn", "api.siliconflow\uff0ecn", "api.sil\u00adiconflow.cn", "api.siliconf\u2113ow.cn",
	"api.siliconflow.cn\uff1a443", "api.siliconflow.cn\u2044", "xn--api-", "api.siliconflow.cn%2e", "api.siliconflow.cn:443:443", "[api.siliconflow.cn]",
	"api.siliconflow.cn:80", "api.siliconflow.com", "evil.example", "", "\xff.cn", "api.siliconflow.cn\x00",
}

// FuzzOrigin: an endpoint's key goes with a request exactly if net/http dials
// the endpoint's own address for it. The oracle is what net/http dials.
func FuzzOrigin(f *testing.F) {
	for _, host := range lookAlikes {
		for how := range byte(8) {
			f.Add(host, how)
		}
	}
	f.Fuzz(func(t *testing.T, host string, how byte) {
		const own = "https api.siliconflow.cn:443"
		base := newDialed()
		rt, err := New(WithBase(base), WithEndpoints(SiliconFlowCN("sk-own")), once, WithErrors())
		if err != nil {
			t.Fatal(err)
		}
		scheme := "https"
		if how&1 != 0 {
			scheme = "http"
		}
		method, path := http.MethodGet, "/v1/models"
		if how&2 != 0 {
			method, path = http.MethodPost, "/v1/chat/completions"
		}
		target := &url.URL{Scheme: scheme, Host: host, Path: path}
		var client http.RoundTripper = rt
		if how&4 != 0 { // by a redirect of the endpoint's own
			location := target.String()
			base.answer = answer(307, "", "")
			base.answer.Header.Set("Location", location)
			client = RoundTripperFunc((&http.Client{Transport: rt}).Do)
			target = &url.URL{Scheme: "https", Host: "api.siliconflow.cn", Path: path}
			if u, err := url.Parse(location); err != nil || u.Host == "" || u.Path != path {
				return
			}
		}
		req := &http.Request{Method: method, URL: target, Header: http.Header{}}
		if method == http.MethodPost {
			req.Body = io.NopCloser(strings.NewReader(chatJSON))
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(chatJSON)), nil }
		}
		if resp, err := client.RoundTrip(req); err == nil {
			resp.Body.Close()
		}
		if keyed := base.key == "Bearer sk-own"; keyed && base.address != own {
			t.Errorf("the key of %s went with what was dialed at %q for %q", own, base.address, host)
		} else if !keyed && base.address == own {
			t.Errorf("%q was dialed for %q without the endpoint's key", own, host)
		}
	})
}

// An endpoint given by a name that is not ASCII serves the calls to it, and is
// dialed by its A-labels.
func TestOrigin_NamesThatAreNotASCII(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON))
	rt := over(t, base, WithEndpoints(Endpoint{URL: "https://b\u00fccher.example/v1", APIKey: "sk-own"}))
	for _, at := range []string{"https://b\u00fccher.example/v1", "https://xn--bcher-kva.example/v1", "https://B\u00dcCHER.example:443/v1"} {
		req, _ := post(t.Context(), at, chatJSON)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.Header.Get(headerEndpoint) != "xn--bcher-kva.example" {
			t.Errorf("%s: got %v, %v, want it served by the endpoint", at, resp, err)
		}
	}
	if got := base.Count("xn--bcher-kva.example") + base.Count("xn--bcher-kva.example:443"); got != 3 {
		t.Errorf("%d of 3 requests named the server in ASCII", got)
	}
	if _, err := New(WithEndpoints(Endpoint{URL: "https://\u0378.example"})); err == nil || !strings.Contains(err.Error(), "no ASCII form") {
		t.Errorf("New with a host that has no ASCII form: %v, want an error that says so", err)
	}
}

// A host whose name is not ASCII, and that is down, is failed over from.
func TestOrigin_UnicodeHostThatIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("xn--bcher-kva.example", refusing)
		rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://b\u00fccher.example/v1", APIKey: "sk-a"}), WithBackup(at("b")...))
		req, _ := post(t.Context(), "https://b\u00fccher.example/v1", chatJSON)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Errorf("got %v, %v, want the backup's answer", resp, err)
		}
	})
}
