package diagnose

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// What a Lookup says in place of addresses.
const (
	lookupNoName      = "nxdomain"
	lookupNoData      = "no-data"
	lookupTimeout     = "timeout"
	lookupServFail    = "servfail"
	lookupRefused     = "refuses"
	lookupUnreachable = "unreachable"
	lookupMalformed   = "malformed"
	lookupFailed      = "failed"
)

// systemResolver is the name of the resolver that programs use.
const systemResolver = "system"

// lookedUp is a Lookup with what it is made of.
type lookedUp struct {
	Lookup
	addresses []netip.Addr
	err       error
}

// lookUp asks the system's resolver and each nameserver by itself, at the same time. The first
// answer is the system's.
func (d *diagnosis) lookUp(ctx context.Context, name string) []lookedUp {
	answers := make([]lookedUp, 1+len(d.nameservers))
	var asked sync.WaitGroup
	asked.Go(func() { answers[0] = askSystem(ctx, d.lookup, name) })
	for i, server := range d.nameservers {
		asked.Go(func() { answers[i+1] = askServer(ctx, server, name) })
	}
	asked.Wait()
	return answers
}

// askSystem asks the resolver that the program uses.
func askSystem(ctx context.Context, lookup func(context.Context, string) ([]netip.Addr, error), name string) lookedUp {
	start := time.Now()
	type result struct {
		addresses []netip.Addr
		err       error
	}
	came := make(chan result, 1)
	go func() { // a resolver of the C library does not end with the context
		addresses, err := lookup(ctx, name)
		came <- result{addresses, err}
	}()
	l := lookedUp{Lookup: Lookup{Resolver: systemResolver, Name: name}}
	select {
	case r := <-came:
		l.addresses, l.err = r.addresses, r.err
	case <-ctx.Done():
		l.err = ctx.Err()
	}
	l.Took = Millis(time.Since(start))
	if l.err != nil {
		l.Error = kindOfLookup(ctx, l.err)
	} else if len(l.addresses) == 0 {
		l.Error = lookupNoData
	}
	l.sort()
	return l
}

func kindOfLookup(ctx context.Context, err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return lookupNoName
	case ctx.Err() != nil, dns != nil && dns.IsTimeout, errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return lookupTimeout
	case dns != nil && dns.IsTemporary:
		return lookupServFail
	case isUnreachable(err), isRefused(err):
		return lookupUnreachable
	}
	return lookupFailed
}

// sort fills in the addresses by their family.
func (l *lookedUp) sort() {
	l.IPv4, l.IPv6 = []string{}, []string{}
	for i, a := range l.addresses {
		a = a.Unmap()
		l.addresses[i] = a
		if a.Is4() {
			l.IPv4 = append(l.IPv4, a.String())
		} else {
			l.IPv6 = append(l.IPv6, a.String())
		}
	}
	slices.Sort(l.IPv4)
	slices.Sort(l.IPv6)
}

// askServer asks one nameserver for the addresses of both families, over UDP, and over TCP if the
// answer is cut.
func askServer(ctx context.Context, server, name string) lookedUp {
	start := time.Now()
	l := lookedUp{Lookup: Lookup{Resolver: server, Name: name}}
	var answers [2]reply
	var asked sync.WaitGroup
	for i, kind := range [...]dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		asked.Go(func() { answers[i] = query(ctx, server, name, kind) })
	}
	asked.Wait()
	l.Took = Millis(time.Since(start))
	for _, a := range answers {
		l.addresses = append(l.addresses, a.addresses...)
	}
	if len(l.addresses) == 0 {
		for _, a := range answers {
			if l.Error = a.problem; l.Error != "" {
				l.err = a.err
				break
			}
		}
		if l.Error == "" {
			l.Error = lookupNoData
		}
		if l.err == nil {
			l.err = &net.DNSError{Err: l.Error, Name: name, Server: server, IsNotFound: l.Error == lookupNoName || l.Error == lookupNoData, IsTimeout: l.Error == lookupTimeout}
		}
	}
	l.sort()
	return l
}

// A reply is the answer of a nameserver for one family.
type reply struct {
	addresses []netip.Addr
	problem   string
	err       error
}

const (
	maxUDP    = 1232 // bytes of an answer over UDP, as the DNS flag day of 2020 recommends
	udpTries  = 3    // packets get lost
	maxFound  = 16   // addresses of one answer
	tcpLength = 2    // bytes before a message over TCP
)

func query(ctx context.Context, server, name string, kind dnsmessage.Type) reply {
	question, id, err := questionFor(name, kind)
	if err != nil {
		return reply{problem: lookupFailed, err: err}
	}
	answer, cut, err := exchangeUDP(ctx, server, question, id)
	if err == nil && cut {
		answer, err = exchangeTCP(ctx, server, question)
	}
	if err != nil {
		return reply{problem: kindOfLookup(ctx, err), err: err}
	}
	return readReply(answer, id, kind)
}

func questionFor(name string, kind dnsmessage.Type) (packed []byte, id uint16, err error) {
	var random [2]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, 0, err
	}
	id = binary.BigEndian.Uint16(random[:])
	full, err := dnsmessage.NewName(strings.TrimSuffix(name, ".") + ".")
	if err != nil {
		return nil, 0, err
	}
	b := dnsmessage.NewBuilder(make([]byte, tcpLength, 512), dnsmessage.Header{ID: id, RecursionDesired: true})
	var edns dnsmessage.ResourceHeader
	err = errors.Join(
		b.StartQuestions(),
		b.Question(dnsmessage.Question{Name: full, Type: kind, Class: dnsmessage.ClassINET}),
		b.StartAdditionals(),
		edns.SetEDNS0(maxUDP, dnsmessage.RCodeSuccess, false),
		b.OPTResource(edns, dnsmessage.OPTResource{}),
	)
	if err != nil {
		return nil, 0, err
	}
	packed, err = b.Finish()
	if err == nil {
		binary.BigEndian.PutUint16(packed, uint16(len(packed)-tcpLength))
	}
	return packed, id, err
}

// exchangeUDP sends a question, again if nothing comes, and returns the first answer to it.
func exchangeUDP(ctx context.Context, server string, question []byte, id uint16) (answer []byte, cut bool, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", server)
	if err != nil {
		return nil, false, err
	}
	defer conn.Close()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(defaultTimeout)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 64<<10)
	for try := 1; try <= udpTries; try++ {
		if _, err := conn.Write(question[tcpLength:]); err != nil {
			return nil, false, err
		}
		conn.SetReadDeadline(time.Now().Add(time.Until(deadline) / time.Duration(udpTries-try+1)))
		for {
			var n int
			if n, err = conn.Read(buf); err != nil {
				break
			}
			var p dnsmessage.Parser
			if h, bad := p.Start(buf[:n]); bad == nil && h.ID == id && h.Response {
				return buf[:n], h.Truncated, nil
			}
		}
		if ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, false, err
		}
	}
	return nil, false, err
}

func exchangeTCP(ctx context.Context, server string, question []byte) ([]byte, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	var length [tcpLength]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	answer := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err = io.ReadFull(conn, answer)
	return answer, err
}

// readReply reads the addresses of an answer. Those of aliases are in it, too.
func readReply(answer []byte, id uint16, kind dnsmessage.Type) reply {
	var p dnsmessage.Parser
	h, err := p.Start(answer)
	if err != nil || h.ID != id {
		return reply{problem: lookupMalformed, err: err}
	}
	switch h.RCode {
	case dnsmessage.RCodeSuccess:
	case dnsmessage.RCodeNameError:
		return reply{problem: lookupNoName}
	case dnsmessage.RCodeRefused:
		return reply{problem: lookupRefused}
	default:
		return reply{problem: lookupServFail}
	}
	if err := p.SkipAllQuestions(); err != nil {
		return reply{problem: lookupMalformed, err: err}
	}
	var r reply
	for len(r.addresses) < maxFound {
		header, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return reply{problem: lookupMalformed, err: err}
		}
		switch {
		case header.Type == kind && kind == dnsmessage.TypeA:
			var a dnsmessage.AResource
			if a, err = p.AResource(); err == nil {
				r.addresses = append(r.addresses, netip.AddrFrom4(a.A))
			}
		case header.Type == kind:
			var a dnsmessage.AAAAResource
			if a, err = p.AAAAResource(); err == nil {
				r.addresses = append(r.addresses, netip.AddrFrom16(a.AAAA))
			}
		default:
			err = p.SkipAnswer()
		}
		if err != nil {
			return reply{problem: lookupMalformed, err: err}
		}
	}
	return r
}

// maxServers is how many nameservers are asked: the C library reads no more of them.
const maxServers = 3

// serversOf returns the nameservers of a file such as /etc/resolv.conf, with their ports.
func serversOf(file string) (servers []string) {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for lines.Scan() && len(servers) < maxServers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil {
			servers = append(servers, netip.AddrPortFrom(a, 53).String())
		}
	}
	return servers
}

var fakeIPs = netip.MustParsePrefix("198.18.0.0/15") // RFC 2544

// unroutable are addresses that no public host has: RFC 6890.
var unroutable = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("100::/64"),
}

// isPublic reports whether a public host may have an address.
func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate() && !slices.ContainsFunc(unroutable, func(p netip.Prefix) bool { return p.Contains(a) })
}

// maxTried is how many addresses are tried.
const maxTried = 8

// examineDNS finds the addresses of a name. those of the system come first.
func (d *diagnosis) examineDNS(ctx context.Context, s *stage, name string) []netip.Addr {
	limit := d.limit(dnsShare)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answers := d.lookUp(ctx, name)
	var found []netip.Addr
	answered := 0
	for _, l := range answers {
		d.noteLookup(l.Lookup)
		if len(l.addresses) > 0 {
			answered++
		}
		for _, a := range l.addresses {
			if !slices.Contains(found, a) {
				found = append(found, a)
			}
		}
	}
	if len(found) == 0 {
		d.noAddress(s, name, answers, limit)
		return nil
	}
	d.compareAnswers(s, name, answers, limit)
	if system := answers[0]; len(system.addresses) > 0 && time.Duration(system.Took) > slowLookup {
		s.find(DNSSlow, args{"name": name, "took": system.Took}, nil)
	}
	v4, v6 := 0, 0
	for _, a := range found {
		if a.Is4() {
			v4++
		} else {
			v6++
		}
	}
	said := term("addresses of one")
	if answered > 1 {
		said = "addresses"
	}
	s.say(said, args{"v4": v4, "v6": v6, "n": answered})
	return found[:min(len(found), maxTried)]
}

// slowLookup is how long a lookup takes that is slow.
const slowLookup = time.Second

// noAddress tells why nobody has an address.
func (d *diagnosis) noAddress(s *stage, name string, answers []lookedUp, limit time.Duration) {
	var said []phrase
	counts := make(map[string]int)
	var cause error
	for _, l := range answers {
		said = append(said, phrase{"resolver says", args{"resolver": d.resolverName(l.Resolver), "what": term(l.Error)}})
		counts[l.Error]++
		if cause == nil {
			cause = l.err
		}
	}
	code := DNSFailed
	switch {
	case counts[lookupNoName]+counts[lookupNoData] > 0:
		code = DNSNoSuchHost
		said = slices.DeleteFunc(said, func(p phrase) bool {
			return p.args["what"] != term(lookupNoName) && p.args["what"] != term(lookupNoData)
		})
	case counts[lookupTimeout] == len(answers):
		code = DNSSilent
	}
	s.find(code, args{"name": name, "resolvers": said, "limit": limit}, cause)
}

// compareAnswers tells of resolvers that failed while others did not, and of answers that cannot
// be right. Different addresses alone mean nothing: many hosts answer by place.
func (d *diagnosis) compareAnswers(s *stage, name string, answers []lookedUp, limit time.Duration) {
	var with, without, silent, broken []string
	var cause, silence, fault error
	var reasons []phrase
	ofSystem := false // the resolver that programs use is broken
	for i, l := range answers {
		who := d.resolverName(l.Resolver)
		switch {
		case len(l.addresses) > 0:
			with = append(with, who)
		case l.Error == lookupNoName || l.Error == lookupNoData:
			without, cause = append(without, who), errors.Join(cause, l.err)
		case l.Error == lookupTimeout && i > 0:
			silent, silence = append(silent, who), errors.Join(silence, l.err)
		default:
			ofSystem = ofSystem || i == 0
			broken, fault = append(broken, who), errors.Join(fault, l.err)
			reasons = append(reasons, phrase{term(l.Error), nil})
		}
	}
	if len(silent) > 0 {
		f := s.find(DNSServerSilent, args{"server": silent, "name": name, "limit": limit}, silence)
		if len(answers) == 2 { // the only one: the system has its answers from elsewhere
			f.Severity = Note
		}
	}
	if len(broken) > 0 {
		f := s.find(DNSServerFailed, args{"server": broken, "name": name, "reason": reasons}, fault)
		if ofSystem {
			f.Severity = Error
		}
	}
	if system := answers[0].addresses; len(without) > 0 && len(system) > 0 && !slices.ContainsFunc(system, isPublic) {
		s.find(DNSLocalEntry, args{"name": name, "addresses": slices.Concat(answers[0].IPv4, answers[0].IPv6)}, nil)
		return
	}
	if len(without) > 0 {
		f := s.find(DNSDisagree, args{"with": with, "without": without, "name": name}, cause)
		if len(answers[0].addresses) == 0 {
			f.Severity = Error
		}
	}
	d.examineAddresses(s, name, answers)
}

// examineAddresses tells of addresses that a public host cannot have.
func (d *diagnosis) examineAddresses(s *stage, name string, answers []lookedUp) {
	public := d.profile.IsAt(name)
	for _, l := range answers {
		var fake, odd []string
		for _, a := range l.addresses {
			switch {
			case fakeIPs.Contains(a):
				fake = append(fake, a.String())
			case public && !isPublic(a):
				odd = append(odd, a.String())
			}
		}
		who := d.resolverName(l.Resolver)
		if len(fake) > 0 {
			s.find(DNSFakeIP, args{"server": who, "name": name, "addresses": fake}, nil)
			return
		}
		if len(odd) > 0 {
			s.find(DNSForged, args{"server": who, "name": name, "addresses": odd}, nil)
			return
		}
	}
	d.compareSystem(s, name, answers)
}

// compareSystem tells if the system has an address that is local while its nameservers have none
// such: it is from a file or a service of this machine.
func (d *diagnosis) compareSystem(s *stage, name string, answers []lookedUp) {
	var own []string
	for _, a := range answers[0].addresses {
		if !isPublic(a) {
			own = append(own, a.String())
		}
	}
	if len(own) == 0 {
		return
	}
	said := false
	for _, l := range answers[1:] {
		for _, a := range l.addresses {
			if !isPublic(a) {
				return
			}
			said = true
		}
	}
	if said {
		s.find(DNSLocalEntry, args{"name": name, "addresses": own}, nil)
	}
}

// resolverName returns how texts call a resolver.
func (d *diagnosis) resolverName(resolver string) string {
	if resolver == systemResolver {
		return d.language.say("system", nil)
	}
	return strings.TrimSuffix(resolver, ":53")
}
