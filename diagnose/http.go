package diagnose

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/health"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// modelsURL returns where the endpoint lists its models.
func (d *diagnosis) modelsURL() *url.URL {
	if d.profile.ModelsPath != "" && d.profile.IsAt(d.target.Hostname()) {
		return d.atOrigin(d.profile.ModelsPath)
	}
	return below(d.target, "/models")
}

// below returns a URL with a path behind that of base.
func below(base *url.URL, path string) *url.URL {
	u := *base
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/")+path, ""
	return &u
}

// atOrigin returns a URL at the origin of the endpoint.
func (d *diagnosis) atOrigin(path string) *url.URL {
	return &url.URL{Scheme: d.target.Scheme, Host: d.target.Host, Path: path}
}

// stageOf has the stages of codes that the request for the models may find and that are not about
// HTTP.
var stageOf = map[Code]StageName{
	KeyRejected: StageKey, KeyMissing: StageKey, KeyNotReceived: StageKey, KeyFunctionFailed: StageKey, RateLimited: StageKey, ConcurrencyLimited: StageKey,
	NoFunds: StageBalance, ModelUnknown: StageModel, ModelRetired: StageModel, NoModels: StageModel,
}

// ask asks the host, unless why says that it cannot be asked.
func (d *diagnosis) ask(ctx context.Context, why term) {
	if why != "" {
		d.skipFrom(StageHTTP, why)
		return
	}
	if ctx.Err() != nil {
		d.outOfTime(StageHTTP)
		return
	}
	answer, c, models := d.askModels(ctx)
	d.stage(StageClock, func(s *stage) { d.compareClocks(s, answer) })
	found := func(s *stage) bool {
		if stageOf[c.code] != s.name {
			return false
		}
		s.find(c.code, c.args, c.err)
		return true
	}
	d.stage(StageKey, func(s *stage) { d.tellKey(s, found(s), answer, models) })
	asked := d.keyed && c.code != KeyRejected && c.code != KeyNotReceived && c.code != KeyFunctionFailed && answer.status != 0
	d.stage(StageBalance, func(s *stage) {
		if !found(s) {
			d.askBalance(ctx, s, asked)
		}
	})
	d.tryReuse(ctx, answer, models)
	d.stage(StageModel, func(s *stage) {
		if found(s) || d.examineModels(s, models) || len(s.findings) > 0 {
			return
		}
		s.skip(unknownBy(answer))
	})
	if d.spend {
		d.askForAnswers(ctx, models)
	}
}

// askModels asks for the models, which shows whether HTTP works, and what else is wrong.
func (d *diagnosis) askModels(ctx context.Context) (answer got, c cause, models *health.Models) {
	d.stage(StageHTTP, func(s *stage) {
		answer = d.get(ctx, d.modelsURL(), d.limit(askShare))
		d.noteHTTP(answer)
		c, models = d.judgeModels(ctx, answer, d.limit(askShare))
		switch c.code {
		case KeyRejected, KeyNotReceived:
			c.code = d.codeWithoutKey(c.code)
		case WrongPath:
			if better := d.suggestPath(ctx); better != "" {
				c.args["suggestion"] = phrase{"add path", args{"url": better}}
			}
		}
		if c.code != "" && stageOf[c.code] == "" {
			s.find(c.code, c.args, c.err)
		} else if d.report.HTTP != nil {
			s.text = strings.TrimSpace(strings.Join([]string{strconv.Itoa(answer.status), answer.proto, d.report.HTTP.Edge}, " "))
		}
	})
	return answer, c, models
}

// codeWithoutKey returns the code of a refused key if one was sent. If none was, the host says what
// is known, unless it was said to need none.
func (d *diagnosis) codeWithoutKey(code Code) Code {
	switch {
	case d.keyed, !d.withheld && (d.endpoint.Rewrite != nil || len(d.endpoint.Header) > 0):
		return code
	case d.endpoint.Keyless:
		return KeyMissing
	}
	return ""
}

// outOfTime skips the stages that are left.
func (d *diagnosis) outOfTime(first StageName) {
	known := d.failed()
	d.skipFrom(first, "no time")
	if !known {
		d.stage(first, func(s *stage) {
			s.find(OutOfTime, args{"limit": d.timeout, "stage": string(first)}, context.DeadlineExceeded)
		})
	}
}

// noteHTTP fills in what a response shows of HTTP.
func (d *diagnosis) noteHTTP(g got) {
	if g.status == 0 {
		return
	}
	h := g.header
	d.report.HTTP = &HTTP{
		Status: g.status, Protocol: clean(g.proto), Edge: edgeOf(h), Server: clean(header.First(h, "Server")), Via: clean(header.First(h, "Via")),
		RequestID: header.RequestID(h), Took: Millis(g.headers),
	}
	if d.report.TLS == nil && g.tls != nil && len(g.tls.PeerCertificates) > 0 { // through a proxy that was not looked into
		d.noteTLS(&handshake{state: *g.tls}, !d.tlsConfig().InsecureSkipVerify)
	}
}

// edges are headers that name what stands in front of a host.
var edges = [...]struct{ header, part, name string }{
	{"Cf-Ray", "", "Cloudflare"}, {"Eo-Log-Uuid", "", "Tencent EdgeOne"}, {"X-Amz-Cf-Id", "", "Amazon CloudFront"}, {"X-Azure-Ref", "", "Azure Front Door"},
	{"X-Served-By", "cache", "Fastly"}, {"X-Akamai-Request-Id", "", "Akamai"}, {"Eagleid", "", "Alibaba Cloud CDN"}, {"X-Vercel-Id", "", "Vercel"},
	{"Fly-Request-Id", "", "Fly.io"}, {"X-Envoy-Upstream-Service-Time", "", "Envoy"}, {"X-Kong-Proxy-Latency", "", "Kong"},
	{"Server", "cloudflare", "Cloudflare"}, {"Server", "akamai", "Akamai"}, {"Server", "awselb", "AWS load balancer"}, {"Server", "envoy", "Envoy"},
	{"Server", "openresty", "openresty"}, {"Server", "nginx", "nginx"}, {"Server", "caddy", "Caddy"}, {"Via", "", "a proxy (Via)"},
}

// edgeOf returns who stands in front of a host, as far as its headers tell.
func edgeOf(h http.Header) string {
	for _, e := range edges {
		if v := header.First(h, e.header); v != "" && strings.Contains(strings.ToLower(v), e.part) {
			return e.name
		}
	}
	return ""
}

// judgeModels says what the answer to the request for the models means. models is nil if it is
// none.
func (d *diagnosis) judgeModels(ctx context.Context, g got, limit time.Duration) (c cause, models *health.Models) {
	about := args{"request": term("models request")}
	with := func(c cause) cause {
		for k, v := range about {
			c.args[k] = v
		}
		return c
	}
	switch {
	case g.status == 0:
		expired, cancel := context.WithCancel(ctx)
		defer cancel()
		if isTimeout(g.err) {
			cancel()
		}
		return with(d.connectionCause(expired, g.observation, g.err, limit, HostSilent)), nil
	case g.status == http.StatusOK && g.err != nil:
		return with(bodyCause(g, limit)), nil
	case g.status != http.StatusOK:
		return with(d.refusalCause(g.status, g.header, g.body, d.modelsURL())), nil
	}
	models = health.ReadModels(g.body)
	switch {
	case models == nil && isWebPage(g.header, g.body):
		return with(cause{code: WebPage, args: args{}}), nil
	case models == nil:
		return with(cause{code: NotAnAPI, args: args{}}), nil
	case len(models.Names) == 0:
		return with(cause{code: NoModels, args: args{}}), models
	}
	return cause{}, models
}

func bodyCause(g got, limit time.Duration) cause {
	code := BodyBroken
	if isTimeout(g.err) || errors.Is(g.err, context.Canceled) {
		code = BodyTooLong
	}
	return cause{code, args{"limit": limit}, g.err}
}

func isWebPage(h http.Header, body []byte) bool {
	start := bytes.TrimLeft(body[:min(len(body), 1<<10)], "\ufeff \t\r\n")
	return bytes.HasPrefix(start, []byte("<")) || header.MediaType(h) == "text/html"
}

// refusalCause says what a response that is no 2xx means, by the host's dialect.
func (d *diagnosis) refusalCause(status int, h http.Header, body []byte, asked *url.URL) cause {
	refusal := wire.RefusalOf(body)
	wait, pauses := d.profile.RetryAfter(status, h, time.Now())
	class := d.profile.Classify(status, body, pauses)
	if host.Intercepted(status, h, body) {
		class = outcome.Blocked
	}
	c := cause{args: args{"status": status, "edge": edgePhrase(h), "code": codePhrase(refusal)}, err: &StatusError{Status: status, Class: class}}
	if pauses && wait > 0 {
		c.args["wait"] = phrase{"asks to wait", args{"wait": wait}}
	}
	c.code = d.codeOfClass(class, status, refusal, h, body)
	switch c.code {
	case Redirected:
		c.args["location"] = whereTo(asked, header.First(h, "Location"))
	case WrongPath:
		c.args["path"] = clean(asked.Path)
		c.args["suggestion"] = d.pathAdvice()
	case ConcurrencyLimited:
		c.args["limit"] = int(d.profile.StatedLimit(body))
	case ModelUnknown, ModelRetired:
		c.args["model"], c.args["listed"] = d.askedModel(nil), phrase{"no list", nil}
		c.args["successor"], c.args["host"] = d.successorOf(cmp.Or(retiredIn(strings.ToLower(refusal.Message)), d.askedModel(nil)))
	}
	return c
}

// A StatusError is the Err of a finding about a response that is no 2xx.
type StatusError struct {
	Status int
	Class  breakwater.Class // by the host's dialect
}

// Error returns the status.
func (e *StatusError) Error() string { return "status " + strconv.Itoa(e.Status) }

// classCodes are the codes of classes that need no second look.
var classCodes = map[outcome.Class]Code{
	outcome.RateLimited: RateLimited, outcome.KeyRejected: KeyRejected, outcome.NoFunds: NoFunds, outcome.Blocked: Blocked,
	outcome.NoModel: ModelUnknown, outcome.Filtered: ContentRefused, outcome.Unsuited: RequestUnsuited, outcome.Redirected: Redirected,
	outcome.Refused: RequestRefused, outcome.Unavailable: HostError,
}

// codeOfClass refines a class by what else is known of the response.
func (d *diagnosis) codeOfClass(class outcome.Class, status int, r wire.Refusal, h http.Header, body []byte) Code {
	message := strings.ToLower(r.Message)
	switch class {
	case outcome.Unavailable:
		switch {
		case status >= 500 && !wire.Valid(body):
			return EdgeError
		case outcome.Overloaded(class, status), saysAny(message, "busy", "overload"):
			return Overloaded
		}
	case outcome.RateLimited:
		switch {
		case d.profile.StatedLimit(body) > 0:
			return ConcurrencyLimited
		case saysAny(strings.ToLower(r.Code+" "+r.Type), "overload"):
			return Overloaded
		}
	case outcome.KeyRejected:
		if d.keyed && header.MediaType(h) != "application/json" && !wire.Valid(body) {
			return KeyNotReceived
		}
	case outcome.NoModel:
		if d.successor(d.askedModel(nil)) != "" || retiredIn(message) != "" {
			return ModelRetired
		}
	case outcome.Refused:
		if retiredIn(message) != "" {
			return ModelRetired
		}
		if status == http.StatusNotFound || status == http.StatusMethodNotAllowed {
			return WrongPath
		}
	case outcome.Unsuited:
		return codeOfUnsuited(message)
	}
	return classCodes[class]
}

func codeOfUnsuited(message string) Code {
	switch {
	case saysAny(message, "reasoning_content"):
		return ReasoningMissing
	case saysAny(message, "context length", "too long", "input length"):
		return ContextTooLong
	}
	return RequestUnsuited
}

func saysAny(message string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(message, part) })
}

func edgePhrase(h http.Header) phrase {
	if edge := edgeOf(h); edge != "" {
		return phrase{"edge", args{"edge": edge}}
	}
	return phrase{}
}

// codePhrase returns the host's own code of a refusal. Its message is not shown: it may quote a
// part of the key.
func codePhrase(r wire.Refusal) phrase {
	code := r.Code
	if code == "" {
		code = r.Type
	}
	if code = header.Visible(code, 48); code != "" {
		return phrase{"code", args{"code": code}}
	}
	return phrase{}
}

// whereTo returns the origin and path of a redirect, without its query.
func whereTo(asked *url.URL, location string) string {
	u, err := asked.Parse(location)
	if err != nil || location == "" {
		return "?"
	}
	return clean((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}

// pathAdvice says what the base URL may have to be.
func (d *diagnosis) pathAdvice() phrase {
	if d.profile.IsAt(d.target.Hostname()) && len(d.profile.Roots) > 0 && !slices.Contains(d.profile.Roots, "") {
		return phrase{"try roots", args{"roots": d.profile.Roots}}
	}
	return phrase{"compare path", nil}
}

// suggestPath tries whether the API is at another path of the same origin, and returns it.
func (d *diagnosis) suggestPath(ctx context.Context) string {
	for _, at := range []*url.URL{below(d.target, "/v1"), d.atOrigin(path.Dir(strings.TrimRight(d.target.Path, "/"))), d.atOrigin("/v1")} {
		if at.Path == d.target.Path || at.Path == "." {
			continue
		}
		if g := d.get(ctx, below(at, "/models"), d.limit(otherShare)); g.status == http.StatusOK && health.ReadModels(g.body) != nil {
			return strings.TrimRight((&url.URL{Scheme: at.Scheme, Host: at.Host, Path: at.Path}).String(), "/")
		}
	}
	return ""
}

const (
	skewBound   = 2 * time.Minute // certificates and tokens tolerate less
	dateExact   = time.Second     // of the Date header
	mostBelieve = 100 * 365 * 24 * time.Hour
)

// compareClocks compares the Date of a response with this machine's clock.
func (d *diagnosis) compareClocks(s *stage, g got) {
	date, err := http.ParseTime(header.First(g.header, "Date"))
	if err != nil || header.First(g.header, "Age") != "" { // of a cache
		s.skip("no date")
		return
	}
	skew := g.start.Add(g.headers).Sub(date.Add(dateExact / 2)).Round(time.Second)
	if skew.Abs() > mostBelieve {
		s.skip("no date")
		return
	}
	if origin.IsLoopback(d.target.Hostname()) && skew.Abs() <= dateExact {
		skew = 0
	}
	d.report.Clock = &Clock{Skew: Millis(skew)}
	if skew.Abs() < skewBound {
		s.say("clock right", args{"n": max(1, int(skew.Abs().Seconds()))})
		return
	}
	direction := term("ahead")
	if skew < 0 {
		direction = "behind"
	}
	s.find(ClockSkew, args{"skew": skew.Abs(), "direction": direction}, nil)
}

// tellKey says what the answers show of the key.
func (d *diagnosis) tellKey(s *stage, found bool, g got, models *health.Models) {
	switch {
	case found:
	case d.withheld:
		s.skip("endpoint refused")
	case !d.keyed && d.endpoint.Keyless && models != nil:
		s.say("keyless", nil)
	case !d.keyed:
		s.skip("needs key")
	case models == nil:
		s.skip(unknownBy(g))
	case d.profile.ModelsNeedKey:
		s.say("key accepted", nil)
	default:
		s.say("list came", nil)
	}
}

// unknownBy says why an answer tells nothing of the key or the models.
func unknownBy(g got) term {
	if g.status == 0 {
		return "no answer"
	}
	return "not known"
}

const lowBalance = 1 // in whatever currency

// askBalance asks for the money of the account, where the host tells it.
func (d *diagnosis) askBalance(ctx context.Context, s *stage, mayAsk bool) {
	switch {
	case d.profile.BalancePath == "":
		s.skip("not told")
		return
	case !mayAsk:
		s.skip("not known")
		return
	}
	g := d.get(ctx, d.atOrigin(d.profile.BalancePath), d.limit(otherShare))
	if d.tellReuse(s, g); g.status == 0 && g.brokeReused() {
		g = d.get(ctx, d.atOrigin(d.profile.BalancePath), d.limit(otherShare))
	}
	funds, balance := health.ReadBalance(g.body)
	if g.status != http.StatusOK || g.err != nil || funds == health.Unknown {
		d.tellNoBalance(ctx, s, g)
		return
	}
	d.report.Balance = &Balance{Available: funds == health.Yes}
	amount := phrase{}
	shown := ""
	if balance != nil {
		d.report.Balance.Amount, d.report.Balance.Currency = balance.Amount, balance.Currency
		shown = strconv.FormatFloat(balance.Amount, 'f', 2, 64) + " " + balance.Currency
		amount = phrase{"amount", args{"amount": shown}}
	}
	switch {
	case funds == health.No:
		s.find(NoFunds, args{"amount": amount}, nil)
	case balance != nil && balance.Amount < lowBalance:
		s.find(BalanceLow, args{"amount": shown}, nil)
	default:
		s.text = shown
	}
}

// tellNoBalance says why the balance is not known. A gateway that speaks like the host need not
// have it.
func (d *diagnosis) tellNoBalance(ctx context.Context, s *stage, g got) {
	c := cause{}
	switch {
	case g.status == 0:
		c = d.connectionCause(ctx, g.observation, g.err, d.limit(otherShare), HostSilent)
	case g.status != http.StatusOK && g.status != http.StatusNotFound && g.status != http.StatusMethodNotAllowed:
		c = d.refusalCause(g.status, g.header, g.body, d.atOrigin(d.profile.BalancePath))
	}
	if c.code == "" || c.code == RequestRefused || c.code == WrongPath {
		s.skip("not told")
		return
	}
	c.args["request"] = term("balance request")
	f := s.find(c.code, c.args, c.err)
	if f.Severity == Error && c.code != KeyRejected && c.code != NoFunds { // calls need no balance
		f.Severity = Warning
	}
}

// tellReuse tells if a kept connection was of no use.
func (d *diagnosis) tellReuse(s *stage, g got) {
	if g.reuseBroke || g.brokeReused() {
		s.find(ReuseBroken, nil, io.EOF)
		d.keepNone()
	}
}

// brokeReused reports whether the request failed on a connection that had been kept.
func (g got) brokeReused() bool {
	return g.status == 0 && g.reused && (isReset(g.err) || errors.Is(g.err, io.EOF) || errors.Is(g.err, io.ErrUnexpectedEOF))
}

// keepNone makes later requests take new connections, so that they show what else there is.
func (d *diagnosis) keepNone() {
	d.base.CloseIdleConnections()
	d.base = d.base.Clone()
	d.base.DisableKeepAlives = true
}

// tryReuse asks once more on the connection that was kept, if nothing has yet.
func (d *diagnosis) tryReuse(ctx context.Context, first got, models *health.Models) {
	if models == nil || d.profile.BalancePath != "" && d.keyed || ctx.Err() != nil {
		return
	}
	s := &stage{d: d, name: StageHTTP}
	d.tellReuse(s, d.get(ctx, d.modelsURL(), d.limit(otherShare)))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range s.findings {
		d.report.Findings = append(d.report.Findings, *f)
	}
}
