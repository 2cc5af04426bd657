package diagnose_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/diagnose"
)

// short bounds a diagnosis whose host does not answer, so that tests do not wait long. No test
// asks whether it is kept.
var short = diagnose.WithTimeout(5 * time.Second)

const models = `{"object":"list","data":[{"id":"deepseek-flash"},{"id":"deepseek-v4-pro"}]}`

// hostHandler answers as DeepSeek does. It fails the test if a request has no right key.
func hostHandler(t *testing.T, mustNotAsk bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if mustNotAsk {
			t.Errorf("%s %s came, with Authorization %v", r.Method, r.URL, r.Header.Get("Authorization") != "")
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /models", func(w http.ResponseWriter, r *http.Request) {
		if mustNotAsk {
			t.Error("a request for the models came")
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, models)
	})
	mux.HandleFunc("GET /user/balance", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"110.00"}]}`)
	})
	return mux
}

// quietServer starts a server without a log.
func quietServer(t *testing.T, h http.Handler) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s
}

func lookup(addresses ...string) func(context.Context, string) ([]netip.Addr, error) {
	return func(_ context.Context, name string) (all []netip.Addr, err error) {
		for _, a := range addresses {
			all = append(all, netip.MustParseAddr(a))
		}
		if all == nil {
			err = &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		return all, err
	}
}

// at returns an endpoint of DeepSeek's API with another name, at the port of a server.
func at(scheme, name, address string) breakwater.Endpoint {
	_, port, _ := net.SplitHostPort(address)
	return breakwater.Endpoint{Name: "it", URL: scheme + "://" + net.JoinHostPort(name, port), APIKey: key, Host: breakwater.HostDeepSeek, AllowPlainHTTP: true}
}

func noEnvironment(string) (string, bool) { return "", false }

// run diagnoses an endpoint without the surroundings of the machine.
func run(t *testing.T, e breakwater.Endpoint, opts ...diagnose.Option) diagnose.Report {
	t.Helper()
	r := diagnose.Run(t.Context(), e, append([]diagnose.Option{diagnose.WithNameservers(), diagnose.WithStatusPages(), diagnose.WithEnvironment(noEnvironment)}, opts...)...)
	if text := fmt.Sprintf("%+v", r); strings.Contains(text, key[4:]) {
		t.Errorf("the report has the key in it: %s", text)
	}
	return r
}

// want compares the findings that are no notes.
func want(t *testing.T, r diagnose.Report, verdict diagnose.Verdict, codes ...string) {
	t.Helper()
	if got := found(r); r.Verdict != verdict || !slices.Equal(got, codes) {
		t.Errorf("it is %s with %v, want %s with %v", r.Verdict, got, verdict, codes)
		for _, f := range r.Findings {
			t.Logf("%s: %s (%v)", f.Code, f.Seen, f.Err)
		}
	}
}

// A nameserver on loopback. answer returns nil to say nothing.
func nameserver(t *testing.T, answer func(m dnsmessage.Message, overTCP bool) []byte) string {
	t.Helper()
	var udp net.PacketConn
	var tcp net.Listener
	for range 20 { // both need one port
		var err error
		if udp, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if tcp, err = net.Listen("tcp", udp.LocalAddr().String()); err == nil {
			break
		}
		udp.Close()
	}
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) == nil {
				if a := answer(m, false); a != nil {
					udp.WriteTo(a, from)
				}
			}
		}
	}()
	go func() {
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 2000)
			n, _ := io.ReadAtLeast(conn, buf, 14)
			var m dnsmessage.Message
			if n > 2 && m.Unpack(buf[2:n]) == nil {
				a := answer(m, true)
				conn.Write(append([]byte{byte(len(a) >> 8), byte(len(a))}, a...))
			}
			conn.Close()
		}
	}()
	return udp.LocalAddr().String()
}

// says answers questions for IPv4 with addresses, and all others with the code alone.
func says(code dnsmessage.RCode, addresses ...string) func(dnsmessage.Message, bool) []byte {
	return func(m dnsmessage.Message, _ bool) []byte {
		reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RCode: code}, Questions: m.Questions}
		q := m.Questions[0]
		for _, a := range addresses {
			if q.Type == dnsmessage.TypeA {
				reply.Answers = append(reply.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(a).As4()},
				})
			}
		}
		packed, _ := reply.Pack()
		return packed
	}
}

func silent(dnsmessage.Message, bool) []byte { return nil }

// cut answers over UDP that the answer is too long.
func cut(m dnsmessage.Message, overTCP bool) []byte {
	if overTCP {
		return says(dnsmessage.RCodeSuccess, "127.0.0.1")(m, true)
	}
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Truncated: true}, Questions: m.Questions}
	packed, _ := reply.Pack()
	return packed
}

// Resolvers are asked one by one, and one that fails hides nothing.
func TestRun_Resolvers(t *testing.T) {
	server := quietServer(t, hostHandler(t, false))
	address := server.Listener.Addr().String()
	good := says(dnsmessage.RCodeSuccess, "127.0.0.1")
	for _, tt := range []struct {
		name    string
		system  []string
		servers []func(dnsmessage.Message, bool) []byte
		verdict diagnose.Verdict
		codes   []string
		reached bool
	}{
		{"all agree", []string{"127.0.0.1"}, []func(dnsmessage.Message, bool) []byte{good, good}, diagnose.Well, nil, true},
		{"over TCP", nil, []func(dnsmessage.Message, bool) []byte{cut}, diagnose.Down, []string{"connection/dns-disagree"}, true},
		{"the system knows no such name", nil, []func(dnsmessage.Message, bool) []byte{good}, diagnose.Down, []string{"connection/dns-disagree"}, true},
		{"nobody knows the name", nil, []func(dnsmessage.Message, bool) []byte{says(dnsmessage.RCodeNameError)}, diagnose.Down, []string{"connection/dns-no-such-host"}, false},
		{"no address", nil, []func(dnsmessage.Message, bool) []byte{says(dnsmessage.RCodeSuccess)}, diagnose.Down, []string{"connection/dns-no-such-host"}, false},
		{"one is silent", []string{"127.0.0.1"}, []func(dnsmessage.Message, bool) []byte{silent, good}, diagnose.Degraded, []string{"connection/dns-server-silent"}, true},
		{"one fails", []string{"127.0.0.1"}, []func(dnsmessage.Message, bool) []byte{says(dnsmessage.RCodeServerFailure), good}, diagnose.Degraded, []string{"connection/dns-server-failed"}, true},
		{"one refuses", []string{"127.0.0.1"}, []func(dnsmessage.Message, bool) []byte{says(dnsmessage.RCodeRefused), good}, diagnose.Degraded, []string{"connection/dns-server-failed"}, true},
		{"one is malformed", []string{"127.0.0.1"}, []func(dnsmessage.Message, bool) []byte{func(m dnsmessage.Message, _ bool) []byte {
			packed := says(dnsmessage.RCodeSuccess, "127.0.0.1")(m, false)
			return packed[:len(packed)-3]
		}, good}, diagnose.Degraded, []string{"connection/dns-server-failed"}, true},
		{"an entry of this machine", []string{"127.0.0.1"}, []func(dnsmessage.Message, bool) []byte{says(dnsmessage.RCodeNameError)}, diagnose.Well, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var servers []string
			for _, answer := range tt.servers {
				servers = append(servers, nameserver(t, answer))
			}
			r := run(t, at("http", "api.example.test", address), short, diagnose.WithLookup(lookup(tt.system...)), diagnose.WithNameservers(servers...))
			want(t, r, tt.verdict, tt.codes...)
			if reached := r.HTTP != nil && r.HTTP.Status == 200; reached != tt.reached {
				t.Errorf("the host was reached: %v, want %v", reached, tt.reached)
			}
			if len(r.Lookups) != 1+len(servers) {
				t.Errorf("lookups %+v", r.Lookups)
			}
		})
	}
}

// That the host answers at an address of another resolver makes nothing well: programs ask the
// system.
func TestRun_AnswersDoNotMendDNS(t *testing.T) {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("primary"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	u, _ := url.Parse(fleet.Server("primary").URL())
	r := run(t, at("http", "api.example.test", u.Host), diagnose.WithLookup(lookup()), diagnose.WithSpend(),
		diagnose.WithNameservers(nameserver(t, says(dnsmessage.RCodeSuccess, "127.0.0.1"))))
	want(t, r, diagnose.Down, "connection/dns-disagree")
	if len(r.Answers) != 2 || r.Answers[0].Class != breakwater.ClassOK {
		t.Errorf("%+v", r.Answers)
	}
}

// A host whose list of models fails, and whose answers come, serves.
func TestRun_AnswersCountMore(t *testing.T) {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("primary"))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	server := fleet.Server("primary")
	server.Break(breakwatertest.ServerError())
	server.BreakNext(2, breakwatertest.Fault{})
	r := run(t, breakwater.Endpoint{Name: "primary", URL: server.URL(), APIKey: key, Host: breakwater.HostDeepSeek}, diagnose.WithSpend())
	want(t, r, diagnose.Degraded, "application/host-error")
}

// Addresses that no public host has are told, and tried all the same.
func TestRun_ForgedAddresses(t *testing.T) {
	server := quietServer(t, hostHandler(t, false))
	r := run(t, at("http", "api.deepseek.com", server.Listener.Addr().String()), short, diagnose.WithLookup(lookup("127.0.0.1")))
	want(t, r, diagnose.Degraded, "connection/dns-forged")
	if r.HTTP == nil || r.HTTP.Status != 200 {
		t.Errorf("%+v", r.HTTP)
	}
	r = run(t, at("http", "api.deepseek.com", server.Listener.Addr().String()), short, diagnose.WithLookup(lookup("127.0.0.1", "198.18.0.7")),
		diagnose.WithTransport(&http.Transport{}))
	if !r.Has(diagnose.DNSFakeIP) {
		t.Errorf("%+v", r.Findings)
	}
}

// TCP is tried at each address.
func TestRun_Addresses(t *testing.T) {
	server := quietServer(t, hostHandler(t, false))
	address := server.Listener.Addr().String()
	r := run(t, at("http", "api.example.test", address), short, diagnose.WithLookup(lookup("127.0.0.9", "127.0.0.1")))
	want(t, r, diagnose.Degraded, "connection/address-failed")
	if len(r.Addresses) != 2 || r.Addresses[0].TCP != "refused" || r.Addresses[1].TCP != "ok" || r.HTTP.Status != 200 {
		t.Errorf("%+v", r.Addresses)
	}
	r = run(t, at("http", "api.example.test", address), short, diagnose.WithLookup(lookup("127.0.0.9", "127.0.0.8")))
	want(t, r, diagnose.Down, "connection/tcp-refused")
	r = run(t, at("http", "api.example.test", address), short, diagnose.WithLookup(lookup("127.0.0.9", "2001:db8::1", "127.0.0.1")))
	want(t, r, diagnose.Degraded, "connection/address-failed")
	full := fullListener(t)
	r = run(t, at("http", "api.example.test", full), short, diagnose.WithLookup(lookup("127.0.0.1")))
	want(t, r, diagnose.Down, "connection/tcp-silent")
}

// certificate makes one for names, signed by itself if parent is nil.
func certificate(t *testing.T, parent *tls.Certificate, change func(*x509.Certificate), names ...string) *tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	signer, by := template, private
	if parent != nil {
		signer, by = parent.Leaf, parent.PrivateKey.(*ecdsa.PrivateKey)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &private.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private, Leaf: leaf}
}

func authority(t *testing.T, name string) (*tls.Certificate, *x509.CertPool) {
	root := certificate(t, nil, func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{name}, CommonName: name} }, name)
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)
	return root, pool
}

// Certificates that are wrong are told apart, and no key goes to a server that has one.
func TestRun_Certificates(t *testing.T) {
	root, trusted := authority(t, "Test Roots")
	middle, ofMiddle := authority(t, "Zscaler Intermediate")
	past := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-48*time.Hour), time.Now().Add(-24*time.Hour)
	}
	soon := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(24 * time.Hour) }
	future := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(24 * time.Hour) }
	const name = "api.example.test"
	for _, tt := range []struct {
		name    string
		host    string
		cert    *tls.Certificate
		roots   *x509.CertPool
		verdict diagnose.Verdict
		codes   []string
		asked   bool
	}{
		{"right", name, certificate(t, root, nil, name), trusted, diagnose.Well, nil, true},
		{"wrong name", name, certificate(t, root, nil, "login.hotel.test"), trusted, diagnose.Down, []string{"connection/tls-wrong-name"}, false},
		{"expired", name, certificate(t, root, past, name), trusted, diagnose.Down, []string{"connection/tls-expired"}, false},
		{"expires soon", name, certificate(t, root, soon, name), trusted, diagnose.Degraded, []string{"connection/tls-expires-soon"}, true},
		{"not yet valid", name, certificate(t, root, future, name), trusted, diagnose.Down, []string{"connection/tls-not-yet-valid"}, false},
		{"untrusted", name, certificate(t, root, nil, name), x509.NewCertPool(), diagnose.Down, []string{"connection/tls-untrusted"}, false},
		{"intercepted and trusted", name, certificate(t, middle, nil, name), ofMiddle, diagnose.Degraded, []string{"connection/tls-intercepted"}, true},
		{"intercepted and not trusted", name, certificate(t, middle, nil, name), trusted, diagnose.Down, []string{"connection/tls-intercepted"}, false},
		{"a root of this machine", "api.deepseek.com", certificate(t, root, nil, "api.deepseek.com"), trusted, diagnose.Degraded, []string{"connection/dns-forged", "connection/tls-intercepted"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewUnstartedServer(hostHandler(t, !tt.asked))
			if strings.Contains(tt.name, "expired") || strings.Contains(tt.name, "not yet") {
				s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != "" || r.Method != http.MethodHead {
						t.Errorf("%s with a key: %v", r.Method, r.Header.Get("Authorization") != "")
					}
				})
			}
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.TLS = &tls.Config{Certificates: []tls.Certificate{*tt.cert}}
			s.StartTLS()
			defer s.Close()
			base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: tt.roots}, ForceAttemptHTTP2: true}
			r := run(t, at("https", tt.host, s.Listener.Addr().String()), diagnose.WithLookup(lookup("127.0.0.1")), diagnose.WithTransport(base))
			want(t, r, tt.verdict, tt.codes...)
			if r.TLS == nil || r.TLS.Issuer == "" || r.TLS.Verified != tt.asked {
				t.Errorf("%+v", r.TLS)
			}
		})
	}
}

// A clock that is wrong shows in a certificate that is right by the host's clock.
func TestRun_WrongClock(t *testing.T) {
	root, trusted := authority(t, "Test Roots")
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate(t, root, nil, "api.example.test")}, NextProtos: []string{"http/1.1"}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	behind := func() time.Time { return time.Now().Add(-5 * time.Hour) }
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, Time: behind}}
	r := run(t, at("https", "api.example.test", s.Listener.Addr().String()), diagnose.WithLookup(lookup("127.0.0.1")), diagnose.WithTransport(base))
	want(t, r, diagnose.Down, "connection/tls-wrong-clock")
}

// rawServer does something with each connection.
func rawServer(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// What goes wrong in a handshake is told apart.
func TestRun_Handshakes(t *testing.T) {
	read := func(c net.Conn) { c.Read(make([]byte, 1)) }
	for _, tt := range []struct {
		name  string
		serve func(net.Conn)
		code  string
	}{
		{"reset behind the ClientHello", func(c net.Conn) { read(c); c.(*net.TCPConn).SetLinger(0) }, "connection/tls-reset"},
		{"plain HTTP", func(c net.Conn) {
			read(c)
			io.WriteString(c, "HTTP/1.0 400 Bad Request\r\n\r\n")
			io.Copy(io.Discard, c)
		}, "connection/tls-not-spoken"},
		{"an alert", func(c net.Conn) { read(c); c.Write([]byte{21, 3, 1, 0, 2, 2, 112}); io.Copy(io.Discard, c) }, "connection/tls-refused"},
		{"silence", func(c net.Conn) { io.Copy(io.Discard, c) }, "connection/tls-silent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := run(t, at("https", "api.example.test", rawServer(t, tt.serve)), short, diagnose.WithLookup(lookup("127.0.0.1")))
			want(t, r, diagnose.Down, tt.code)
		})
	}
}

// One address with another certificate does not hide that the others are well.
func TestRun_OneAddressDiffers(t *testing.T) {
	root, trusted := authority(t, "Test Roots")
	s := httptest.NewUnstartedServer(hostHandler(t, false))
	right, wrong := certificate(t, root, nil, "api.example.test"), certificate(t, root, nil, "other.test")
	s.TLS = &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if strings.HasPrefix(h.Conn.LocalAddr().String(), "127.0.0.2:") {
			return wrong, nil
		}
		return right, nil
	}}
	var err error
	if s.Listener, err = net.Listen("tcp", "0.0.0.0:0"); err != nil {
		t.Fatal(err)
	}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}
	r := run(t, at("https", "api.example.test", s.Listener.Addr().String()), diagnose.WithLookup(lookup("127.0.0.2", "127.0.0.1")), diagnose.WithTransport(base))
	want(t, r, diagnose.Degraded, "connection/tls-address-differs")
	if r.HTTP == nil || r.HTTP.Status != 200 {
		t.Errorf("%+v", r.HTTP)
	}
}

// A proxy is looked at in place of the host, and the host without it.
func TestRun_Proxies(t *testing.T) {
	root, trusted := authority(t, "Test Roots")
	s := httptest.NewUnstartedServer(hostHandler(t, false))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{*certificate(t, root, nil, "api.example.test")}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it is dialed without the proxy, to see whether that works
	s.StartTLS()
	defer s.Close()
	closed, _ := net.Listen("tcp", "127.0.0.1:0")
	gone := closed.Addr().String()
	closed.Close()
	var login atomic.Value
	answering := func(status string) string {
		return rawServer(t, func(c net.Conn) {
			c.Read(make([]byte, 4096))
			io.WriteString(c, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
		})
	}
	passing := rawServer(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		login.Store(r.Header.Get("Proxy-Authorization"))
		up, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			return
		}
		defer up.Close()
		io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go io.Copy(c, up)
		io.Copy(up, in)
	})
	for _, tt := range []struct {
		name    string
		proxy   string
		verdict diagnose.Verdict
		codes   []string
	}{
		{"it works", "http://user:secret-password@" + passing, diagnose.Well, nil},
		{"refused", "http://" + gone, diagnose.Down, []string{"connection/proxy-refused"}},
		{"unknown", "http://proxy.office.test:3128", diagnose.Down, []string{"connection/proxy-unknown"}},
		{"wants a login", "http://" + answering("407 Proxy Authentication Required"), diagnose.Down, []string{"connection/proxy-wants-login"}},
		{"declines", "http://" + answering("403 Forbidden"), diagnose.Down, []string{"connection/proxy-declined"}},
		{"silent", "http://" + rawServer(t, func(c net.Conn) { io.Copy(io.Discard, c) }), diagnose.Down, []string{"connection/proxy-silent"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, _ := url.Parse(tt.proxy)
			base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, Proxy: http.ProxyURL(u)}
			known := lookup("127.0.0.1")
			r := run(t, at("https", "api.example.test", s.Listener.Addr().String()), short, diagnose.WithTransport(base),
				diagnose.WithLookup(func(ctx context.Context, name string) ([]netip.Addr, error) {
					if name == "proxy.office.test" {
						return lookup()(ctx, name)
					}
					return known(ctx, name)
				}))
			want(t, r, tt.verdict, tt.codes...)
			text := fmt.Sprintf("%+v", r)
			if strings.Contains(text, "secret-password") || r.Proxy == nil || !r.Has(diagnose.ProxyInUse) {
				t.Errorf("%s", text)
			}
			if tt.verdict == diagnose.Down && !strings.Contains(r.Findings[0].Next, "Without the proxy, the host can be reached.") {
				t.Errorf("next: %s", r.Findings[0].Next)
			}
		})
	}
	if got, _ := login.Load().(string); !strings.HasPrefix(got, "Basic ") {
		t.Errorf("the proxy got the login %q", got)
	}
}

// The variables of the environment count as net/http reads them.
func TestRun_ProxyVariables(t *testing.T) {
	for _, tt := range []struct {
		name, variable, value, noProxy string
		code                           diagnose.Code
		bypass                         string
	}{
		{"lower case", "https_proxy", "http://127.0.0.1:9", "", diagnose.ProxyRefused, ""},
		{"without a scheme", "HTTPS_PROXY", "127.0.0.1:9", "", diagnose.ProxyRefused, ""},
		{"no URL", "HTTPS_PROXY", "http://[::1", "", diagnose.ProxyInvalid, ""},
		{"for http", "HTTP_PROXY", "http://127.0.0.1:9", "", diagnose.TCPRefused, ""},
		{"an exception", "HTTPS_PROXY", "http://127.0.0.1:9", ".example.test", diagnose.TCPRefused, "NO_PROXY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env := map[string]string{tt.variable: tt.value, "no_proxy": tt.noProxy}
			r := run(t, at("https", "api.example.test", "127.0.0.1:9"), short, diagnose.WithLookup(lookup("127.0.0.1")),
				diagnose.WithEnvironment(func(name string) (string, bool) { v, ok := env[name]; return v, ok }))
			if !r.Has(tt.code) || tt.bypass != "" && r.Proxy.Bypass != tt.bypass {
				t.Errorf("it has %v and %+v, want %s", found(r), r.Proxy, tt.code)
			}
		})
	}
}

// Whatever hangs, the diagnosis ends in time and says what does.
func TestRun_EverythingBlackHoled(t *testing.T) {
	hang := func(ctx context.Context, _ string, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
	deaf := func(ctx context.Context, _ string, _ string) (net.Conn, error) { // it does not heed its context
		time.Sleep(time.Minute)
		return nil, context.DeadlineExceeded
	}
	pipe := func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() { io.Copy(io.Discard, server); server.Close() }()
		return client, nil
	}
	for _, tt := range []struct {
		name   string
		scheme string
		dial   func(context.Context, string, string) (net.Conn, error)
		change func(*breakwater.Endpoint)
		code   string
	}{
		{"dial", "https", hang, nil, "connection/tcp-silent"},
		{"a deaf dialer", "https", deaf, nil, "connection/tcp-silent"},
		{"TLS", "https", pipe, nil, "connection/tls-silent"},
		{"HTTP", "http", pipe, nil, "connection/host-silent"},
		{"KeyFunc", "http", pipe, func(e *breakwater.Endpoint) {
			e.APIKey = ""
			e.KeyFunc = func(ctx context.Context, _ string) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		}, "application/key-function-failed"},
	} {
		for _, spend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/spend=%v", tt.name, spend), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					defer time.Sleep(10 * time.Minute) // until the deaf have left
					e := at(tt.scheme, "api.example.test", "127.0.0.1:443")
					if tt.change != nil {
						tt.change(&e)
					}
					opts := []diagnose.Option{diagnose.WithTransport(&http.Transport{DialContext: tt.dial})}
					if spend {
						opts = append(opts, diagnose.WithSpend())
					}
					start := time.Now()
					r := run(t, e, opts...)
					if took := time.Since(start); took > 10*time.Second {
						t.Errorf("it took %v", took)
					}
					if got := found(r); len(got) == 0 || got[0] != tt.code {
						t.Errorf("it has %v, want %s", got, tt.code)
					}
				})
			})
		}
	}
	t.Run("DNS", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := run(t, at("https", "api.example.test", "127.0.0.1:443"), diagnose.WithLookup(func(context.Context, string) ([]netip.Addr, error) {
				time.Sleep(time.Minute) // a resolver of the C library does not heed its context
				return nil, nil
			}))
			want(t, r, diagnose.Down, "connection/dns-silent")
			if r.Took.Duration() > 10*time.Second {
				t.Errorf("it took %v", r.Took)
			}
			time.Sleep(time.Minute)
		})
	})
}
