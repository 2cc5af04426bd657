package diagnose

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// Run diagnoses an endpoint. It returns when all has been tried, at the latest after the time of
// [WithTimeout], or soon after ctx has ended. It may be called for several endpoints at the same
// time.
//
// It asks as a [breakwater.Transport] with the endpoint would: Models, Header, KeyFunc, Rewrite,
// Keyless, AllowPlainHTTP and Host apply. An endpoint that [breakwater.New] refuses is diagnosed
// as far as that goes without a key.
func Run(ctx context.Context, e breakwater.Endpoint, opts ...Option) Report {
	began := time.Now()
	c, wrong := newConfig(opts)
	d := newDiagnosis(c, e, began)
	ctx, cancel := context.WithTimeout(ctx, c.timeout-c.timeout/20) // the rest is for writing it up
	defer cancel()
	defer d.base.CloseIdleConnections()
	var aside sync.WaitGroup
	aside.Go(func() { d.stage(StageStatus, func(s *stage) { d.askStatusPage(ctx, s) }) })
	d.stage(StageConfig, func(s *stage) { d.checkConfig(s, wrong) })
	d.stage(StageKeyForm, d.checkKey)
	if d.target.Host == "" {
		d.skipFrom(StageProxy, "endpoint refused")
	} else {
		d.ask(ctx, d.examineConnection(ctx))
	}
	aside.Wait()
	return d.finish()
}

// A diagnosis is one Run.
type diagnosis struct {
	config
	endpoint  breakwater.Endpoint // as given, but without a key that must not be sent
	unsound   bool                // breakwater.New refuses it
	withheld  bool                // its key is not sent
	misplaced bool                // a key seems to be in its URL
	keyed     bool                // it has a key of its own, which is sent
	profile   *host.Profile
	target    *url.URL // the endpoint's URL; its Host is empty if there is none
	base      *http.Transport
	ownDialer bool
	dialer    func(ctx context.Context, network, address string) (net.Conn, error)
	dialName  string   // the name that is dialed, of the host or of the proxy
	dialTo    []string // the addresses that it has; empty: the dialer resolves it

	mu      sync.Mutex // guards what follows
	report  Report
	secrets map[string]bool // credentials that were sent
}

func newDiagnosis(c config, e breakwater.Endpoint, began time.Time) *diagnosis {
	d := &diagnosis{config: c, endpoint: e, profile: host.Lookup(string(e.Host)), target: new(url.URL), secrets: make(map[string]bool)}
	if u, err := url.Parse(strings.TrimSpace(e.URL)); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		if _, ok := origin.ASCIIHost(u.Hostname()); ok && u.Hostname() != "" {
			d.target = origin.InASCII(u)
			d.target.User, d.target.Fragment = nil, "" // breakwater refuses them, and net/http would send the user
		}
	}
	if holdsKey(d.target.Hostname()) {
		d.target, d.misplaced = new(url.URL), true
	}
	if e.Host == "" {
		d.profile = host.OfDomain(d.target.Hostname())
	}
	d.noteSecret(e.APIKey)
	for _, values := range e.Header {
		for _, v := range values {
			d.noteSecret(v)
		}
	}
	shown := url.URL{Scheme: d.target.Scheme, Host: d.target.Host, Path: d.target.Path}
	d.report = Report{
		Version: Version, Endpoint: clean(e.Name), URL: strings.TrimRight(shown.String(), "/"), Host: breakwater.Host(d.profile.Name), Language: c.language, Began: began,
		Findings: []Finding{}, Stages: []Stage{},
	}
	if d.report.Endpoint == "" || holdsKey(d.report.Endpoint) {
		d.report.Endpoint = d.target.Host
	}
	if u, err := url.Parse(e.URL); err == nil && u.User != nil {
		password, _ := u.User.Password()
		d.noteSecret(password)
		d.noteSecret(u.User.Username())
	}
	d.base = d.newBase()
	return d
}

// holdsKey reports whether a name has what is likely a key in it, as when the arguments of
// breakwater.Bedrock are exchanged. Such a name is neither looked up nor shown.
func holdsKey(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > 63 || keyLike.MatchString(label) {
			return true
		}
	}
	return false
}

var keyLike = regexp.MustCompile(`(?i)(sk-|absk|nvapi-|eyj)[a-z0-9_-]{12,}`)

// newBase returns the transport that requests go through.
func (d *diagnosis) newBase() *http.Transport {
	if t := d.config.transport; t != nil {
		base := t.Clone()
		d.ownDialer = base.DialContext != nil || base.DialTLSContext != nil || hasOldDialer(base)
		if base.DialContext != nil {
			d.dialer = base.DialContext
		} else {
			d.dialer = (&net.Dialer{}).DialContext
		}
		if !d.ownDialer {
			base.DialContext = d.dial
		}
		return base
	}
	d.dialer = (&net.Dialer{}).DialContext
	return &http.Transport{
		Proxy:       func(req *http.Request) (*url.URL, error) { return d.proxyFor(req.URL) },
		DialContext: d.dial, ForceAttemptHTTP2: true, ExpectContinueTimeout: time.Second,
		MaxResponseHeaderBytes: maxHeaders,
	}
}

// maxHeaders is the bound of breakwater's own base.
const maxHeaders = 1 << 20

// dial connects to the addresses that were found to work, one after the other.
func (d *diagnosis) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	name, port, _ := net.SplitHostPort(address)
	if name != d.dialName || len(d.dialTo) == 0 {
		return d.dialer(ctx, network, address)
	}
	for _, a := range d.dialTo {
		conn, err = d.dialer(ctx, network, net.JoinHostPort(a, port))
		if err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	return nil, err
}

// A share is the part of the whole time that a stage may take, and the most that it may.
type share struct {
	percent time.Duration
	most    time.Duration
}

var (
	dnsShare   = share{20, 3 * time.Second}
	tcpShare   = share{20, 3 * time.Second}
	tlsShare   = share{20, 3 * time.Second}
	askShare   = share{30, 10 * time.Second}
	pageShare  = share{40, 5 * time.Second}
	otherShare = share{20, 5 * time.Second} // of requests behind the first
)

// limit returns how long a stage may take.
func (d *diagnosis) limit(s share) time.Duration {
	return min(d.timeout*s.percent/100, s.most)
}

// A stage is one that is under way.
type stage struct {
	d        *diagnosis
	name     StageName
	text     string
	skipped  bool
	findings []*Finding
}

// stage runs one stage.
func (d *diagnosis) stage(name StageName, run func(*stage)) {
	d.tell(Stage{Name: name, State: Running})
	start := time.Now()
	s := &stage{d: d, name: name}
	run(s)
	state := Passed
	if s.skipped {
		state = Skipped
	}
	d.mu.Lock()
	for _, f := range s.findings {
		switch f.Severity {
		case Error:
			state = Failed
		case Warning:
			if state != Failed {
				state = Doubtful
			}
		}
		d.report.Findings = append(d.report.Findings, *f)
	}
	done := Stage{Name: name, State: state, Took: Millis(time.Since(start)), Text: d.scrub(s.text)}
	d.report.Stages = append(d.report.Stages, done)
	d.mu.Unlock()
	d.tell(done)
}

func (d *diagnosis) tell(s Stage) {
	if d.progress != nil {
		d.progress(s)
	}
}

// skipFrom skips a stage and those behind it, except for the status page.
func (d *diagnosis) skipFrom(first StageName, why term) {
	from := false
	for _, name := range StageNames {
		from = from || name == first
		if !from || name == StageStatus || !d.spend && (name == StageJSON || name == StageStream) {
			continue
		}
		d.stage(name, func(s *stage) { s.skip(why) })
	}
}

func (s *stage) skip(why term) { s.skipped, s.text = true, s.d.language.say(why, nil) }

func (s *stage) say(t term, a args) { s.text = s.d.language.say(t, a) }

// find adds a finding. The caller may change its severity.
func (s *stage) find(code Code, a args, cause error) *Finding {
	l, r := s.d.language, ruleOf(code)
	w := l.wordingOf(code)
	f := &Finding{Layer: r.layer, Code: code, Severity: r.severity, Stage: s.name, Seen: l.fill(w.seen, a), Means: l.fill(w.means, a), Next: l.fill(w.next, a)}
	if cause != nil {
		f.Err = outcome.Quiet(cause)
	}
	s.findings = append(s.findings, f)
	if s.text == "" {
		s.text = f.Seen
	}
	return f
}

// failed reports whether an error was found so far.
func (d *diagnosis) failed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.report.Findings, func(f Finding) bool { return f.Severity == Error })
}

func (d *diagnosis) noteLookup(l Lookup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Lookups = append(d.report.Lookups, l)
}

// noteSecret remembers what no text may quote.
func (d *diagnosis) noteSecret(s string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	const most = 1000
	if _, rest, ok := strings.Cut(s, " "); ok { // behind the scheme
		s = strings.TrimSpace(rest)
	}
	if s = strings.TrimSpace(s); len(s) >= 8 && len(d.secrets) < most {
		d.secrets[s] = true
	}
}

// scrub removes secrets from a text. The lock must be held.
func (d *diagnosis) scrub(text string) string {
	for secret := range d.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}

// weighLocked corrects severities by what came later. If all answers came, calls work, whatever
// other requests got. If the list of models came without a key, the host may need none.
func (d *diagnosis) weighLocked() {
	r := &d.report
	answered := len(r.Answers) > 0
	for _, s := range r.Stages {
		if s.Name == StageJSON || s.Name == StageStream {
			answered = answered && s.State != Failed
		}
	}
	listed := r.Models != nil && r.Models.Listed > 0 && !d.profile.ModelsNeedKey
	for i := range r.Findings {
		f := &r.Findings[i]
		afterwards := f.Stage == StageHTTP || f.Stage == StageKey || f.Stage == StageBalance || f.Stage == StageModel
		if f.Severity == Error && (answered && (afterwards || f.Code == KeyMissing) || listed && f.Code == KeyMissing && f.Stage == StageKeyForm) {
			f.Severity = Warning
		}
	}
}

// dropRepeated leaves one finding of each code, the first, as bad as the worst of them: a cause may
// show in several stages.
func dropRepeated(findings []Finding) []Finding {
	at := make(map[Code]int)
	kept := findings[:0]
	for _, f := range findings {
		if i, again := at[f.Code]; again {
			if severityRank[f.Severity] > severityRank[kept[i].Severity] {
				kept[i].Severity = f.Severity
			}
			continue
		}
		at[f.Code] = len(kept)
		kept = append(kept, f)
	}
	return kept
}

// scrubAll removes secrets from all texts of a value, as a host may send back what it got.
func (d *diagnosis) scrubAll(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if clean := d.scrub(v.String()); clean != v.String() {
			v.SetString(clean)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			d.scrubAll(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			d.scrubAll(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				d.scrubAll(v.Field(i))
			}
		}
	}
}

// finish sorts the report and sums it up.
func (d *diagnosis) finish() Report {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &d.report
	d.weighLocked()
	slices.SortStableFunc(r.Stages, func(a, b Stage) int {
		return slices.Index(StageNames[:], a.Name) - slices.Index(StageNames[:], b.Name)
	})
	byStage := func(a, b Finding) int {
		return slices.Index(StageNames[:], a.Stage) - slices.Index(StageNames[:], b.Stage)
	}
	slices.SortStableFunc(r.Findings, byStage)
	r.Findings = dropRepeated(r.Findings)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if by := severityRank[b.Severity] - severityRank[a.Severity]; by != 0 {
			return by
		}
		return byStage(a, b)
	})
	r.Verdict, r.Summary = Well, d.language.say("all is well", nil)
	if len(r.Findings) > 0 {
		switch worst := r.Findings[0]; worst.Severity {
		case Error:
			r.Verdict, r.Summary = Down, d.language.say("calls fail", args{"seen": worst.Seen})
		case Warning:
			r.Verdict, r.Summary = Degraded, d.language.say("works but", args{"seen": worst.Seen})
		}
	}
	d.scrubAll(reflect.ValueOf(r).Elem())
	r.Took = Millis(time.Since(r.Began))
	return *r
}

// examineConnection looks at the way to the host. It returns an empty term if requests can be
// sent, or why not.
func (d *diagnosis) examineConnection(ctx context.Context) (why term) {
	var proxy *url.URL
	var bad bool
	d.stage(StageProxy, func(s *stage) { proxy, bad = d.examineProxy(s) })
	if bad {
		d.skipStages("no connection", StageDNS, StageTCP, StageTLS)
		return "no connection"
	}
	at := d.target
	if proxy != nil {
		at = proxy
	}
	ways := d.findWays(ctx, at, proxy != nil)
	if len(ways) == 0 {
		d.skipStages("no connection", StageTCP, StageTLS)
		return "no connection"
	}
	defer d.noteAddresses(ways)
	d.stage(StageTCP, func(s *stage) {
		d.examineTCP(ctx, ways)
		if proxy != nil {
			ways = d.tellProxy(ctx, s, ways, proxy)
		} else {
			ways = d.tellTCP(s, ways, portOf(at))
		}
	})
	if len(ways) == 0 {
		d.skipStages("no connection", StageTLS)
		return "no connection"
	}
	defer func() {
		for _, w := range ways {
			w.conn.Close()
		}
	}()
	d.dialVia(ways, at)
	return d.examineSecurity(ctx, ways, proxy, at)
}

// noteAddresses fills in what became of the ways.
func (d *diagnosis) noteAddresses(ways []*way) {
	for _, w := range ways {
		d.report.Addresses = append(d.report.Addresses, w.Address)
	}
}

// dialVia makes requests take ways that were found to be open.
func (d *diagnosis) dialVia(ways []*way, at *url.URL) {
	d.dialName, d.dialTo = at.Hostname(), nil
	for _, w := range ways {
		if host, _, err := net.SplitHostPort(w.at); err == nil && host != d.dialName {
			d.dialTo = append(d.dialTo, host)
		}
	}
}

// examineSecurity makes the handshakes of TLS on open ways.
func (d *diagnosis) examineSecurity(ctx context.Context, ways []*way, proxy, at *url.URL) (why term) {
	d.stage(StageTLS, func(s *stage) {
		switch {
		case d.target.Scheme != "https":
			s.skip("plain http")
			return
		case proxy != nil && strings.HasPrefix(proxy.Scheme, "socks"), d.base.DialTLSContext != nil:
			s.skip("own dialer") // the request for the models shows whether it works
			return
		case proxy != nil:
			ways = d.tunnelThrough(ctx, s, ways[:1], proxy)
			if len(ways) == 0 {
				why = "no connection"
				return
			}
		}
		d.examineTLS(ctx, ways)
		right := d.tellTLS(s, ways)
		if len(right) == 0 {
			why = "not verified"
			return
		}
		if proxy == nil {
			d.dialVia(right, at)
		}
	})
	return why
}

func (d *diagnosis) skipStages(why term, names ...StageName) {
	for _, name := range names {
		d.stage(name, func(s *stage) { s.skip(why) })
	}
}

// findWays finds the addresses of the host or of the proxy.
func (d *diagnosis) findWays(ctx context.Context, at *url.URL, isProxy bool) (ways []*way) {
	d.stage(StageDNS, func(s *stage) {
		name, port := at.Hostname(), portOf(at)
		if a, err := netip.ParseAddr(name); err == nil {
			s.skip("is address")
			ways = waysTo([]netip.Addr{a}, port, isProxy)
			return
		}
		if d.ownDialer {
			s.skip("own dialer")
			address := net.JoinHostPort(name, port)
			ways = []*way{{Address: Address{Address: address, Proxy: isProxy}, at: address}}
			return
		}
		if name == "localhost" || strings.HasSuffix(name, ".localhost") { // no nameserver knows it
			servers := d.nameservers
			d.nameservers = nil
			defer func() { d.nameservers = servers }()
		}
		ways = waysTo(d.examineDNS(ctx, s, name), port, isProxy)
		if isProxy && len(ways) == 0 {
			d.proxyUnknown(ctx, s, at)
		}
	})
	return ways
}

// hasKey reports whether the endpoint has a key of its own.
func hasKey(e breakwater.Endpoint) bool {
	return e.APIKey != "" || e.KeyFunc != nil || header.HasCredential(header.Canonical(e.Header))
}

// checkConfig asks breakwater itself whether the endpoint is right.
func (d *diagnosis) checkConfig(s *stage, wrong error) {
	if wrong != nil {
		var option *OptionError
		for _, err := range unjoin(wrong) {
			if errors.As(err, &option) {
				s.find(OptionInvalid, args{"reason": option.Option + ": " + option.Reason}, err)
			}
		}
	}
	d.keyed = hasKey(d.endpoint)
	t, err := breakwater.New(breakwater.WithEndpoints(d.endpoint), breakwater.WithBase(d.base))
	if err == nil && d.misplaced {
		t.Close()
		err = errMisplaced
	}
	if err == nil {
		t.Close()
		if len(s.findings) == 0 {
			s.say("config right", nil)
		}
		return
	}
	d.unsound = true
	if strings.Contains(err.Error(), "arguments exchanged") { // a key may be in the URL
		d.target, d.report.URL = new(url.URL), ""
	}
	if keyProblem(d.endpoint) != "" && len(unjoin(err)) == 1 { // the next stage tells of it
		s.say("right but for the key", nil)
		return
	}
	for _, one := range unjoin(err) {
		s.find(EndpointInvalid, args{"reason": reasonOf(one)}, one)
	}
}

// errMisplaced is in place of an error of breakwater for a URL with a key in it.
var errMisplaced = errors.New("breakwater: URL has a host that looks like a key: are the arguments exchanged?")

// reasonOf returns what breakwater says of an endpoint, without whose words it is. It quotes no
// key.
func reasonOf(err error) string {
	text := strings.TrimPrefix(err.Error(), "breakwater: ")
	text = strings.TrimPrefix(text, "WithEndpoints: ")
	return strings.TrimRight(text, ".")
}

func unjoin(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, unjoin(one)...)
		}
		return all
	}
	return []error{err}
}
