package breakwater

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater/internal/balance"
	"github.com/breakwater-go/breakwater/internal/bounded"
	"github.com/breakwater-go/breakwater/internal/budget"
	"github.com/breakwater-go/breakwater/internal/circuit"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/health"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/keysource"
	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/origin"
	"github.com/breakwater-go/breakwater/internal/price"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/served"
	"github.com/breakwater-go/breakwater/internal/shift"
	"github.com/breakwater-go/breakwater/internal/within"
)

// An upstream is an Endpoint in use, with its circuits, limits and layers.
type upstream struct {
	Endpoint
	*upstreamState
	*keyState
	among       *bounded.Map[origin.Origin, *upstream] // the map that it is in, if it was made for a call's URL; else nil
	identity    string                                 // of the endpoint with its credential, for pauses: see identityOf
	payer       string                                 // of its account with the credentials of that: see payersOf
	tier        int
	base        *url.URL
	origin      origin.Origin
	profile     *host.Profile
	paths       host.Paths
	names       host.Names
	place       within.Place
	can         request.Needs     // beyond what every host can: see request.Needs
	keyed       bool              // it has a credential of its own
	keys        *keysource.Source // asks its KeyFunc; nil: there is none
	circuits    *circuit.Set
	limits      *limit.Limits
	budget      *budget.Budget         // of extra attempts, of its account
	rates       map[string]*price.Rate // by its names for models, "" for all others; nil: no price is known
	spent       *price.Book            // what its attempts have cost
	connections *connections           // nil: the base is the user's
	pipeline    http.RoundTripper      // rate limit, breaker, gate, user middleware, base
	alone       [1]*upstream           // the endpoint itself, as the only candidate of a call
}

// An upstreamState is what attempts have shown of an endpoint. All generations that have the
// endpoint share it.
type upstreamState struct {
	balance.Target
	served   *served.Table
	shares   *shift.Set               // of first attempts that it keeps, by model
	answered atomic.Bool              // it has answered a call before
	roots    atomic.Pointer[[]string] // the paths to which callers appended operations, if it was made for a call's URL
	used     atomic.Int64             // when it was used last, for bounded.Map; only if the user gave no endpoints
}

// A keyState is what attempts and probes have shown of an endpoint with its key. All generations
// that have the endpoint with this key share it: what a host answers to the old key, when that
// is replaced, is no word about the new one.
type keyState struct {
	worked          atomic.Int64               // when it last answered, in Unix nanoseconds, to the second; 0: never
	reached         atomic.Int64               // likewise, a request that is no inference, in Unix nanoseconds
	latest          atomic.Pointer[answeredTo] // the latest answer that was given while there were pauses
	blocked         atomic.Bool                // it was blocked (ClassBlocked) after its last answer
	quarantineTried atomic.Int64               // when a call last tried it in spite of its quarantine
	warnedNoKey     atomic.Bool                // it was reported that neither it nor a call had a key
	health          health.State               // by probes
}

// identityOf returns what stands for an endpoint in pauses: its name and, in a form that
// nobody can read, its URL and credential. What a host says to one key concerns no other.
func identityOf(e Endpoint) string {
	sum := credentialsOf(e)
	return e.Name + "\x00" + string(sum[:])
}

// payersOf returns what stands for each account in pauses: its name and, in a form that
// nobody can read, the credentials of its endpoints.
func payersOf(tiers [][]Endpoint) map[string]string {
	sums := make(map[string]map[[sha256.Size]byte]bool)
	for _, e := range slices.Concat(tiers...) {
		if sums[e.Account] == nil {
			sums[e.Account] = make(map[[sha256.Size]byte]bool)
		}
		sums[e.Account][credentialsOf(e)] = true
	}
	payers := make(map[string]string)
	for account, of := range sums {
		var all [sha256.Size]byte
		for sum := range of {
			subtle.XORBytes(all[:], all[:], sum[:])
		}
		payers[account] = account + "\x00" + string(all[:])
	}
	return payers
}

// credentialsOf returns a digest of an endpoint's URL, key and headers.
func credentialsOf(e Endpoint) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %v", e.URL, e.APIKey, e.KeyFunc != nil)
	for _, name := range slices.Sorted(maps.Keys(e.Header)) {
		fmt.Fprintf(h, " %q %q", name, e.Header[name])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// connections is breakwater's own base towards one origin. When a circuit opens, all
// connections are made anew: one that was kept may lead to a server that is drained and
// refuses everything, while new ones reach a server that is well. A server that is well
// costs that one handshake, and attempts under way go on.
type connections struct {
	shared *http.Transport                // serves the origin until a circuit first opens, unless there is an own one
	own    atomic.Pointer[http.Transport] // nil: none yet
}

// RoundTrip sends the request.
func (c *connections) RoundTrip(req *http.Request) (*http.Response, error) {
	if own := c.own.Load(); own != nil {
		return own.RoundTrip(req)
	}
	return c.shared.RoundTrip(req)
}

// renew makes later requests use new connections. The old ones are closed when they are
// idle.
func (c *connections) renew() {
	if old := c.own.Swap(c.shared.Clone()); old != nil {
		old.CloseIdleConnections()
	}
}

// CloseIdleConnections closes the idle connections that only this origin has.
func (c *connections) CloseIdleConnections() {
	if own := c.own.Load(); own != nil {
		own.CloseIdleConnections()
	}
}

// justNow is how old an answer may be that shows that a key is right.
const justNow = 10 * time.Minute

// quarantineTryEvery is how often one call may try a quarantined endpoint.
const quarantineTryEvery = time.Second

// mayTryQuarantined reports whether one call may try an endpoint that is only quarantined,
// so that a mended key is found out.
func (u *upstream) mayTryQuarantined(now time.Time) bool {
	return now.UnixNano()-u.quarantineTried.Load() >= int64(quarantineTryEvery)
}

// claimQuarantinedTry reports whether this call is the one that may.
func (u *upstream) claimQuarantinedTry(now time.Time) bool {
	last := u.quarantineTried.Load()
	return u.mayTryQuarantined(now) && u.quarantineTried.CompareAndSwap(last, now.UnixNano())
}

// noteAnswer notes that the endpoint has answered. It writes only what is new, because a
// store would take the line from other cores.
func (u *upstream) noteAnswer(now time.Time) {
	if !u.answered.Load() {
		u.answered.Store(true)
	}
	if at := now.UnixNano(); at-u.worked.Load() >= int64(time.Second) {
		u.worked.Store(at)
	}
	if u.blocked.Load() {
		u.blocked.Store(false)
	}
}

// An answeredTo says which credential an endpoint has answered, and when that one's attempt
// was sent. The credential is zero if the endpoint has a key of its own.
type answeredTo struct {
	asker header.Credential
	sent  time.Time
}

// noteAsker notes that the endpoint has answered an attempt, while somebody may have to
// know: there are pauses. It writes no more often than it must, as noteAnswer.
func (u *upstream) noteAsker(asker header.Credential, sent time.Time) {
	last := u.latest.Load()
	if last == nil || last.asker != asker || sent.Sub(last.sent) > 100*time.Millisecond {
		u.latest.Store(&answeredTo{asker, sent})
	}
}

// hasAnsweredSince reports whether the endpoint has answered a credential's attempt that was
// sent after then, as far as it knows.
func (u *upstream) hasAnsweredSince(then time.Time, asker header.Credential) bool {
	last := u.latest.Load()
	return last != nil && last.asker == asker && last.sent.After(then)
}

// lastAnswer returns when the endpoint last answered anything.
func (u *upstream) lastAnswer() time.Time {
	return time.Unix(0, max(u.worked.Load(), u.reached.Load()))
}

// hasJustWorked reports whether the endpoint has answered lately, so that its key is right.
func (u *upstream) hasJustWorked(now time.Time) bool {
	last := u.worked.Load()
	return last != 0 && now.UnixNano()-last < int64(justNow)
}

// isServing reports whether the endpoint has just answered a call.
func (u *upstream) isServing(now time.Time) bool {
	last := u.worked.Load()
	return last != 0 && now.UnixNano()-last < int64(servingNow)
}

// servingNow is how old the latest answer of an endpoint may be that is serving.
const servingNow = 5 * time.Second

// worth returns what would be lost if an upstream made for a call's URL was dropped.
func (u *upstream) worth() bounded.Worth {
	w := bounded.Worth{Busy: u.Load.Open() > 0, Known: u.answered.Load(), Used: u.used.Load()}
	w.Open = u.circuits.AnyOpen(time.Now())
	return w
}

// serves returns the name under which u serves a model that was requested of target, or
// false if it does not.
func (u *upstream) serves(op request.Operation, model string, target *upstream) (string, bool) {
	return u.names.Serve(op, model, &target.names)
}

// rateOf returns what a model costs, or nil if that is not known.
func (u *upstream) rateOf(op request.Operation, model string) *price.Rate {
	if r, ok := u.rates[u.profile.Behind(op, model)]; ok {
		return r
	}
	return u.rates[""]
}

// continues reports whether u continues a text that a message begins, and one behind the
// message's reasoning if it is reasoned.
func (u *upstream) continues(op request.Operation, reasoned bool) bool {
	return u.can&beginningOf(op) != 0 && (!reasoned || op == request.Chat && u.profile.PrefixReasoning)
}

// beginningOf returns what a host needs on an operation to continue a text that a message
// begins; 0: there is no way.
func beginningOf(op request.Operation) request.Needs {
	switch op {
	case request.Chat:
		return request.Prefix
	case request.Messages:
		return request.Prefill
	}
	return 0
}

// authorize replaces the caller's credential by the endpoint's, if it has one, and sets the
// endpoint's headers. key is what KeyFunc gave for the request; empty: APIKey is the key.
func (u *upstream) authorize(req *http.Request, op request.Operation, key string) {
	if key == "" {
		key = u.APIKey
	}
	if u.keyed {
		anthropic := op == request.Messages || req.Header["X-Api-Key"] != nil
		header.RemoveCredentials(req.Header)
		switch {
		case key == "": // the credential is in Header
		case u.profile.KeyHeader != "" && !host.IsToken(key):
			req.Header[u.profile.KeyHeader] = []string{key}
		case anthropic:
			req.Header["X-Api-Key"] = []string{key}
			fallthrough
		default:
			req.Header["Authorization"] = []string{"Bearer " + key}
		}
	}
	for name, values := range u.Header {
		req.Header[name] = values[:len(values):len(values)]
	}
}

// pass sends a request that is neither inference nor safe, with the endpoint's key, Header
// and Rewrite. If the host refuses the key and KeyFunc gives another one, pass sends it once
// more, unless its body can be sent only once: then the next request has the new key.
func (u *upstream) pass(req *http.Request, below http.RoundTripper) (*http.Response, error) {
	if u.keys == nil {
		return u.passWith(req, "", below)
	}
	key, err := u.keys.Get(req.Context(), time.Now(), "")
	if err != nil {
		closeBody(req)
		return nil, err
	}
	resp, err := u.passWith(req, key, below)
	if err != nil || resp == nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	u.keys.Refused(key)
	again := *req
	next, err := u.keys.Get(req.Context(), time.Now(), key)
	if err != nil || next == key || !rewind(&again) {
		return resp, nil
	}
	if resp.Body != nil {
		resp.Body.Close()
	}
	return u.passWith(&again, next, below)
}

// passWith is pass with a key.
func (u *upstream) passWith(req *http.Request, key string, below http.RoundTripper) (*http.Response, error) {
	if u.keyed || len(u.Header) > 0 || u.Rewrite != nil {
		req = req.Clone(req.Context())
		if req.Header == nil {
			req.Header = make(http.Header)
		}
		u.authorize(req, request.None, key)
	}
	if u.Rewrite != nil {
		if err := u.Rewrite(req); err != nil {
			closeBody(req)
			return nil, err
		}
	}
	return below.RoundTrip(req)
}

// rewind gives a request that was sent its body once more. It reports false if there is no
// way.
func rewind(req *http.Request) bool {
	if req.Body == nil || req.Body == http.NoBody {
		return true
	}
	if req.GetBody == nil {
		return false
	}
	body, err := req.GetBody()
	req.Body = body
	return err == nil
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		req.Body.Close()
	}
}

// upstreams are the endpoints of a Transport: those that the user gave or, if there are
// none, one for each origin that callers address, up to maxOrigins.
type upstreams struct {
	tiers   [][]*upstream // best first
	count   int           // in all tiers
	former  []*upstream   // endpoints of earlier generations: see noteFormer
	keyless bool          // there are several endpoints, and one has no key of its own
	turn    atomic.Uint64 // rotates the endpoints of each tier
	origins bounded.Map[origin.Origin, *upstream]
	make    func(e Endpoint, base *url.URL, tier int) *upstream
}

const maxOrigins = 256

// add makes upstreams of the endpoints that the user gave.
func (us *upstreams) add(tiers [][]Endpoint) error {
	us.origins.Max, us.origins.WorthOf = maxOrigins, (*upstream).worth
	for i, tier := range tiers {
		us.tiers = append(us.tiers, nil)
		for _, e := range tier {
			base, err := url.Parse(e.URL)
			if err != nil {
				return fmt.Errorf("breakwater: endpoint %q: URL cannot be parsed", e.Name)
			}
			u := us.make(e, base, i)
			us.tiers[i] = append(us.tiers[i], u)
			us.count++
			us.keyless = us.keyless || !u.keyed
		}
	}
	us.keyless = us.keyless && us.count > 1
	return nil
}

// addOrigins makes upstreams of the origins that callers have addressed before.
func (us *upstreams) addOrigins(before *upstreams) {
	if len(us.tiers) > 0 {
		return
	}
	for at, u := range before.origins.All() {
		us.origins.GetOrAdd(at, func() *upstream {
			e := us.make(u.Endpoint, u.base, 0)
			e.among = &us.origins
			return e
		})
	}
}

// find returns the upstream of an endpoint with the same name and URL, or nil.
func (us *upstreams) find(e Endpoint) *upstream {
	for _, u := range us.all() {
		if u.Name == e.Name && u.URL == e.URL {
			return u
		}
	}
	return nil
}

// connectionsAt returns the connections of an endpoint at an origin, or nil.
func (us *upstreams) connectionsAt(at origin.Origin) *connections {
	for _, tier := range us.tiers {
		for _, u := range tier {
			if u.origin == at {
				return u.connections
			}
		}
	}
	return nil
}

// all returns every endpoint.
func (us *upstreams) all() []*upstream {
	all := slices.Collect(maps.Values(us.origins.All()))
	for _, tier := range us.tiers {
		all = append(all, tier...)
	}
	return all
}

// targetOf returns the endpoint that serves the URL u, or nil. If the user gave no
// endpoints, every origin that is asked for inference is one.
func (us *upstreams) targetOf(u *url.URL, inference bool) *upstream {
	if u == nil || len(us.tiers) == 0 && !inference {
		return nil
	}
	asked, ok := origin.Of(u)
	if !ok {
		return nil
	}
	if len(us.tiers) == 0 {
		return us.ofOrigin(asked)
	}
	var best *upstream
	consider := func(all []*upstream) {
		for _, e := range all {
			if e.origin == asked && e.paths.Cover(u.Path) && (best == nil || e.paths.Closer(&best.paths, u.Path)) {
				best = e
			}
		}
	}
	for _, tier := range us.tiers {
		consider(tier)
	}
	if best == nil && inference {
		consider(us.former)
	}
	return best
}

// maxFormer bounds how many endpoints that were removed are remembered.
const maxFormer = 64

// noteFormer remembers the endpoints of the generation before that are gone. Callers may have
// their URLs yet: such calls are still meant for the endpoints, so that others answer them,
// and the host that was removed does not.
func (us *upstreams) noteFormer(before *upstreams) {
	if len(us.tiers) == 0 {
		return
	}
	for _, u := range slices.Concat(slices.Concat(before.tiers...), before.former) {
		isAt := func(e *upstream) bool { return e.URL == u.URL }
		if !slices.ContainsFunc(slices.Concat(us.tiers...), isAt) && !slices.ContainsFunc(us.former, isAt) && len(us.former) < maxFormer {
			us.former = append(us.former, u.address())
		}
	}
}

// address returns what is left of an endpoint that gets no attempts any more: its URL, and what
// the names and paths of those mean who have it.
func (u *upstream) address() *upstream {
	return &upstream{
		Endpoint: Endpoint{Name: u.Name, URL: u.URL, Account: u.Account, Host: u.Host, Models: u.Models}, upstreamState: new(upstreamState), keyState: new(keyState),
		base: u.base, origin: u.origin, profile: u.profile, paths: u.paths, names: u.names, can: u.can,
	}
}

// nearest returns words about the endpoint that a request to an origin came near to. They
// hold neither the request's path nor a key.
func (us *upstreams) nearest(asked origin.Origin) string {
	var best *upstream
	why, most := "", 0
	for _, tier := range us.tiers {
		for _, e := range tier {
			if near, differs := e.nearTo(asked); near > most {
				best, why, most = e, differs, near
			}
		}
	}
	at := asked.URL().String()
	if asked == (origin.Origin{}) {
		at = "no server"
	}
	if best == nil {
		e := us.tiers[0][0]
		return fmt.Sprintf("no endpoint is at %s; endpoint %q is at %s", at, e.Name, e.URL)
	}
	return fmt.Sprintf("it goes to %s, near endpoint %q at %s, but %s: use the endpoint's URL", at, best.Name, best.URL, why)
}

// nearTo returns how near a request to an origin, which is not meant for u, came to it, and
// what differs. 0 is not near.
func (u *upstream) nearTo(asked origin.Origin) (near int, differs string) {
	own := u.origin
	parent := func(host string) string {
		_, domain, _ := strings.Cut(host, ".")
		return domain
	}
	switch {
	case own == asked:
		return 6, "its path is not below that of the endpoint"
	case own.Host == asked.Host && own.Scheme != asked.Scheme:
		return 5, "its scheme is " + asked.Scheme
	case own.Host == asked.Host:
		return 4, "its port is " + asked.Port
	case origin.IsLoopback(own.Host) && origin.IsLoopback(asked.Host):
		return 3, "its host has another name, " + asked.Host
	case !u.profile.Generic && host.OfDomain(asked.Host) == u.profile:
		return 2, "its host is " + asked.Host
	case strings.Contains(parent(own.Host), ".") && parent(own.Host) == parent(asked.Host):
		return 1, "its host is " + asked.Host
	}
	return 0, ""
}

// candidatesFor returns the endpoints that a call may go to: all that are within its bounds
// or, if it names one, that one of these. The best tier comes first. Each call rotates the
// tiers by one, so that their endpoints share the load. The list must not be changed. An
// endpoint that is not in it gets nothing of the call.
func (us *upstreams) candidatesFor(target *upstream, name string, b within.Bounds) []*upstream {
	if us.hasUnknown(b) {
		return nil
	}
	if us.count == 1 {
		target = us.tiers[0][0]
	}
	if us.count <= 1 {
		if !target.isChosen(name, b) {
			return nil
		}
		return target.alone[:]
	}
	turn := int(us.turn.Add(1) % (1 << 30))
	all := make([]*upstream, 0, us.count)
	for _, tier := range us.tiers {
		for i := range tier {
			if e := tier[(turn+i)%len(tier)]; e.isChosen(name, b) {
				all = append(all, e)
			}
		}
	}
	return all
}

// isChosen reports whether u is within the bounds and has the name, if there is one.
func (u *upstream) isChosen(name string, b within.Bounds) bool {
	return (name == "" || name == u.Name) && b.Has(&u.place)
}

// allows reports whether a request with these bounds that is no inference may go where it is
// meant for: to target, or to a stranger if that is nil.
func (us *upstreams) allows(target *upstream, b within.Bounds) bool {
	return len(b) == 0 || target != nil && b.Has(&target.place) && !us.hasUnknown(b)
}

// hasUnknown reports whether some word of the bounds stands for no endpoint of the user's.
func (us *upstreams) hasUnknown(b within.Bounds) bool {
	_, unknown := us.unknown(b)
	return unknown
}

// unknown returns a word of the bounds that stands for no endpoint of the user's, if there is
// one.
func (us *upstreams) unknown(b within.Bounds) (word string, ok bool) {
	for _, words := range b {
		for _, word := range words {
			if !us.knows(word) {
				return word, true
			}
		}
	}
	return "", false
}

func (us *upstreams) knows(word string) bool {
	for _, tier := range us.tiers {
		for _, e := range tier {
			if e.place.Has(word) {
				return true
			}
		}
	}
	return false
}

// words returns all that stands for an endpoint of the user's, in order.
func (us *upstreams) words() []string {
	var all []string
	for _, tier := range us.tiers {
		for _, e := range tier {
			all = append(append(all, e.Name), e.Tags...)
			if e.Region != "" {
				all = append(all, e.Region)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ofOrigin returns the endpoint of an origin that callers address.
func (us *upstreams) ofOrigin(at origin.Origin) *upstream {
	return us.origins.GetOrAdd(at, func() *upstream {
		base := at.URL()
		name := base.String()
		asWritten := map[string]string{} // the caller's names are those of this host
		e := us.make(Endpoint{Name: base.Host, URL: name, Account: name, Host: hostOf(at.Host), Models: asWritten, Price: pricesOf(at.Host)}, base, 0)
		e.among = &us.origins
		e.touch()
		return e
	})
}

// askedBefore returns the endpoint of an origin that callers address, if the user gave no
// endpoints, and u belongs to its API: its host is known, or it was asked for inference below
// the same path. It returns nil for any other origin, because others have no API.
func (us *upstreams) askedBefore(u *url.URL) *upstream {
	if u == nil || len(us.tiers) > 0 {
		return nil
	}
	at, ok := origin.Of(u)
	if !ok {
		return nil
	}
	if e, known := us.origins.Get(at); known && (!e.profile.Generic || e.hasRoot(u.Path)) {
		return e
	}
	if host.OfDomain(at.Host).Generic {
		return nil
	}
	return us.ofOrigin(at)
}

// maxRoots bounds the roots of an upstream, because callers choose them.
const maxRoots = 8

// noteRoot notes the path to which the caller has appended an operation, if u was made for
// the call's URL.
func (u *upstream) noteRoot(op request.Operation, path string) {
	if u.among == nil || op == request.None {
		return
	}
	known, root := u.roots.Load(), strings.TrimSuffix(path, string(op))
	switch {
	case known == nil:
		u.roots.CompareAndSwap(nil, &[]string{strings.Clone(root)})
	case len(*known) < maxRoots && !slices.Contains(*known, root):
		more := append(slices.Clone(*known), strings.Clone(root))
		u.roots.CompareAndSwap(known, &more)
	}
}

// hasRoot reports whether a path is below one that a caller has appended an operation to.
func (u *upstream) hasRoot(path string) bool {
	known := u.roots.Load()
	return known != nil && slices.ContainsFunc(*known, func(root string) bool {
		below, ok := strings.CutPrefix(path, root)
		return ok && strings.HasPrefix(below, "/")
	})
}

// touch notes that an upstream made for a call's URL is in use.
func (u *upstream) touch() {
	if u.among != nil {
		u.among.Touch(&u.used)
	}
}
