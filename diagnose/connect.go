package diagnose

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// What an Address says of its TCP handshake.
const (
	tcpOK          = "ok"
	tcpRefused     = "refused"
	tcpTimeout     = "timeout"
	tcpUnreachable = "unreachable"
	tcpReset       = "reset"
	tcpFailed      = "failed"
)

// tcpCodes are the findings if no address can be reached, for each reason.
var tcpCodes = map[string]Code{
	tcpRefused: TCPRefused, tcpTimeout: TCPSilent, tcpUnreachable: TCPUnreachable, tcpReset: TCPReset, tcpFailed: TCPFailed,
}

// A way leads to the host or to the proxy: to one of its addresses or, if the transport has a
// dialer of its own, to its name.
type way struct {
	Address
	at   string // the address to dial
	conn net.Conn
	err  error // of TCP
	tls  *handshake
}

func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || err != nil && strings.Contains(err.Error(), "actively refused") // Windows
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || err != nil && strings.Contains(err.Error(), "forcibly closed") // Windows
}

func isUnreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.EADDRNOTAVAIL) ||
		err != nil && strings.Contains(err.Error(), "unreachable") // Windows
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// kindOfDial names what became of a TCP handshake.
func kindOfDial(err error) string {
	switch {
	case err == nil:
		return tcpOK
	case isRefused(err):
		return tcpRefused
	case isUnreachable(err): // before the timeout: EHOSTUNREACH comes late
		return tcpUnreachable
	case isReset(err):
		return tcpReset
	case isTimeout(err):
		return tcpTimeout
	}
	return tcpFailed
}

// examineTCP dials all addresses at the same time, and returns the ways with what came of them.
// Those that were connected keep their connection.
func (d *diagnosis) examineTCP(ctx context.Context, ways []*way) {
	ctx, cancel := context.WithTimeout(ctx, d.limit(tcpShare))
	defer cancel()
	var dialed sync.WaitGroup
	for _, w := range ways {
		dialed.Go(func() {
			start := time.Now()
			w.conn, w.err = d.connect(ctx, w.at)
			w.Took = Millis(time.Since(start))
			w.TCP = kindOfDial(w.err)
		})
	}
	dialed.Wait()
}

// connect dials an address. A dialer that does not heed its context is left alone.
func (d *diagnosis) connect(ctx context.Context, at string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	came := make(chan result)
	go func() {
		conn, err := d.dialer(ctx, "tcp", at)
		select {
		case came <- result{conn, err}:
		case <-ctx.Done():
			if conn != nil {
				conn.Close()
			}
		}
	}()
	select {
	case r := <-came:
		if r.err == nil && r.conn == nil {
			return nil, errors.New("breakwater: the dialer returned neither connection nor error")
		}
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// waysTo returns a way for each address.
func waysTo(addresses []netip.Addr, port string, proxy bool) []*way {
	var ways []*way
	for _, a := range addresses {
		at := net.JoinHostPort(a.String(), port)
		ways = append(ways, &way{Address: Address{Address: at, Proxy: proxy}, at: at})
	}
	return ways
}

// tellTCP tells what became of the handshakes with the host, and returns the ways that lead to it.
func (d *diagnosis) tellTCP(s *stage, ways []*way, port string) (open []*way) {
	failed := make(map[string][]string) // addresses by what went wrong
	causes := make(map[string]error)
	noIPv6 := true // all that cannot be reached have IPv6
	for _, w := range ways {
		if w.TCP == tcpOK {
			open = append(open, w)
			continue
		}
		failed[w.TCP] = append(failed[w.TCP], w.Address.Address)
		causes[w.TCP] = w.err
		noIPv6 = noIPv6 && (w.TCP != tcpUnreachable || strings.HasPrefix(w.at, "["))
	}
	s.say("connected", args{"n": len(open), "all": len(ways)})
	if len(open) == 0 {
		d.noWay(s, failed, causes, port, d.limit(tcpShare))
		return open
	}
	if noIPv6 && len(failed[tcpUnreachable]) > 0 {
		s.find(IPv6Unreachable, nil, causes[tcpUnreachable])
		delete(failed, tcpUnreachable)
	}
	if len(failed) > 0 {
		addresses, reasons, cause := gather(failed, causes)
		s.find(AddressFailed, args{"addresses": addresses, "reason": reasons}, cause)
	}
	return open
}

// gather returns all addresses, what went wrong with them, and the causes.
func gather(failed map[string][]string, causes map[string]error) (addresses []string, reasons []phrase, cause error) {
	for _, kind := range slices.Sorted(maps.Keys(failed)) {
		addresses = append(addresses, failed[kind]...)
		reasons = append(reasons, phrase{term(kind), nil})
		cause = errors.Join(cause, causes[kind])
	}
	slices.Sort(addresses)
	return addresses, reasons, cause
}

func (d *diagnosis) noWay(s *stage, failed map[string][]string, causes map[string]error, port string, limit time.Duration) {
	if len(failed) > 1 { // that there is no IPv6 says nothing of the host
		delete(failed, tcpUnreachable)
	}
	code := TCPFailed
	for kind := range failed {
		if len(failed) == 1 {
			code = tcpCodes[kind]
		}
	}
	all, reasons, cause := gather(failed, causes)
	var dns *net.DNSError
	if errors.As(cause, &dns) { // of the transport's own dialer
		code = codeOfDNS(dns)
		said := phrase{"resolver says", args{"resolver": term("own dialer"), "what": term(kindOfLookup(context.Background(), cause))}}
		s.find(code, args{"name": d.target.Hostname(), "resolvers": []phrase{said}, "limit": limit}, cause)
		return
	}
	s.find(code, args{"addresses": all, "limit": limit, "port": port, "reason": reasons}, cause)
}

// A handshake is what became of TLS.
type handshake struct {
	state tls.ConnectionState
	code  Code // empty: it is well
	err   error
	args  args
}

// examineTLS makes handshakes on all open ways at the same time. It closes their connections.
func (d *diagnosis) examineTLS(ctx context.Context, ways []*way) {
	ctx, cancel := context.WithTimeout(ctx, d.limit(tlsShare))
	defer cancel()
	var shaken sync.WaitGroup
	for _, w := range ways {
		shaken.Go(func() {
			defer w.conn.Close()
			start := time.Now()
			h := d.shake(ctx, w.conn)
			w.tls = &h
			w.TLSTook = Millis(time.Since(start))
			if w.Address.TLS = "ok"; h.code != "" {
				w.Address.TLS = string(h.code)
			}
		})
	}
	shaken.Wait()
}

// shake makes a handshake, and verifies the certificate by itself, so that one that is wrong can
// be shown. It sends nothing that is secret.
func (d *diagnosis) shake(ctx context.Context, raw net.Conn) (h handshake) {
	config := d.tlsConfig()
	own, check := config.InsecureSkipVerify, config.VerifyConnection
	config.InsecureSkipVerify, config.VerifyPeerCertificate, config.VerifyConnection = true, nil, nil
	conn := tls.Client(raw, config)
	stop := context.AfterFunc(ctx, func() { raw.Close() }) // some connections ignore deadlines
	defer stop()
	if err := conn.HandshakeContext(ctx); err != nil {
		h.err = err
		h.code, h.args = codeOfHandshake(ctx, err)
		return h
	}
	h.state = conn.ConnectionState()
	if len(h.state.PeerCertificates) == 0 {
		h.code, h.args = TLSFailed, args{"reason": term("failed")}
		return h
	}
	if own {
		return h
	}
	h.code, h.args, h.err = d.verify(config, h.state)
	if h.code == "" && check != nil {
		if err := check(h.state); err != nil {
			h.code, h.args, h.err = TLSFailed, args{"reason": "VerifyConnection"}, err
		}
	}
	if h.code == TLSExpired || h.code == TLSNotYetValid {
		if theirs, ok := askTime(conn, config.ServerName); ok && isWithin(h.state.PeerCertificates[0], theirs) {
			h.code, h.args["theirs"] = TLSWrongClock, theirs
		}
	}
	return h
}

// tlsConfig returns the configuration of the transport for the host.
func (d *diagnosis) tlsConfig() *tls.Config {
	config := &tls.Config{}
	if d.base.TLSClientConfig != nil {
		config = d.base.TLSClientConfig.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = d.target.Hostname()
	}
	if len(config.NextProtos) == 0 {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	return config
}

// codeOfHandshake returns the finding for a handshake that failed before there was a certificate.
func codeOfHandshake(ctx context.Context, err error) (Code, args) {
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var op *net.OpError
	switch {
	case errors.As(err, &record):
		return TLSNotSpoken, args{}
	case ctx.Err() != nil, isTimeout(err):
		return TLSSilent, args{}
	case errors.As(err, &alert):
		return TLSRefused, args{"reason": alert.Error()}
	case errors.As(err, &op) && op.Op == "remote error":
		return TLSRefused, args{"reason": op.Err.Error()}
	case isReset(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return TLSReset, args{}
	}
	return TLSFailed, args{"reason": "crypto/tls"}
}

// verify verifies a chain as crypto/tls does.
func (d *diagnosis) verify(config *tls.Config, state tls.ConnectionState) (Code, args, error) {
	now := time.Now()
	if config.Time != nil {
		now = config.Time()
	}
	options := x509.VerifyOptions{Roots: config.RootCAs, CurrentTime: now, DNSName: config.ServerName, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	leaf := state.PeerCertificates[0]
	_, err := leaf.Verify(options)
	if err == nil {
		return "", nil, nil
	}
	err = &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	names := cleanAll(append(slices.Clone(leaf.DNSNames), addressesOf(leaf)...))
	if len(names) == 0 {
		names = []string{clean(leaf.Subject.CommonName)}
	}
	var name x509.HostnameError
	issuer := issuerOf(leaf)
	switch {
	case !now.Before(leaf.NotAfter):
		return TLSExpired, args{"date": leaf.NotAfter, "now": now}, err
	case now.Before(leaf.NotBefore):
		return TLSNotYetValid, args{"date": leaf.NotBefore, "now": now}, err
	case interceptorOf(state.PeerCertificates) != "":
		return TLSIntercepted, args{"issuer": interceptorOf(state.PeerCertificates), "trust": phrase{"not trusted", nil}}, err
	case errors.As(err, &name):
		return TLSWrongName, args{"names": names}, err
	}
	return TLSUntrusted, args{"issuer": issuer}, err
}

func addressesOf(c *x509.Certificate) (all []string) {
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

func isWithin(c *x509.Certificate, t time.Time) bool {
	return !t.Before(c.NotBefore) && t.Before(c.NotAfter)
}

// askTime asks a server for its time. The request has no key, because the server is not verified.
func askTime(conn *tls.Conn, name string) (time.Time, bool) {
	if conn.ConnectionState().NegotiatedProtocol == "h2" {
		return time.Time{}, false
	}
	if _, err := fmt.Fprintf(conn, "HEAD / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", name); err != nil {
		return time.Time{}, false
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 64<<10)), &http.Request{Method: http.MethodHead})
	if err != nil {
		return time.Time{}, false
	}
	resp.Body.Close()
	date, err := http.ParseTime(resp.Header.Get("Date"))
	return date, err == nil
}

// issuerOf returns who issued a certificate.
func issuerOf(c *x509.Certificate) string {
	for _, name := range slices.Concat(c.Issuer.Organization, []string{c.Issuer.CommonName}) {
		if name = clean(name); name != "" {
			return name
		}
	}
	return "?"
}

// interceptors are parts of the names of those who issue certificates to read what is encrypted:
// firewalls of companies, virus scanners, and tools of developers.
var interceptors = [...]string{
	"zscaler", "fortinet", "fortigate", "palo alto", "netskope", "cisco umbrella", "blue coat", "bluecoat", "forcepoint", "websense",
	"sophos", "barracuda", "check point", "checkpoint", "watchguard", "sonicwall", "untangle", "mcafee", "skyhigh", "iboss", "cato networks",
	"menlo security", "smoothwall", "lightspeed", "securly", "kaspersky", "avast", "avg ", "eset ", "bitdefender", "dr.web", "adguard",
	"mitmproxy", "charles proxy", "do_not_trust", "fiddler", "portswigger", "burp", "proxyman", "whistle", "httptoolkit", "http toolkit",
	"sangfor", "\u6df1\u4fe1\u670d", "qianxin", "\u5947\u5b89\u4fe1", "topsec", "hillstone", "venustech", "nsfocus", "steam++", "watt toolkit",
}

// interceptorOf returns the name of an issuer in a chain that is known to intercept; empty: none is.
func interceptorOf(chain []*x509.Certificate) string {
	for _, c := range chain {
		for _, name := range slices.Concat(c.Issuer.Organization, c.Issuer.OrganizationalUnit, []string{c.Issuer.CommonName}) {
			lower := strings.ToLower(name) + " "
			if slices.ContainsFunc(interceptors[:], func(part string) bool { return strings.Contains(lower, part) }) {
				return clean(name)
			}
		}
	}
	return ""
}

// proofs is the extension of a certificate with its proofs of Certificate Transparency: RFC 6962,
// section 3.3.
var proofs = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

func isLogged(state tls.ConnectionState) bool {
	return len(state.SignedCertificateTimestamps) > 0 || slices.ContainsFunc(state.PeerCertificates[0].Extensions, func(e pkix.Extension) bool { return e.Id.Equal(proofs) })
}

// soon is how long before its end a certificate should have been renewed.
const soon = 7 * 24 * time.Hour

// tellTLS tells what became of the handshakes, and returns the ways whose certificate is right.
func (d *diagnosis) tellTLS(s *stage, ways []*way) (right []*way) {
	var wrong []*way
	for _, w := range ways {
		if w.tls.code == "" {
			right = append(right, w)
		} else {
			wrong = append(wrong, w)
		}
	}
	about := func(w *way) args {
		all := args{"name": d.target.Hostname(), "limit": d.limit(tlsShare), "addresses": []string{w.Address.Address}}
		for k, v := range w.tls.args {
			all[k] = v
		}
		return all
	}
	if len(right) == 0 {
		d.noteTLS(wrong[0].tls, false)
		s.find(wrong[0].tls.code, about(wrong[0]), wrong[0].tls.err).Severity = Error
		return nil
	}
	if len(wrong) > 0 {
		differ, causes := make(map[string][]string), make(map[string]error)
		for _, w := range wrong {
			differ[string(w.tls.code)] = append(differ[string(w.tls.code)], w.Address.Address)
			causes[string(w.tls.code)] = w.tls.err
		}
		addresses, reasons, cause := gather(differ, causes)
		s.find(TLSAddressDiffers, args{"addresses": addresses, "reason": reasons}, cause)
	}
	first := right[0].tls
	insecure := d.tlsConfig().InsecureSkipVerify
	d.noteTLS(first, !insecure)
	leaf := first.state.PeerCertificates[0]
	switch {
	case insecure:
		s.find(VerificationOff, nil, nil)
	case interceptorOf(first.state.PeerCertificates) != "":
		a := about(right[0])
		a["issuer"] = interceptorOf(first.state.PeerCertificates)
		s.find(TLSIntercepted, a, nil)
	case !isLogged(first.state) && d.profile.IsAt(d.target.Hostname()):
		a := about(right[0])
		a["issuer"], a["trust"] = issuerOf(leaf), phrase{"local root", nil}
		s.find(TLSIntercepted, a, nil)
	case time.Until(leaf.NotAfter) < soon:
		s.find(TLSExpiresSoon, args{"name": d.target.Hostname(), "date": leaf.NotAfter}, nil)
	}
	days := int(time.Until(leaf.NotAfter).Hours() / 24)
	s.say("tls done", args{"version": tls.VersionName(first.state.Version), "issuer": issuerOf(leaf), "days": days})
	return right
}

// noteTLS fills in what a handshake showed.
func (d *diagnosis) noteTLS(h *handshake, verified bool) {
	if len(h.state.PeerCertificates) == 0 {
		return
	}
	leaf := h.state.PeerCertificates[0]
	t := &TLS{
		Version: tls.VersionName(h.state.Version), Protocol: clean(h.state.NegotiatedProtocol),
		Subject: subjectOf(leaf), Issuer: issuerOf(leaf), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
		Verified: verified, Logged: isLogged(h.state), Chain: []string{},
	}
	for _, c := range h.state.PeerCertificates[:min(len(h.state.PeerCertificates), 8)] {
		t.Chain = append(t.Chain, subjectOf(c))
	}
	d.report.TLS = t
}

func subjectOf(c *x509.Certificate) string {
	if name := clean(c.Subject.CommonName); name != "" {
		return name
	}
	if len(c.DNSNames) > 0 {
		return clean(c.DNSNames[0])
	}
	return clean(c.Subject.String())
}

// tunnel asks a proxy on a connection to connect to the host: RFC 9110, section 9.3.6. status is
// its answer; 0: none came.
func (d *diagnosis) tunnel(ctx context.Context, conn net.Conn, proxy *url.URL) (_ net.Conn, status int, err error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if proxy.Scheme == "https" {
		config := d.tlsConfig()
		config.ServerName, config.NextProtos = proxy.Hostname(), nil
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, 0, err
		}
		conn = secure
	}
	host := net.JoinHostPort(d.target.Hostname(), portOf(d.target))
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: host}, Host: host, Header: d.base.ProxyConnectHeader.Clone()}
	if req.Header == nil {
		req.Header = make(http.Header)
	}
	if u := proxy.User; u != nil && req.Header.Get("Proxy-Authorization") == "" {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, 0, err
	}
	in := bufio.NewReader(io.LimitReader(conn, 64<<10))
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, resp.StatusCode, nil
	}
	return conn, resp.StatusCode, nil
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	case strings.HasPrefix(u.Scheme, "socks"):
		return "1080"
	}
	return "80"
}

// maxShown is how many bytes of a text of the host are shown.
const maxShown = 80

// clean returns the beginning of a text of the host, without what is not to be printed.
func clean(s string) string {
	var out strings.Builder
	for _, r := range s {
		if out.Len()+utf8.RuneLen(r) > maxShown-len("\u2026") {
			out.WriteString("\u2026")
			break
		}
		if strconv.IsPrint(r) && r != '\ufffd' {
			out.WriteRune(r)
		}
	}
	return strings.TrimSpace(out.String())
}

func cleanAll(all []string) []string {
	for i, s := range all {
		all[i] = clean(s)
	}
	return all
}
