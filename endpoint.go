package breakwater

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/request"
)

// An Endpoint is one base URL with one key.
type Endpoint struct {
	// Name stands for the endpoint in events, errors and headers. Default: the
	// URL's host.
	Name string

	// URL is the base URL as an SDK would be given it: what precedes
	// /chat/completions. It may end in ?api-version=…, which Azure's deployments
	// want, and in no other query.
	URL string

	// APIKey is sent as the bearer token. Where it is empty, the caller's own
	// credential is sent, but only to the origin the caller meant. So New refuses
	// an endpoint that has no key, here, in Header or by Rewrite or attempt
	// middleware, unless it is the first, or of a first tier's origin, or Keyless.
	APIKey string

	// Keyless says that the host wants no key, as servers of one's own may.
	Keyless bool

	// Account names the quota and balance the endpoint draws on: endpoints of
	// one account share limits and count as one when a call is tried again.
	// Default: this endpoint alone.
	Account string

	// Host says how the endpoint words its errors. Default: told from the URL,
	// else OpenAI-compatible.
	Host Host

	// Models maps the caller's model names to those this endpoint uses. Where it
	// is given, the endpoint serves these models only (and calls meant for it).
	// Where it is not, names go through as they are; names that DeepSeek has
	// retired go as today's, to DeepSeek and by Models.
	//
	// A caller's name may also be the one that the endpoint it meant uses: where
	// Models of both say the same of a name, the call finds its way.
	Models map[string]string

	// Limits bounds attempts by this endpoint's model name, "" for all others.
	// It goes over WithRateLimit.
	Limits map[string]RatePolicy

	// Header is set on each attempt, over what the caller sent.
	Header http.Header

	// Rewrite has the last word on each attempt's own request. An error ends the
	// attempt before it is sent.
	Rewrite func(*http.Request) error
}

// String names the endpoint and its origin. No printable form of an Endpoint
// shows its key, its headers or its URL's user and query.
func (e Endpoint) String() string {
	u, err := url.Parse(e.URL)
	if err != nil {
		return e.Name
	}
	return fmt.Sprintf("%s (%s://%s%s)", e.Name, u.Scheme, u.Host, u.Path)
}

// GoString is String in Go's clothes.
func (e Endpoint) GoString() string { return fmt.Sprintf("breakwater.Endpoint{%s}", e) }

// Format prints String for every verb but %#v.
func (e Endpoint) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		fmt.Fprint(f, e.GoString())
		return
	}
	fmt.Fprint(f, e.String())
}

// LogValue keeps keys out of logs.
func (e Endpoint) LogValue() slog.Value { return slog.StringValue(e.String()) }

// MarshalJSON keeps keys out of dumps.
func (e Endpoint) MarshalJSON() ([]byte, error) { return json.Marshal(e.String()) }

func resolveEndpoints(option string, endpoints []Endpoint) ([]Endpoint, error) {
	var errs []error
	resolved := make([]Endpoint, 0, len(endpoints))
	for i, e := range endpoints {
		e, err := e.resolve(fmt.Sprintf("%s: endpoint %d", option, i+1))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		resolved = append(resolved, e)
	}
	return resolved, errors.Join(errs...)
}

// resolve copies e with its defaults filled in. Its errors never quote the
// URL: it may hold a key.
func (e Endpoint) resolve(where string) (Endpoint, error) {
	f := fields{option: where}
	u, err := url.Parse(e.URL)
	switch {
	case e.URL == "":
		f.check(false, "URL is empty")
		return e, f.err()
	case err != nil:
		f.check(false, "URL cannot be parsed")
		return e, f.err()
	}
	f.check(u.Scheme == "http" || u.Scheme == "https", "URL has scheme %q: want an absolute http or https URL", u.Scheme)
	host, ok := origin.ASCIIHost(u.Hostname())
	f.check(ok, "URL has host %q, which has no ASCII form (RFC 5891)", u.Hostname())
	f.check(host != "" || !ok, "URL has no host: want an absolute http or https URL")
	u = origin.InASCII(u) // what is dialed is what is compared
	f.check(u.User == nil && onlyVersion(u) && u.Fragment == "", "URL has a user, a fragment, or a query other than api-version: give keys as APIKey or Header")
	e.Header = header.Canonical(e.Header)
	f.check(e.APIKey == "" && !header.HasIdentity(e.Header) || u.Scheme != "http" || origin.IsLoopback(u.Hostname()), "a key would go over plain http to %q", u.Hostname())
	f.check(httpguts.ValidHeaderFieldValue(e.APIKey), "APIKey has a line break or control character in it")
	f.check(e.APIKey == "" || strings.TrimSpace(e.APIKey) != "", "APIKey is blank")
	for _, name := range header.Credentials {
		f.check(len(e.Header[name]) == 0 || header.HoldsKey(e.Header[name]), "Header has %s, and no key in it", name)
	}
	f.check(!e.Keyless || e.APIKey == "" && !header.HasCredential(e.Header), "Keyless is set, and so is a key: want one of them")
	if err := header.Check(e.Header); err != nil {
		f.errs = append(f.errs, fmt.Errorf("%w, at %s", err, where))
	}
	if e.Name == "" {
		e.Name = u.Host
	}
	f.check(!strings.ContainsFunc(e.Name, func(r rune) bool { return r < ' ' || r > '~' }), "Name %q is not printable ASCII, which it must be as part of a header", e.Name)
	if e.Account == "" {
		e.Account = "endpoint " + e.Name // so that it is nobody else's
	}
	if e.Host == "" {
		e.Host = hostOf(u.Hostname())
	}
	f.check(e.Host.row().host == e.Host, "Host %q is not known", e.Host)
	for from, to := range e.Models {
		f.check(from != "" && to != "", "Models maps %q to %q: want two names", from, to)
	}
	query := u.RawQuery
	u.RawQuery, u.ForceQuery = "", false
	e.URL = strings.TrimRight(u.String(), "/")
	if query != "" {
		e.URL += "?" + query
	}
	e.Models = maps.Clone(e.Models)
	limits := make(map[string]RatePolicy, len(e.Limits))
	for model, p := range e.Limits {
		p, err := p.resolve(fmt.Sprintf("%s: Limits[%q]", where, model))
		if err != nil {
			f.errs = append(f.errs, err)
		}
		limits[model] = p
	}
	e.Limits = limits
	return e, f.err()
}

// onlyVersion reports whether u's query, if it has one, says nothing but the
// version of the API.
func onlyVersion(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	return err == nil && (len(query) == 0 || len(query) == 1 && len(query["api-version"]) == 1)
}

// An upstream is an Endpoint at work.
type upstream struct {
	Endpoint
	balance.Target
	tier     int
	base     *url.URL
	origin   origin.Origin
	row      *hostRow
	keyed    bool                // it has a credential of its own
	mount    string              // what precedes the host's roots: a gateway's path
	aliases  map[string][]string // the names that Models maps to one, those not retired first
	circuits *circuit.Set
	limits   *limits
	answered atomic.Bool       // a call, ever
	used     atomic.Int64      // see bounded.Map; where no endpoints are given
	resorted atomic.Int64      // when it was last asked though it rests, from the first on
	unkeyed  atomic.Bool       // it was said that neither it nor a call has a key
	pipeline http.RoundTripper // limit, breaker, gate, the user's middleware, the base
}

// resortEvery is how often one call may try such an endpoint; see mayResort.
const resortEvery = time.Second

// mayResort reports whether one call may try an endpoint that only we keep out of
// use, for a rejected key or the like: once in a while, one may find out.
func (e *upstream) mayResort(now time.Time) bool {
	return now.UnixNano()-e.resorted.Load() >= int64(resortEvery)
}

// resort reports whether the call is the one that may.
func (e *upstream) resort(now time.Time) bool {
	last := e.resorted.Load()
	return e.mayResort(now) && e.resorted.CompareAndSwap(last, now.UnixNano())
}

// worth is what would be lost with an endpoint that a call's URL has made.
func (e *upstream) worth() bounded.Worth {
	w := bounded.Worth{Busy: e.Load.Open() > 0, Known: e.answered.Load(), Used: e.used.Load()}
	w.Open = e.circuits.AnyOpen(time.Now())
	return w
}

// aliasesOf turns Models around.
func aliasesOf(models map[string]string) map[string][]string {
	aliases := make(map[string][]string, len(models))
	for _, name := range slices.Sorted(maps.Keys(models)) {
		if _, old := retired[name]; !old {
			aliases[models[name]] = append(aliases[models[name]], name)
		}
	}
	return aliases
}

// serves returns the name under which e serves the call's model, if it does.
// What was meant for e goes to it under any name.
func (e *upstream) serves(c *call) (string, bool) {
	model := c.params.Model
	name, ok := e.Models[model]
	switch {
	case ok:
		return name, true
	case e == c.target:
		return e.row.today(model), true
	case c.op == request.Embeddings:
		return "", false // vectors of two models have nothing in common: a name must be vouched for
	case len(e.Models) == 0 && e.row.host != HostDeepSeek:
		return model, true
	}
	if name, ok := e.Models[c.target.row.today(model)]; ok {
		return name, true
	}
	for _, alias := range c.target.aliases[model] {
		if len(e.Models) == 0 {
			return alias, true // the names of old and new are DeepSeek's own
		}
		if name, ok := e.Models[alias]; ok {
			return name, true
		}
	}
	if len(e.Models) == 0 {
		return e.row.today(model), true
	}
	for _, name := range e.Models {
		if name == model {
			return model, true
		}
	}
	return "", false
}

// today returns what took the place of a model's name.
func (row *hostRow) today(model string) string {
	if name, ok := row.renamed[model]; ok {
		return name
	}
	return model
}

// covers reports whether a path on e's origin lies under e's base path or one
// of its host's known roots: whether it is e's API.
func (e *upstream) covers(path string) bool {
	if under(path, e.base.Path) {
		return true
	}
	for _, root := range e.row.roots {
		if under(path, e.mount+root) {
			return true
		}
	}
	return false
}

// closer reports whether a path that both cover lies closer to e than to other:
// under its base, and that the longer one, before any root of its host.
func (e *upstream) closer(other *upstream, path string) bool {
	if !under(path, e.base.Path) {
		return false
	}
	return !under(path, other.base.Path) || len(e.base.Path) > len(other.base.Path)
}

func under(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || rest[0] == '/')
}

// urlFor returns where e serves the call. What was meant for the same base
// goes to the very path it asked for: /beta stays /beta. Elsewhere the
// operation moves to e's own root, and the query, which may hold another
// host's key, stays behind.
func (e *upstream) urlFor(c *call) *url.URL {
	if (e == c.target || e.URL == c.target.URL) && c.rescue != rescueContinues {
		return c.req.URL
	}
	u := *e.base
	root, _ := e.rootOf(c.op)
	if c.params.PrefixCompletion {
		root = e.mount + e.row.prefix
	}
	switch {
	case root != u.Path:
		u.RawPath = ""
	case u.RawPath != "": // escaped as the base has it
		u.RawPath += string(c.op)
	}
	u.Path = root + string(c.op)
	return &u
}

// authorize puts the endpoint's key, if it has one, in the place of the
// caller's, and its headers over the caller's.
func (e *upstream) authorize(req *http.Request, op request.Operation) {
	if e.keyed {
		anthropic := op == request.Messages || req.Header["X-Api-Key"] != nil
		header.RemoveCredentials(req.Header)
		switch {
		case e.APIKey == "": // it is in Header
		case e.row.keyHeader != "":
			req.Header[e.row.keyHeader] = []string{e.APIKey}
		case anthropic:
			req.Header["X-Api-Key"] = []string{e.APIKey}
			fallthrough
		default:
			req.Header["Authorization"] = []string{"Bearer " + e.APIKey}
		}
	}
	for name, values := range e.Header {
		req.Header[name] = values[:len(values):len(values)]
	}
}
