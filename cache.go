package breakwater

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// CachePolicy says what is kept for how long. Only complete answers are kept,
// and only in the scope of who asked.
type CachePolicy struct {
	// TTL is how long an answer is fresh. Default 5min; Off: never, so that it
	// serves for StaleIfError only.
	TTL time.Duration

	// StaleIfError is how long past its TTL an answer is given when no endpoint
	// could give another. Default 1h.
	StaleIfError time.Duration

	// StaleWhileRevalidate is reserved: it is not built yet. New refuses values
	// other than zero and Off.
	StaleWhileRevalidate time.Duration

	// MaxEntries and MaxBytes bound what is kept in memory, and MaxEntryBytes
	// one answer. Defaults 1000, 64 MiB, 1 MiB.
	MaxEntries    int
	MaxBytes      int64
	MaxEntryBytes int64

	// Deterministic keeps only the answers of calls with temperature 0.
	Deterministic bool

	// Scope says who may share answers. Default: the caller's credential.
	Scope func(*http.Request) string

	// Store holds entries beyond the memory of this process, behind it. Default: none.
	Store Store
}

// A Store keeps entries for several processes. What it returns is checked: an
// entry that is not whole is a miss, and an error or a delay costs an event,
// never the call. It must be safe for concurrent use.
type Store interface {
	// Get returns the entry kept under key, or nil if there is none.
	Get(ctx context.Context, key string) ([]byte, error)
	// Set keeps an entry under key for at least keep.
	Set(ctx context.Context, key string, entry []byte, keep time.Duration) error
}

// storeWait bounds each call of a Store.
const storeWait = 250 * time.Millisecond

func (p CachePolicy) resolve() (CachePolicy, error) {
	f := fields{option: "WithCache"}
	resolveField(&f, "TTL", &p.TTL, 5*time.Minute)
	resolveField(&f, "StaleIfError", &p.StaleIfError, time.Hour)
	f.check(p.StaleWhileRevalidate == 0 || p.StaleWhileRevalidate == Off, "StaleWhileRevalidate is not built yet")
	f.check(p.TTL > 0 || p.StaleIfError > 0, "TTL and StaleIfError are both Off: nothing would ever be served")
	resolveField(&f, "MaxEntries", &p.MaxEntries, 1000)
	resolveField(&f, "MaxBytes", &p.MaxBytes, 64<<20)
	resolveField(&f, "MaxEntryBytes", &p.MaxEntryBytes, 1<<20)
	return p, f.err()
}

// A cacheKey stands for one question in one scope. It is made by newCacheKey
// alone, so that there is none without a scope.
type cacheKey struct{ sum [sha256.Size]byte }

// A scope says who may share an answer: the caller's credential, or a name.
type scope struct {
	credential credential
	name       string
}

// newCacheKey is SHA-256 over operation, scope, the URL that was meant and the
// body, each with its length before it.
func newCacheKey(op operation, s scope, url string, body []byte) cacheKey {
	h := sha256.New()
	var size [8]byte
	for _, part := range [...]string{string(op), string(s.credential[:]), s.name, url} {
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		io.WriteString(h, part)
	}
	h.Write(body) // the last part needs no length
	var k cacheKey
	h.Sum(k.sum[:0])
	return k
}

func (k cacheKey) String() string { return hex.EncodeToString(k.sum[:]) }

// An entry is an answer as it was given, in bytes.
type entry struct {
	Stored   time.Time
	Header   http.Header
	Endpoint string
	body     []byte
}

func (e *entry) size() int64 {
	n := len(e.body) + len(e.Endpoint) + 256
	for name, values := range e.Header {
		n += len(name) + 64
		for _, v := range values {
			n += len(v) + 16
		}
	}
	return int64(n)
}

// A cache is the middleware and what it keeps.
type cache struct {
	t      *Transport
	policy CachePolicy

	mu      sync.Mutex // guards what follows
	entries *simplelru.LRU[cacheKey, *entry]
	bytes   int64
	counts  CacheStatus
}

func newCache(t *Transport, p CachePolicy) *cache {
	c := &cache{t: t, policy: p}
	// The order is the library's; expiry and bytes are ours: its own expiry
	// would drop what StaleIfError needs. NewLRU fails on sizes below 1 only.
	size := p.MaxEntries
	if size == 0 {
		size = math.MaxInt
	}
	c.entries, _ = simplelru.NewLRU(size, func(_ cacheKey, e *entry) { c.bytes -= e.size() })
	return c
}

// middleware answers from the cache what it can, and keeps what comes.
func (k *cache) middleware(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		c := callOf(req.Context())
		wish := readCacheControl(req.Header.Values("Cache-Control"))
		if !k.applies(c) || wish.noStore {
			resp, err := next.RoundTrip(req)
			return noteCache(resp, "fwd=bypass"), err
		}
		key := k.keyOf(c)
		e := k.get(c, key)
		now := time.Now()
		if e != nil && !wish.noCache && now.Sub(e.Stored) < min(k.policy.TTL, wish.maxAge) {
			k.count(func(n *CacheStatus) { n.Hits++ })
			k.t.emit(c, Event{Kind: KindCacheHit, Endpoint: e.Endpoint, Model: c.look.model, Bytes: int64(len(e.body))})
			ttl := (k.policy.TTL - now.Sub(e.Stored)) / time.Second
			return k.replay(c, e, now, "hit; ttl="+strconv.FormatInt(int64(ttl), 10)), nil
		}
		k.count(func(n *CacheStatus) { n.Misses++ })
		k.t.emit(c, Event{Kind: KindCacheMiss, Model: c.look.model})
		forward := "fwd=uri-miss"
		if e != nil {
			forward = "fwd=stale"
			if wish.noCache || now.Sub(e.Stored) < k.policy.TTL {
				forward = "fwd=request"
			}
		}
		resp, err := next.RoundTrip(req)
		now = time.Now()
		if e != nil && c.exhausted && !wish.noCache && now.Sub(e.Stored) < k.policy.TTL+min(k.policy.StaleIfError, wish.staleIfError) {
			if resp != nil {
				resp.Body.Close()
			}
			c.exhausted = false
			k.count(func(n *CacheStatus) { n.Stale++ })
			k.t.emit(c, Event{Kind: KindCacheStale, Endpoint: e.Endpoint, Model: c.look.model, Bytes: int64(len(e.body))})
			ttl := (k.policy.TTL - now.Sub(e.Stored)) / time.Second
			return k.replay(c, e, now, fmt.Sprintf("hit; ttl=%d; detail=stale-if-error", ttl)), nil
		}
		if err == nil {
			k.watch(c, key, resp)
		}
		return noteCache(resp, forward), err
	})
}

// applies reports whether a call's answer may be cached at all.
func (k *cache) applies(c *call) bool {
	return !c.NoCache && c.body != nil && c.look.choices == 1 && !c.look.stateful &&
		(!k.policy.Deterministic || c.look.hasTemperature && c.look.temperature == 0)
}

func (k *cache) keyOf(c *call) cacheKey {
	s := scope{credential: c.credential}
	switch {
	case c.Scope != "":
		s = scope{name: c.Scope}
	case k.policy.Scope != nil:
		s = scope{name: k.policy.Scope(c.req)}
	}
	return newCacheKey(c.op, s, c.sort(), c.body)
}

// sort is what besides operation, scope and body makes calls differ: the URL,
// the endpoint asked for, and headers that change the answer or say for whom it is.
func (c *call) sort() string {
	text := c.req.URL.String()
	if c.Endpoint != "" {
		text += "\n" + c.Endpoint
	}
	for _, name := range [...]string{"Anthropic-Beta", "Anthropic-Version", "Openai-Organization", "Openai-Project", "Cookie"} {
		for _, v := range c.req.Header[name] {
			text += "\n" + name + ": " + v
		}
	}
	return text
}

// get looks into the memory, then into the Store.
func (k *cache) get(c *call, key cacheKey) *entry {
	k.mu.Lock()
	e, ok := k.entries.Get(key)
	k.mu.Unlock()
	if ok || k.policy.Store == nil {
		return e
	}
	ctx, cancel := context.WithTimeout(c, storeWait)
	defer cancel()
	stored, err := k.policy.Store.Get(ctx, key.String())
	if err == nil && stored != nil {
		e, err = decodeEntry(stored)
	}
	if err != nil {
		k.t.emit(c, Event{Kind: KindCacheError, Err: err})
		return nil
	}
	if e != nil {
		k.add(key, e)
	}
	return e
}

// add keeps e in memory, making room for it; what is larger than all the room
// there is is not kept.
func (k *cache) add(key cacheKey, e *entry) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries.Remove(key)
	if k.policy.MaxBytes > 0 && e.size() > k.policy.MaxBytes {
		return
	}
	k.bytes += e.size()
	if k.entries.Add(key, e) {
		k.counts.Evictions++
	}
	for k.policy.MaxBytes > 0 && k.bytes > k.policy.MaxBytes {
		k.entries.RemoveOldest()
		k.counts.Evictions++
	}
}

// put keeps e in memory and in the Store.
func (k *cache) put(c *call, key cacheKey, e *entry) {
	k.add(key, e)
	k.count(func(n *CacheStatus) { n.Stores++ })
	k.t.emit(c, Event{Kind: KindCacheStore, Endpoint: e.Endpoint, Model: c.look.model, Bytes: int64(len(e.body))})
	if k.policy.Store == nil {
		return
	}
	// The caller may have left with its answer; that is no reason to lose it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c), storeWait)
	defer cancel()
	if err := k.policy.Store.Set(ctx, key.String(), e.encode(), k.policy.TTL+k.policy.StaleIfError); err != nil {
		k.t.emit(c, Event{Kind: KindCacheError, Endpoint: e.Endpoint, Err: err})
	}
}

func (k *cache) count(add func(*CacheStatus)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	add(&k.counts)
}

func (k *cache) status() CacheStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.counts
	s.Entries, s.Bytes = k.entries.Len(), k.bytes
	return s
}

// watch keeps the answer once it is known to be complete: JSON is by now,
// a stream at its terminator.
func (k *cache) watch(c *call, key cacheKey, resp *http.Response) {
	if resp.StatusCode != http.StatusOK {
		return
	}
	rec := &recorder{cache: k, call: c, key: key, limit: k.policy.MaxEntryBytes}
	switch b := resp.Body.(type) {
	case *wholeBody:
		rec.header = resp.Header.Clone()
		rec.write(b.bytes)
		rec.keep(b.attempt)
	case *streamBody:
		rec.header = resp.Header.Clone()
		b.record(rec)
	case *rescuer:
		rec.header = resp.Header.Clone()
		b.record(rec)
	}
}

// A recorder gathers the bytes of one answer as they go to the caller.
type recorder struct {
	cache  *cache
	call   *call
	key    cacheKey
	header http.Header
	limit  int64 // of bytes; 0: none
	body   []byte
	over   bool // too large: not kept
}

func (r *recorder) write(p []byte) {
	if r == nil || r.over {
		return
	}
	if r.limit > 0 && int64(len(r.body)+len(p)) > r.limit {
		r.over, r.body = true, nil
		return
	}
	r.body = append(r.body, p...)
}

// keep puts the answer into the cache if nothing is missing of it.
func (r *recorder) keep(a *attempt) {
	if r == nil || r.over || !a.answer.Finished() || a.answer.Length {
		return
	}
	for _, name := range []string{"Set-Cookie", "Date", "Content-Length", "Connection", "Keep-Alive", "Transfer-Encoding", "Age", "Cache-Status", headerAttempts} {
		delete(r.header, name)
	}
	r.cache.put(r.call, r.key, &entry{
		Stored: time.Now(), Header: r.header, Endpoint: a.endpoint.Name, body: bytes.Clone(r.body),
	})
}

// replay answers from an entry.
func (k *cache) replay(c *call, e *entry, now time.Time, how string) *http.Response {
	resp := c.response(http.StatusOK, e.body)
	resp.Header = e.Header.Clone()
	resp.Header.Set("Age", strconv.FormatInt(int64(max(now.Sub(e.Stored), 0)/time.Second), 10))
	return noteCache(resp, how)
}

// noteCache says what the cache did, as RFC 9211 has it.
func noteCache(resp *http.Response, how string) *http.Response {
	if resp != nil {
		if resp.Header == nil {
			resp.Header = make(http.Header)
		}
		resp.Header["Cache-Status"] = append(resp.Header["Cache-Status"], "breakwater; "+how)
	}
	return resp
}

// A cacheControl is what a request's Cache-Control asks (RFC 9111, section
// 5.2.1; stale-if-error: RFC 5861).
type cacheControl struct {
	noStore, noCache     bool
	maxAge, staleIfError time.Duration
}

func readCacheControl(values []string) cacheControl {
	c := cacheControl{maxAge: math.MaxInt64, staleIfError: math.MaxInt64}
	for _, value := range values {
		for directive := range strings.SplitSeq(value, ",") {
			name, arg, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store":
				c.noStore = true
			case "no-cache":
				c.noCache = true
			case "max-age":
				c.maxAge = deltaSeconds(arg, c.maxAge)
			case "stale-if-error":
				c.staleIfError = deltaSeconds(arg, c.staleIfError)
			}
		}
	}
	return c
}

// deltaSeconds reads a directive's seconds; what is none leaves def.
func deltaSeconds(arg string, def time.Duration) time.Duration {
	n, err := strconv.ParseUint(strings.Trim(arg, `"`), 10, 31)
	if err != nil {
		return def
	}
	return time.Duration(n) * time.Second
}

// entryFormat opens every stored entry: another version's is a miss.
const entryFormat = "breakwater 1\n"

// encode writes an entry for a Store: format, checksum of the rest, metadata
// as one line of JSON, the body's bytes.
func (e *entry) encode() []byte {
	meta, _ := json.Marshal(e) // times and strings: cannot fail
	rest := append(append(meta, '\n'), e.body...)
	sum := sha256.Sum256(rest)
	return append(append([]byte(entryFormat), sum[:]...), rest...)
}

var errCorrupt = errors.New("breakwater: stored entry is not whole")

func decodeEntry(stored []byte) (*entry, error) {
	rest, ok := bytes.CutPrefix(stored, []byte(entryFormat))
	if !ok || len(rest) < sha256.Size {
		return nil, errCorrupt
	}
	sum, rest := rest[:sha256.Size], rest[sha256.Size:]
	if got := sha256.Sum256(rest); !bytes.Equal(got[:], sum) {
		return nil, errCorrupt
	}
	meta, body, ok := bytes.Cut(rest, []byte("\n"))
	e := &entry{body: bytes.Clone(body)}
	if !ok || json.Unmarshal(meta, e) != nil || e.Header == nil {
		return nil, errCorrupt
	}
	return e, nil
}
