package chaos_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

const prompt = "Is the harbour open?"

// rig is a bare client of one host, with an Injector between them.
type rig struct {
	t     *testing.T
	fleet *bt.Fleet
	*chaos.Injector
	client *http.Client
}

// inBubble runs do with a host, in virtual time.
func inBubble(t *testing.T, host bt.Host, c chaos.Config, do func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fleet, err := bt.NewPipeFleet(host)
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		base := fleet.Transport()
		defer base.CloseIdleConnections()
		i, err := chaos.New(c)
		if err != nil {
			t.Fatal(err)
		}
		do(&rig{t, fleet, i, &http.Client{Transport: i.Middleware(base)}})
	})
}

// host is like DeepSeek, but slow enough that faults have a time.
func host() bt.Host {
	h := bt.DeepSeek("host")
	h.Pace = bt.Pace{PerToken: 100 * time.Millisecond}
	return h
}

// A result is what a client saw.
type result struct {
	reply   bt.Reply
	err     error // of RoundTrip or of the body
	status  int
	header  http.Header
	headers time.Duration // until the response's headers
	took    time.Duration // until the end
}

// call makes a call that its caller gives up after an hour.
func (r *rig) call(w bt.Wire, stream bool) result {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Hour)
	defer cancel()
	server := r.fleet.Servers()[0]
	req, err := w.Request(ctx, server.WireURL(w), "sk-1", "deepseek-flash", prompt, stream)
	if err != nil {
		r.t.Fatal(err)
	}
	start := time.Now()
	resp, err := r.client.Do(req)
	out := result{err: err, headers: time.Since(start)}
	if err == nil {
		out.status, out.header = resp.StatusCode, resp.Header
		out.reply, out.err = bt.ReadAnswer(resp)
	}
	out.took = time.Since(start)
	return out
}

func TestFaults_OfTheConnection(t *testing.T) {
	errno := func(want error) func(error) bool {
		return func(err error) bool {
			var op *net.OpError
			return errors.As(err, &op) && errors.Is(err, want)
		}
	}
	for _, test := range []struct {
		fault chaos.Fault
		took  time.Duration
		is    func(error) bool
		sent  bool // the request's body is read
	}{
		{chaos.Refused, 0, errno(syscall.ECONNREFUSED), false},
		{chaos.NoSuchHost, 0, func(err error) bool {
			var dns *net.DNSError
			return errors.As(err, &dns) && dns.IsNotFound && dns.Name == "host.localhost"
		}, false},
		{chaos.DialTimeout, 5 * time.Second, func(err error) bool {
			var op *net.OpError
			return errors.As(err, &op) && op.Op == "dial" && op.Timeout()
		}, false},
		{chaos.Reset, 0, errno(syscall.ECONNRESET), true},
		{chaos.BadCertificate, 0, errno(syscall.ECONNRESET), true}, // the host has no TLS
		{chaos.BlackHole, time.Hour, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }, true},
	} {
		for _, w := range bt.Wires() {
			inBubble(t, host(), chaos.Config{Rules: []chaos.Rule{{Fault: test.fault}}}, func(r *rig) {
				got := r.call(w, true)
				if !test.is(got.err) || got.took != test.took {
					t.Errorf("%s on %v: %v after %v, want %v", test.fault, w, got.err, got.took, test.took)
				}
				if n := len(r.fleet.Servers()[0].Requests()); n != 0 {
					t.Errorf("%s: the host got %d requests, want none", test.fault, n)
				}
			})
		}
	}
}

func TestFaults_BadCertificate(t *testing.T) {
	h := host()
	h.TLS = true
	inBubble(t, h, chaos.Config{Rules: []chaos.Rule{{Fault: chaos.BadCertificate}}}, func(r *rig) {
		var bad *tls.CertificateVerificationError
		if got := r.call(bt.Chat, false); !errors.As(got.err, &bad) {
			t.Errorf("got %v, want a CertificateVerificationError", got.err)
		}
	})
}

// A refusal has the words that the kit's host has for the same fault.
func TestFaults_RefuseAsTheKit(t *testing.T) {
	second := 1500 * time.Millisecond
	pairs := []struct {
		rule chaos.Rule
		kit  bt.Fault
	}{
		{chaos.Rule{Fault: chaos.TooManyRequests, RetryAfter: second}, bt.TooManyRequests("2")},
		{chaos.Rule{Fault: chaos.TooManyRequests}, bt.TooManyRequests("")},
		{chaos.Rule{Fault: chaos.ConcurrencyLimit, Limit: 39}, bt.ConcurrencyLimit(39)},
		{chaos.Rule{Fault: chaos.QuotaThrottle}, bt.QuotaThrottle()},
		{chaos.Rule{Fault: chaos.ServerError}, bt.ServerError()},
		{chaos.Rule{Fault: chaos.Busy}, bt.Busy()},
		{chaos.Rule{Fault: chaos.HTMLError, Status: 504}, bt.HTMLError(504)},
		{chaos.Rule{Fault: chaos.EmptyError}, bt.EmptyError(502)},
		{chaos.Rule{Fault: chaos.Unauthorized}, bt.Unauthorized()},
		{chaos.Rule{Fault: chaos.Overdue}, bt.Overdue()},
		{chaos.Rule{Fault: chaos.ModelNotFound}, bt.ModelNotFound()},
		{chaos.Rule{Fault: chaos.ContextLength}, bt.ContextLength()},
		{chaos.Rule{Fault: chaos.ContentFilter}, bt.ContentFilter()},
		{chaos.Rule{Fault: chaos.Status, Status: 418, Body: "tea", ContentType: "text/plain"}, bt.Status(418, "text/plain", "tea")},
	}
	for _, persona := range bt.Personas() {
		persona.Models = []string{"deepseek-v4-pro", "deepseek-v4-flash"}
		for _, w := range bt.Wires() {
			named := chaos.Config{Endpoints: endpointsOf(persona)}
			inBubble(t, persona, named, func(r *rig) {
				for _, pair := range pairs {
					r.Clear()
					r.fleet.Servers()[0].Break(pair.kit)
					want := r.call(w, false)
					r.fleet.Servers()[0].Heal()
					if err := r.Set(pair.rule); err != nil {
						t.Fatal(err)
					}
					got := r.call(w, false)
					for _, h := range []http.Header{got.header, want.header} {
						for name := range h {
							if !slices.Contains([]string{"Content-Type", "Content-Length", "Retry-After", "X-Ratelimit-Over-Limit"}, name) {
								h.Del(name)
							}
						}
					}
					if got.status != want.status || !equalErrors(got.err, want.err) || !equalHeaders(got.header, want.header) {
						t.Errorf("%s of %s on %v:\n got %d %v %v\nwant %d %v %v", pair.rule.Fault, persona.Name, w, got.status, got.header, got.err, want.status, want.header, want.err)
					}
				}
			})
		}
	}
}

func equalErrors(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
}

func equalHeaders(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if a.Get(name) != b.Get(name) {
			return false
		}
	}
	return true
}
