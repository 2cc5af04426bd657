package breakwater

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/keysource"
	"github.com/breakwater-go/breakwater/internal/mistake"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/request"
)

// An Endpoint is one base URL with one key. There is a function for each known host, from
// [DeepSeek] to [SGLang]. It sets Name, URL, Host, and Models for DeepSeek's model names.
// You may change its result, and [Endpoint.Named] gives it another name.
//
// Any other OpenAI-compatible host needs only a URL and a key:
//
//	breakwater.Endpoint{URL: "https://llm.example.com/v1", APIKey: key}
//
// [New] returns an error if URL is not an absolute http or https URL, if it contains a
// user, a fragment or a query other than api-version, if it ends in an operation such as
// /chat/completions, if a key would go over plain http to another machine, if Name is not
// printable ASCII, and if a key or header has characters that cannot be sent or cannot be
// meant, such as quotes. A tag or Region must be a printable word of at most 64 bytes.
type Endpoint struct {
	// Name identifies the endpoint in events, errors and headers, and in
	// Call.Endpoint and Call.Endpoints. It must be unique. Default: the host of URL, with its port.
	Name string

	// URL is the base URL that an SDK would be configured with: the part before
	// /chat/completions, such as https://api.siliconflow.com/v1. It may end in
	// ?api-version=…, for Azure's deployments. There is no default.
	URL string

	// APIKey is the key that the endpoint gets instead of the caller's, as a bearer
	// token or in the header that its host wants. If it is empty, the endpoint gets
	// the caller's credential, but only if the call's URL is of the same origin.
	//
	// New returns an error for an endpoint without a key, unless it is the first
	// one, or Keyless, or has the origin of an earlier endpoint of the first tier. The
	// key may also come from KeyFunc, Header, Rewrite or attempt middleware.
	APIKey string

	// KeyFunc returns the endpoint's key instead of APIKey, for keys that change: a token
	// that expires, a secret that is rotated. [KeyFile] reads it from a file, and [KeyFrom]
	// makes one of a function that knows no rejected keys. Default nil: APIKey is the key.
	// It is an error to set both, or KeyFunc and Keyless.
	//
	// It is asked for each attempt, and breakwater keeps no key: a function that is slow or
	// costs something has to keep its key until that changes. Attempts that ask at the same
	// time share one invocation. It runs on a goroutine of its own. Its ctx has no values
	// of the call, because several calls may wait, and ends when all of them have left,
	// after ten seconds, and at [Transport.Close]. An invocation that does not heed that is
	// left alone, and is not repeated until it has returned.
	//
	// rejected is empty, or the key that the host has just refused with a 401 or 403 of
	// ClassKeyRejected. Then the function should return another one, not the same from its
	// cache. If another one comes, the attempt is made once more with it, at once: once per
	// call and account, and not out of RetryPolicy.Budget. If the same one comes, or an
	// error, or the host refuses the other one, too, the endpoint rests, as with APIKey. A
	// request whose body can be sent only once is not made again. Of a GET or HEAD, and of
	// requests that only pass through, a 401 counts and a 403 does not.
	//
	// If it returns an error, panics, takes more than ten seconds or gives what cannot be a
	// key, such as one with a line break, the attempt is not sent. It ends with ClassNoKey
	// and an [ErrKeyFunc], and the call goes to another endpoint, while this one rests for five
	// seconds, doubling up to a minute. The caller's own key never takes its place.
	KeyFunc func(ctx context.Context, rejected string) (string, error)

	// Keyless means that the host needs no key, like some servers of your own. If it
	// asks for one all the same, by a 401 or 403, the call goes to another endpoint and
	// this one is paused, as with a key that is rejected. It is an error to set it
	// together with a key. Default: the host needs one.
	Keyless bool

	// AllowPlainHTTP lets the key go over plain http to a host that is not this machine,
	// such as http://vllm.default.svc:8000/v1 within a cluster. Everybody on the way can
	// read it, so set it only if the network is your own. Default: New returns an error
	// for such an endpoint.
	AllowPlainHTTP bool

	// Account names the quota and balance that the endpoint uses. Set it to the same
	// name for endpoints that share them, such as two keys of one account. Endpoints
	// of one account share limits, and a call counts their attempts together. Default:
	// an account of this endpoint alone.
	Account string

	// Host says whose API it is: how it words errors and what it can do. Set it if the
	// URL is that of a gateway, to HostDeepSeek for DeepSeek's own API, for example.
	// Default: the host that URL belongs to, or HostOpenAI.
	Host Host

	// Models maps the caller's model names to this endpoint's:
	//
	//	Models: map[string]string{"deepseek-flash": "ep-20261101-abcde"}
	//
	// If it is set, the endpoint gets only calls for these models and calls that are
	// meant for it. If it is nil, the endpoint gets every call. It gets the caller's
	// names then, except that a known host, told from URL, gets its own names for
	// DeepSeek's models, as its preset has them. If it is empty but not nil, every name
	// stays as it is. A name that DeepSeek has retired is replaced by the current one at
	// HostDeepSeek, and wherever Models has no entry for it.
	//
	// Anthropic's names, which DeepSeek takes on Messages for its own models, lead to
	// these models elsewhere: claude-opus… to deepseek-v4-pro, other claude… to
	// deepseek-flash.
	//
	// A caller may also use the name that the model has at the endpoint that the
	// call is meant for. The Models of both endpoints then lead to the name here.
	//
	// Embeddings go to another endpoint only if Models has the caller's name, because
	// vectors of different models cannot be compared.
	Models map[string]string

	// Can names what the endpoint can do beyond what is known of its host, so that it
	// gets calls that need it: see [Feature]. A gateway of your own that reviews all
	// answers, for example, may take calls with safety_check:
	//
	//	Can: []breakwater.Feature{breakwater.FeatureReview}
	Can []Feature

	// Tags are words by which Call.Endpoints may name the endpoint, and others that have
	// the same word, such as on-premises. They have no other effect. A tag must not be
	// the Name of another endpoint. Default: none.
	Tags []string

	// Region says where the endpoint's servers are, such as eu. To Call.Endpoints, it is
	// one more tag. Default: not known.
	Region string

	// Weight is the endpoint's share of the first attempts in its tier, beside the Weight of
	// the others: with 0.05 for a canary and 1 for one other endpoint, every 21st call goes
	// to the canary, while both do equally well. One that is slower, or has more attempts
	// open than its share, gets fewer. A conversation that an endpoint has in its prefix
	// cache stays there, and new ones are spread by Weight: see [BalancePolicy]. Default 1.
	Weight float64

	// Limits are the rate limits of single models, instead of those of WithRateLimit.
	// The keys are this endpoint's model names, to which Models leads, not the
	// caller's. A name that the endpoint does not use has no effect. "" stands for all
	// other models; without it, WithRateLimit applies to them.
	//
	//	Limits: map[string]breakwater.RatePolicy{
	//		"ep-20261101-abcde": {InFlight: 20},
	//		"":                  {InFlight: 5},
	//	}
	//
	// Endpoints of one account must have the same Limits.
	Limits map[string]RatePolicy

	// Price is what single models cost, for [Attempt].Cost, [Event].Cost and
	// [Status].Cost. The keys are this endpoint's model names, as those of Limits. ""
	// stands for all other models; without it, their cost is not known.
	//
	//	Price: map[string]breakwater.Price{
	//		"deepseek-ai/DeepSeek-V4-Flash": {Input: 0.14, CachedInput: 0.014, Output: 0.56},
	//	}
	//
	// All prices of a Transport must be in one currency. An empty map means that no price
	// is known. Default: DeepSeek's own prices for an endpoint at api.deepseek.com, of
	// which [DeepSeek] has a copy that you may change, and none for all others.
	Price map[string]Price

	// Header is set on each request to the endpoint, and replaces headers of the
	// caller. A credential in it replaces the caller's, as APIKey does, and goes before
	// APIKey or KeyFunc where both want the same header.
	Header http.Header

	// Rewrite may change each request to the endpoint before it is sent, for a
	// signature, for example. It gets a copy, and must be safe for concurrent use. If
	// it returns an error, the attempt ends with ClassRewrite. Default nil: requests
	// are sent as they are.
	Rewrite func(*http.Request) error
}

// A Price is what a million tokens of a model cost at an endpoint.
//
// DeepSeek's own prices are double at peak hours, except on Chinese holidays. breakwater knows
// the holidays that the State Council had announced when the table was checked. On a later one
// it counts up to twice what DeepSeek bills, until you add the day to Holidays:
//
//	e := breakwater.DeepSeek(key)
//	for model, p := range e.Price {
//		p.Holidays = append(p.Holidays, "2027-01-01")
//		e.Price[model] = p
//	}
type Price struct {
	// Input is the price of a million tokens of prompts that were not in the host's prefix
	// cache, and Output that of answers, with their reasoning. Both must be set; Off means
	// that they cost nothing. New returns an error for prices that can only be meant for one
	// token.
	Input, CachedInput, Output float64

	// Currency is a code of ISO 4217, such as CNY. Default: USD.
	Currency string

	// Peak is when all prices are multiplied by PeakFactor: days, times of the day and a time
	// zone. Each part may be left out but the times: without days, it is every day, without
	// a zone, UTC. A zone is a name such as Asia/Shanghai, or an offset such as +08:00.
	// Times may go on to the next day, as 22:00-06:00. The time at which an attempt is sent
	// counts. Default: never.
	//
	//	Peak: "Mon-Fri 09:00-12:00 14:00-18:00 Asia/Shanghai", PeakFactor: 2,
	Peak string

	// PeakFactor may be below 1, for a discount. There is no default.
	PeakFactor float64

	// Holidays are days in the zone of Peak that have no peak hours, such as 2026-10-01.
	Holidays []string

	// Source and Checked are the page that the prices are from, and the day on which
	// somebody last compared them. They are for people; breakwater does not use them.
	Source, Checked string
}

// pricesOf returns the prices that are known of the host that a server belongs to; nil: none
// are. Another server with the same API may have other prices.
func pricesOf(domain string) map[string]Price {
	table := price.Table(host.OfDomain(domain).Name)
	if table == nil {
		return nil
	}
	prices := make(map[string]Price, len(table))
	for model, p := range table {
		prices[model] = Price(p)
	}
	return prices
}

// ratesOf returns what an endpoint's models cost, which resolve has checked; nil: no price is
// known.
func ratesOf(e Endpoint) map[string]*price.Rate {
	if len(e.Price) == 0 {
		return nil
	}
	rates := make(map[string]*price.Rate, len(e.Price))
	for model, p := range e.Price {
		rates[model], _ = price.Compile(price.Price(p))
	}
	return rates
}

// Named returns a copy of the endpoint with another name, for a second key of one host:
//
//	breakwater.WithEndpoints(
//		breakwater.DeepSeek(key),
//		breakwater.DeepSeek(otherKey).Named("deepseek-2"),
//	)
func (e Endpoint) Named(name string) Endpoint {
	e.Name = name
	return e
}

// KeyFrom returns an Endpoint.KeyFunc that asks token each time, whether or not its last key
// was rejected. Use it where something else keeps tokens and renews them in time, such as a
// golang.org/x/oauth2.TokenSource:
//
//	vertex.KeyFunc = breakwater.KeyFrom(func(context.Context) (string, error) {
//		t, err := source.Token()
//		if err != nil {
//			return "", err
//		}
//		return t.AccessToken, nil
//	})
func KeyFrom(token func(context.Context) (string, error)) func(context.Context, string) (string, error) {
	if token == nil { // New says that a key is missing
		return nil
	}
	return func(ctx context.Context, _ string) (string, error) { return token(ctx) }
}

// KeyFile returns an Endpoint.KeyFunc that reads the key from a file, such as one below
// /run/secrets. It reads the file anew when that was changed or replaced, also behind a
// symbolic link, and whenever a key was rejected. One line break at the end is removed. The
// file may have up to 64 KiB. While it is empty because it is being written, the earlier key
// stays.
//
// [New] does not read the file. If it cannot be read, attempts end with [ErrKeyFunc].
func KeyFile(path string) func(context.Context, string) (string, error) {
	return keysource.File(path)
}

// hasKey reports whether the endpoint has a key beside Header.
func (e Endpoint) hasKey() bool { return e.APIKey != "" || e.KeyFunc != nil }

// String returns the endpoint's name and origin. No printed form of an Endpoint
// shows its key, its headers, or the user and query of its URL.
func (e Endpoint) String() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return e.Name
	}
	return fmt.Sprintf("%s (%s://%s%s)", e.Name, u.Scheme, u.Host, u.Path)
}

// GoString returns String in the form of a Go value.
func (e Endpoint) GoString() string { return fmt.Sprintf("breakwater.Endpoint{%s}", e) }

// Format prints GoString for %#v, and String for every other verb.
func (e Endpoint) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		fmt.Fprint(f, e.GoString())
		return
	}
	fmt.Fprint(f, e.String())
}

// LogValue returns String, so that logs show no key.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON encodes String, so that dumps show no key.
func (e Endpoint) MarshalJSON() ([]byte, error) { return json.Marshal(e.String()) }

// resolveEndpoints returns the endpoints with their defaults, and what is wrong with them.
// Those that are wrong are returned, too, because they may be wrong with others together.
func resolveEndpoints(option string, endpoints []Endpoint) ([]Endpoint, error) {
	var errs []error
	resolved := make([]Endpoint, 0, len(endpoints))
	for i, e := range endpoints {
		e, err := e.resolve(option, i+1)
		errs = append(errs, err)
		resolved = append(resolved, e)
	}
	return resolved, errors.Join(errs...)
}

// URLOf returns the URL at which the endpoint's host serves an operation, and whether it is
// known to serve it. Use it in a program that takes requests under a URL of its own, such as
// a proxy: a request that it sends to this URL is meant for the endpoint.
//
// The operations are those of [Event].Operation: chat/completions, completions (FIM),
// responses, messages and embeddings. beta/chat/completions is a chat with what DeepSeek has
// only below /beta, such as strict tools; elsewhere it is the same as chat/completions. ok is
// false for any other word, and if URL cannot be parsed.
func (e Endpoint) URLOf(operation string) (u string, ok bool) {
	base, err := url.Parse(strings.TrimSpace(e.URL))
	if err != nil || base.Host == "" {
		return "", false
	}
	base.Path, base.RawPath = strings.TrimRight(base.Path, "/"), strings.TrimRight(base.RawPath, "/")
	operation, beta := strings.CutPrefix(operation, "beta/")
	op := request.Operation("/" + operation)
	if !op.IsKnown() || beta && op != request.Chat {
		return "", false
	}
	profile := e.Host.profile()
	if e.Host == "" {
		profile = host.OfDomain(base.Hostname())
	}
	paths := host.PathsOf(profile, base)
	root, ok := paths.RootOf(op)
	if !ok {
		return "", false
	}
	if beta && profile.PrefixRoot != "" {
		root = paths.PrefixRoot()
	}
	if below, ok := strings.CutPrefix(root, base.Path); !ok {
		base.RawPath = ""
	} else if base.RawPath != "" { // keep the escapes of the base
		base.RawPath += below + string(op)
	}
	base.Path = root + string(op)
	return base.String(), true
}

// place returns the words for the endpoint in errors: its name or, if it has none, its
// place in the option.
func (e Endpoint) place(option string, n int) string {
	name := e.Name
	if u, err := url.Parse(e.URL); name == "" && err == nil && u.User == nil && (u.Scheme == "http" || u.Scheme == "https") {
		name = u.Host
	}
	if e.misplacedKey() != "" { // it may be part of the name
		name = string(e.Host)
	}
	if name == "" {
		return fmt.Sprintf("%s: endpoint %d", option, n)
	}
	return fmt.Sprintf("%s: endpoint %q", option, name)
}

// misplacedKey returns what is wrong with a URL that a function made of arguments in another
// order. The URL may have the key in it.
func (e Endpoint) misplacedKey() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return ""
	}
	labels := strings.Split(u.Hostname(), ".")
	for _, label := range labels {
		if len(label) > 63 { // RFC 1035, section 2.3.4
			return "has a host with a part of more than 63 characters, which no host has: are the arguments exchanged?"
		}
	}
	switch {
	case e.Host == HostBedrock && len(labels) > 2 && labels[0] == "bedrock-runtime" && labels[1] != "":
		return mistake.Region(labels[1])
	case e.Host == HostVertex && strings.Contains(u.Path, "//"):
		return "has no project or no location in its path: is a variable not set?"
	case e.Host == HostBailian && strings.HasSuffix(u.Hostname(), ".maas.aliyuncs.com") && len(labels) == 5 && labels[1] != "":
		if strings.HasPrefix(labels[0], "sk-") {
			return "has a key in the place of the workspace: are the arguments exchanged?"
		}
		return mistake.Region(labels[1])
	}
	return ""
}

// unsent are the headers that net/http takes from elsewhere in a request, or that are about
// one connection.
var unsent = [...]string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Upgrade", "Keep-Alive"}

// resolve returns a copy of e with its defaults. Its errors quote only URLs that can be
// parsed and have no user, because others may hold a key.
func (e Endpoint) resolve(option string, n int) (Endpoint, error) {
	where := e.place(option, n)
	f := fields{option: where}
	u := e.checkURL(&f)
	e.Header = header.Canonical(e.Header)
	e.checkKeys(&f, u)
	if err := header.Check(e.Header); err != nil {
		f.errs = append(f.errs, fmt.Errorf("%w, at %s", err, where))
	}
	misplaced := e.misplacedKey()
	f.check(misplaced == "", "URL %s", misplaced)
	if e.Name == "" {
		e.Name = u.Host
	}
	f.check(!strings.ContainsFunc(e.Name, func(r rune) bool { return r < ' ' || r > '~' }), "Name %q is not printable ASCII, which it must be as part of a header", e.Name)
	f.check(strings.TrimSpace(e.Name) == e.Name, "Name %q has blanks around it: give it without them", e.Name)
	if e.Account == "" {
		e.Account = "endpoint " + e.Name // no other endpoint has this account
	}
	if e.Host == "" {
		e.Host = hostOf(u.Hostname())
	}
	f.check(e.Host.profile().Name == string(e.Host), "Host %q is not known: want a constant such as HostOpenAI", e.Host)
	for _, name := range unsent {
		f.check(len(e.Header[name]) == 0, "Header has %s, which net/http does not take from there: use Rewrite to change the request", name)
	}
	for from, to := range e.Models {
		f.check(from != "" && to != "", "Models maps %q to %q: want two names", from, to)
		f.check(strings.TrimSpace(from) == from && strings.TrimSpace(to) == to, "Models maps %q to %q: a name has blanks around it", from, to)
	}
	query := u.RawQuery
	u.RawQuery, u.ForceQuery = "", false
	e.URL = strings.TrimRight(u.String(), "/")
	if query != "" {
		e.URL += "?" + query
	}
	e.Models = maps.Clone(e.Models)
	e.Can = slices.Clone(e.Can)
	for _, can := range e.Can {
		f.check(needsOf(can) != 0, "Can has %q, which is no Feature", can)
	}
	e.checkWords(&f)
	e.resolveWeight(&f)
	e.Tags = slices.Clone(e.Tags)
	e.Limits = e.resolveLimits(&f)
	e.resolvePrice(&f, u)
	return e, f.err()
}

// resolveWeight checks Weight, and sets its default.
func (e *Endpoint) resolveWeight(f *fields) {
	const least, most = 1e-6, 1e6
	f.check(e.Weight != Off, "Weight is %v: want a positive number, or leave the endpoint out to send it nothing", e.Weight)
	f.check(e.Weight == Off || e.Weight == 0 || e.Weight >= least && e.Weight <= most, "Weight is %v: want a share beside the Weight of the tier's other endpoints, such as 0.05, from %v to %v", e.Weight, least, most)
	if e.Weight == 0 {
		e.Weight = 1
	}
}

// checkWords checks the words by which Call.Endpoints may name the endpoint.
func (e Endpoint) checkWords(f *fields) {
	for i, tag := range e.Tags {
		wrong := mistake.Word(tag)
		f.check(wrong == "", "Tags[%d] %s", i, wrong)
	}
	if wrong := mistake.Word(e.Region); e.Region != "" {
		f.check(wrong == "", "Region %s", wrong)
	}
}

// checkURL returns the URL as it is dialed, or an empty one if there is none that could be.
func (e Endpoint) checkURL(f *fields) *url.URL {
	text := strings.TrimSpace(e.URL)
	f.check(text == e.URL || text == "", "URL has blanks around it: give it without them, or use strings.TrimSpace")
	wrong := mistake.Scheme(text)
	u, err := url.Parse(text)
	switch {
	case text == "":
		f.check(false, "URL is empty: is a variable not set?")
		return &url.URL{}
	case strings.Trim(text, "\"'`") != text:
		f.check(false, "URL has quotes around it: give it without them")
		return &url.URL{}
	case err != nil && wrong == "":
		f.check(false, "URL cannot be parsed: want one like https://api.example.com/v1")
		return &url.URL{}
	case wrong != "":
		f.check(false, "URL %s", wrong)
		return &url.URL{}
	}
	f.check(u.Scheme == "http" || u.Scheme == "https", "URL has scheme %q: want an absolute http or https URL", u.Scheme)
	name, ok := origin.ASCIIHost(u.Hostname())
	f.check(ok, "URL has host %q, which has no ASCII form (RFC 5891)", u.Hostname())
	f.check(name != "" || !ok, "URL has no host: want an absolute http or https URL")
	u = origin.InASCII(u) // net/http dials this form, so origins are compared in it
	whole := u.User == nil && onlyVersion(u) && u.Fragment == ""
	f.check(whole, "URL has a user, a fragment, or a query other than api-version: give keys as APIKey or Header")
	if wrong := mistake.Base(u); whole && e.misplacedKey() == "" {
		f.check(wrong == "", "URL %s", wrong)
	}
	return u
}

// checkKeys checks that a key can be one, and that it is not sent over plain http.
func (e Endpoint) checkKeys(f *fields, u *url.URL) {
	safe := u.Scheme != "http" || origin.IsLoopback(u.Hostname()) || e.AllowPlainHTTP
	f.check(safe || !e.hasKey() && !header.HasIdentity(e.Header), "a key would go over plain http to %q, readable on the way: use https, or set AllowPlainHTTP if the network is your own", u.Hostname())
	wrong := mistake.Key(e.APIKey)
	f.check(wrong == "", "APIKey %s", wrong)
	f.check(e.APIKey == "" || e.KeyFunc == nil, "APIKey is set, and so is KeyFunc: want one of them")
	for _, name := range header.Credentials {
		f.check(len(e.Header[name]) == 0 || header.HoldsKey(e.Header[name]), "Header has %s, and no key in it: is a variable not set?", name)
		for _, value := range e.Header[name] {
			key := value
			if scheme, rest, ok := strings.Cut(value, " "); ok && name == "Authorization" {
				if key = rest; !strings.EqualFold(scheme, "Bearer") {
					continue // another scheme may have any parameters
				}
			}
			if wrong := mistake.Key(key); header.HoldsKey(e.Header[name]) {
				f.check(wrong == "", "the key in Header's %s %s", name, wrong)
			}
		}
	}
	f.check(!e.Keyless || !e.hasKey() && !header.HasCredential(e.Header), "Keyless is set, and so is a key: want one of them")
}

// resolvePrice replaces Price by a copy with its default.
func (e *Endpoint) resolvePrice(f *fields, u *url.URL) {
	if e.Price == nil {
		e.Price = pricesOf(u.Hostname())
		return
	}
	e.Price = maps.Clone(e.Price)
	for _, model := range slices.Sorted(maps.Keys(e.Price)) {
		own, mapped := e.Models[model]
		f.check(!mapped || e.names(model), "Price has %q, which is the caller's name of the model: want the endpoint's, %q", model, own)
		_, wrong := price.Compile(price.Price(e.Price[model]))
		for _, w := range wrong {
			f.check(false, "Price[%q]: %s", model, w)
		}
	}
}

// names reports whether Models leads to a name.
func (e *Endpoint) names(own string) bool {
	for _, name := range e.Models {
		if name == own {
			return true
		}
	}
	return false
}

// resolveLimits returns a copy of Limits with their defaults.
func (e Endpoint) resolveLimits(f *fields) map[string]RatePolicy {
	limits := make(map[string]RatePolicy, len(e.Limits))
	for model, p := range e.Limits {
		own, mapped := e.Models[model]
		f.check(!mapped || e.names(model), "Limits has %q, which is the caller's name of the model: want the endpoint's, %q", model, own)
		p, err := p.resolve(fmt.Sprintf("%s: Limits[%q]", f.option, model))
		if err != nil {
			f.errs = append(f.errs, err)
		}
		limits[model] = p
	}
	return limits
}

// onlyVersion reports whether u's query is empty or is only the version of the API.
func onlyVersion(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	return err == nil && (len(query) == 0 || len(query) == 1 && len(query["api-version"]) == 1)
}

// A Host names whose API an endpoint has: see [Endpoint].Host. breakwater knows how the
// host words errors and what it can do. The zero value means the host that the endpoint's
// URL belongs to.
type Host string

const (
	HostDeepSeek    Host = "deepseek"
	HostVolcengine  Host = "volcengine" // Ark, ByteDance's
	HostSiliconFlow Host = "siliconflow"
	HostBailian     Host = "bailian"  // Model Studio, Alibaba's
	HostTencent     Host = "tencent"  // LKEAP
	HostTokenHub    Host = "tokenhub" // Tencent's, too
	HostQianfan     Host = "qianfan"  // Baidu's
	HostAzure       Host = "azure"    // AI Foundry, Microsoft's
	HostOpenRouter  Host = "openrouter"
	HostTogether    Host = "together"
	HostFireworks   Host = "fireworks"
	HostBedrock     Host = "bedrock" // Amazon's
	HostVertex      Host = "vertex"  // Vertex AI, Google's
	HostNVIDIA      Host = "nvidia"
	HostNovita      Host = "novita"
	HostOllama      Host = "ollama"
	HostVLLM        Host = "vllm"
	HostSGLang      Host = "sglang"
	HostOpenAI      Host = "openai" // any OpenAI-compatible host: the generic rules
)

// A Feature is something that a call may need of an endpoint beside an answer. A call goes
// only to endpoints that are known or assumed to have what it needs. If no other endpoint
// has it, the call goes to the one that its URL means, and gets that host's own answer.
//
// An endpoint has the first four and FeatureContext unless its model is known to lack
// them. It has FeatureReview and DeepSeek's own tools if its host is DeepSeek, or if it is
// the endpoint that the call's URL means and its host is not known. It has FeaturePrefix
// if its host is DeepSeek, and that and the others if it is of the same host as that
// endpoint. FeatureStored only that endpoint has. FeatureUsage Volcengine, Bailian, Ollama,
// vLLM and SGLang have. No endpoint is known to have FeaturePrefill,
// which only rescues need: see [Rescue]. [Endpoint].Can adds to these.
type Feature string

const (
	FeatureImages      Feature = "images"       // a message contains an image
	FeatureTools       Feature = "tools"        // tools that the caller runs
	FeatureJSON        Feature = "json"         // response_format json_object
	FeatureJSONSchema  Feature = "json_schema"  // response_format json_schema
	FeaturePrefix      Feature = "prefix"       // the last message begins the answer: prefix, partial, continue_final_message
	FeaturePrefill     Feature = "prefill"      // the last one of Messages is the assistant's, and begins the answer
	FeatureReview      Feature = "review"       // safety_check, unless its level is low
	FeatureServerTools Feature = "server_tools" // tools that the host runs, such as deepseek_web_search or web_search
	FeatureGrammar     Feature = "grammar"      // a format that only some hosts know, such as guided_regex
	FeatureFiles       Feature = "files"        // content other than text and images: a file, sound, video
	FeatureContext     Feature = "context"      // a prompt that is longer than the model is known to take
	FeatureUsage       Feature = "usage"        // streams of chats have the usage if stream_options.include_usage asks for it. No call needs it: see [Cost]
	FeatureStored      Feature = "stored"       // what the host stores: a file by its id, previous_response_id, conversation, background, a container
)

// features has what each Feature means to a request.
var features = [...]struct {
	feature Feature
	needs   request.Needs
}{
	{FeatureStored, request.Stored},
	{FeatureUsage, request.Usage},
	{FeatureReview, request.Review},
	{FeatureServerTools, request.OwnTools | request.DeepSeekTools},
	{FeaturePrefix, request.Prefix | request.OwnPrefix},
	{FeaturePrefill, request.Prefill},
	{FeatureFiles, request.Files},
	{FeatureGrammar, request.Grammar},
	{FeatureContext, request.Length},
	{FeatureImages, request.Images},
	{FeatureTools, request.Tools},
	{FeatureJSONSchema, request.JSONSchema},
	{FeatureJSON, request.JSONMode},
}

// needsOf returns what f means to a request, or 0 if f is not known.
func needsOf(f Feature) request.Needs {
	for _, row := range features {
		if row.feature == f {
			return row.needs
		}
	}
	return 0
}

// featureOf returns the Feature that stands for needs.
func featureOf(needs request.Needs) Feature {
	for _, row := range features {
		if row.needs&needs != 0 {
			return row.feature
		}
	}
	return ""
}

// profile returns the profile of h, or the generic one if h is not known.
func (h Host) profile() *host.Profile { return host.Lookup(string(h)) }

// hostOf returns the host that a domain belongs to, or HostOpenAI if none is known.
func hostOf(domain string) Host { return Host(host.OfDomain(domain).Name) }

// preset returns an endpoint of a known host, with a copy of the Models of its
// profile. An empty key stays empty: see Endpoint.APIKey.
func preset(name, url, apiKey string, h Host) Endpoint {
	return Endpoint{Name: name, URL: url, APIKey: apiKey, Host: h, Models: maps.Clone(h.profile().Models)}
}

// DeepSeek returns the endpoint of DeepSeek's own API, named deepseek. It gets the
// caller's model names. The names retired in 2026, deepseek-chat and
// deepseek-reasoner, are replaced by the current one, with thinking off and on,
// respectively. Its Price has DeepSeek's own prices.
func DeepSeek(apiKey string) Endpoint {
	e := preset("deepseek", "https://api.deepseek.com", apiKey, HostDeepSeek)
	e.Price = pricesOf("api.deepseek.com")
	return e
}

// VolcengineArk returns the endpoint of ByteDance's Ark in Beijing, named ark. Its
// Models map to the names in Ark's list. Add your own endpoint ids, ep-….
func VolcengineArk(apiKey string) Endpoint {
	return preset("ark", "https://ark.cn-beijing.volces.com/api/v3", apiKey, HostVolcengine)
}

// SiliconFlow returns the endpoint of SiliconFlow's international API, named
// siliconflow.
func SiliconFlow(apiKey string) Endpoint {
	return preset("siliconflow", "https://api.siliconflow.com/v1", apiKey, HostSiliconFlow)
}

// SiliconFlowCN returns the endpoint of SiliconFlow's API in China, named
// siliconflow-cn.
func SiliconFlowCN(apiKey string) Endpoint {
	return preset("siliconflow-cn", "https://api.siliconflow.cn/v1", apiKey, HostSiliconFlow)
}

// Bailian returns the endpoint of Alibaba's Model Studio in China, named bailian.
func Bailian(apiKey string) Endpoint {
	return preset("bailian", "https://dashscope.aliyuncs.com/compatible-mode/v1", apiKey, HostBailian)
}

// BailianWorkspace returns the endpoint of a workspace of Alibaba's Model Studio in a
// region such as cn-beijing or ap-southeast-1, named bailian-REGION.
func BailianWorkspace(workspace, region, apiKey string) Endpoint {
	return preset("bailian-"+region, "https://"+workspace+"."+region+".maas.aliyuncs.com/compatible-mode/v1", apiKey, HostBailian)
}

// BailianIntl returns the endpoint of Alibaba's Model Studio in Singapore, named
// bailian-intl.
func BailianIntl(apiKey string) Endpoint {
	return preset("bailian-intl", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", apiKey, HostBailian)
}

// TencentLKEAP returns the endpoint of Tencent's LKEAP, named lkeap. Its Models have
// DeepSeek's older names only. Add the current names with the models that you have
// there.
func TencentLKEAP(apiKey string) Endpoint {
	return preset("lkeap", "https://api.lkeap.cloud.tencent.com/v1", apiKey, HostTencent)
}

// TencentTokenHub returns the endpoint of Tencent's TokenHub in Guangzhou, the
// successor of LKEAP, named tokenhub. Singapore's has the host
// tokenhub-intl.tencentcloudmaas.com.
func TencentTokenHub(apiKey string) Endpoint {
	return preset("tokenhub", "https://tokenhub.tencentmaas.com/v1", apiKey, HostTokenHub)
}

// BaiduQianfan returns the endpoint of Baidu's Qianfan, named qianfan.
func BaiduQianfan(apiKey string) Endpoint {
	return preset("qianfan", "https://qianfan.baidubce.com/v2", apiKey, HostQianfan)
}

// AzureFoundry returns the endpoint of a resource of Microsoft's AI Foundry, named
// azure. The resource is the first part of its host name,
// https://RESOURCE.services.ai.azure.com. Models map to the names of the catalog.
// Change them where your deployments have other names.
func AzureFoundry(resource, apiKey string) Endpoint {
	return preset("azure", "https://"+resource+".services.ai.azure.com/openai/v1", apiKey, HostAzure)
}

// AzureEntra is [AzureFoundry] with tokens of Microsoft Entra ID, which go as bearer tokens.
// token returns the current one for the scope https://cognitiveservices.azure.com/.default,
// and keeps it as long as it is good: see [KeyFrom].
func AzureEntra(resource string, token func(context.Context) (string, error)) Endpoint {
	e := AzureFoundry(resource, "")
	e.KeyFunc = KeyFrom(token)
	return e
}

// OpenRouter returns the endpoint of OpenRouter, named openrouter.
func OpenRouter(apiKey string) Endpoint {
	return preset("openrouter", "https://openrouter.ai/api/v1", apiKey, HostOpenRouter)
}

// Together returns the endpoint of Together AI, named together.
func Together(apiKey string) Endpoint {
	return preset("together", "https://api.together.ai/v1", apiKey, HostTogether)
}

// Fireworks returns the endpoint of Fireworks AI, named fireworks.
func Fireworks(apiKey string) Endpoint {
	return preset("fireworks", "https://api.fireworks.ai/inference/v1", apiKey, HostFireworks)
}

// Bedrock returns the endpoint of Amazon Bedrock's OpenAI-compatible API in a region such
// as us-east-1, named bedrock. The key is a Bedrock API key. Its Models have only
// deepseek-chat, which is V3.2 there. Add the names that you want to have served by it.
//
// For short-term keys, leave apiKey empty and set KeyFunc, or use [BedrockToken].
func Bedrock(region, apiKey string) Endpoint {
	return preset("bedrock", "https://bedrock-runtime."+region+".amazonaws.com/openai/v1", apiKey, HostBedrock)
}

// BedrockToken is [Bedrock] with short-term keys, which end after twelve hours at most. token
// returns the current one, and keeps it as long as it is good.
func BedrockToken(region string, token func(context.Context) (string, error)) Endpoint {
	e := Bedrock(region, "")
	e.KeyFunc = KeyFrom(token)
	return e
}

// Vertex returns the endpoint of a project on Google's Vertex AI, named vertex. The location
// is a region such as us-central1, or global. token returns the access token of a service
// account, and keeps it as long as it is good: see [KeyFrom]. Its Models have no
// deepseek-v4-pro.
func Vertex(project, location string, token func(context.Context) (string, error)) Endpoint {
	server := "aiplatform.googleapis.com"
	if location != "global" {
		server = location + "-" + server
	}
	e := preset("vertex", "https://"+server+"/v1/projects/"+project+"/locations/"+location+"/endpoints/openapi", "", HostVertex)
	e.KeyFunc = KeyFrom(token)
	return e
}

// NVIDIA returns the endpoint of NVIDIA's hosted API, named nvidia. Its Models have no
// deepseek-v4-pro.
func NVIDIA(apiKey string) Endpoint {
	return preset("nvidia", "https://integrate.api.nvidia.com/v1", apiKey, HostNVIDIA)
}

// Novita returns the endpoint of Novita AI, named novita.
func Novita(apiKey string) Endpoint {
	return preset("novita", "https://api.novita.ai/openai", apiKey, HostNovita)
}

// OllamaCloud returns the endpoint of Ollama's cloud, named ollama-cloud. Its Models
// have no deepseek-v4-pro.
func OllamaCloud(apiKey string) Endpoint {
	return preset("ollama-cloud", "https://ollama.com/v1", apiKey, HostOllama)
}

// Ollama returns the endpoint of an Ollama server on this machine, named ollama. It
// needs no key. Without Models, it gets the caller's model names, which the server
// may not have. Map them to its models:
//
//	local := breakwater.Ollama()
//	local.Models = map[string]string{"deepseek-flash": "deepseek-r1:8b"}
func Ollama() Endpoint {
	return Endpoint{Name: "ollama", URL: "http://localhost:11434/v1", Host: HostOllama, Keyless: true}
}

// VLLM returns the endpoint of a vLLM server, named by the host and port of url. The
// url includes /v1. Without Models, the endpoint gets the caller's model names. With
// an empty key, it is Keyless.
func VLLM(url, apiKey string) Endpoint { return ownServer(url, apiKey, HostVLLM) }

// SGLang returns the endpoint of an SGLang server, named by the host and port of url.
// The url includes /v1. Without Models, the endpoint gets the caller's model names.
// With an empty key, it is Keyless.
func SGLang(url, apiKey string) Endpoint { return ownServer(url, apiKey, HostSGLang) }

// ownServer returns an endpoint of software that needs a key only if it is
// configured with one.
func ownServer(url, apiKey string, h Host) Endpoint {
	e := preset("", url, apiKey, h)
	e.Keyless = apiKey == ""
	return e
}
