package idempotency

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/store"
)

func TestKeyOf(t *testing.T) {
	for name, tt := range map[string]struct {
		h    http.Header
		want string
		err  string // part of it
	}{
		"none":               {http.Header{"Accept": {"x"}}, "", ""},
		"no header":          {nil, "", ""},
		"an empty list":      {http.Header{"Idempotency-Key": {}}, "", ""},
		"a key":              {http.Header{"Idempotency-Key": {"k"}}, "k", ""},
		"space around it":    {http.Header{"Idempotency-Key": {" k\t"}}, "k", ""},
		"a structured field": {http.Header{"Idempotency-Key": {`"k"`}}, `"k"`, ""},
		"another spelling":   {http.Header{"idempotency-KEY": {"k"}}, "k", ""},
		"another header":     {http.Header{"X-Idempotency-Key": {"k"}, "Idempotency-Keys": {"k"}, "Idempotency_Key": {"k"}}, "", ""},
		"empty":              {http.Header{"Idempotency-Key": {""}}, "", "is empty"},
		"two":                {http.Header{"Idempotency-Key": {"k", "k"}}, "", "has 2 fields"},
		"two spellings":      {http.Header{"Idempotency-Key": {"k"}, "idempotency-key": {"k"}}, "", "has 2 fields"},
		"a line":             {http.Header{"Idempotency-Key": {"k\r\nX: y"}}, "k\r\nX: y", "printable"},
		"255":                {http.Header{"Idempotency-Key": {strings.Repeat("k", 255)}}, strings.Repeat("k", 255), ""},
		"256":                {http.Header{"Idempotency-Key": {strings.Repeat("k", 256)}}, strings.Repeat("k", 256), "has 256 bytes"},
	} {
		got, err := KeyOf(tt.h)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %q, %v, want %q, %q", name, got, err, tt.want, tt.err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, id := range []string{"", "k", "\x00", "\u00e9", strings.Repeat("k", 300), "%s%n"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		err := Check(id)
		if good := id != "" && len(id) <= 255 && strings.Trim(id, printable) == ""; good != (err == nil) {
			t.Errorf("Check(%q) = %v", id, err)
		}
		if err != nil && len(id) > 8 && strings.Contains(err.Error(), id) {
			t.Errorf("the error quotes %q", id)
		}
	})
}

var printable = func() string {
	var b strings.Builder
	for c := byte(' '); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}()

func callOf(id, request string) Call {
	scope := key.OfName("test")
	var c Call
	c.ID, _ = scope.Key(key.Given, nil, []byte(id))
	c.Print, _ = scope.Key(key.Canonical, nil, []byte(request))
	return c
}

func entry(text string) *store.Entry {
	return &store.Entry{Body: []byte(text), Header: http.Header{}, Stored: time.Now()}
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, ctx := New(time.Hour, 0, nil), t.Context()
		first := callOf("k", "q")
		if e, err := a.Get(ctx, first); e != nil || err != nil || a.Has(first) {
			t.Errorf("before there is one: %v, %v", e, err)
		}
		old := entry("one")
		old.Stored, old.TTL, old.NoStale = time.Now().Add(-time.Hour), time.Second, true
		if !a.Put(ctx, first, old) || a.Put(ctx, first, entry("two")) || old.Print != "" {
			t.Error("the first answer does not stay, or was changed")
		}
		if e, err := a.Get(ctx, first); err != nil || string(e.Body) != "one" || a.TTL(e) != time.Hour || e.TTL != 0 || e.NoStale {
			t.Errorf("%+v, %v, want the first for an hour", e, err)
		}
		if e, err := a.Get(ctx, callOf("k", "other")); e != nil || err != ErrReused || !a.Has(callOf("k", "other")) {
			t.Errorf("another request: %v, %v", e, err)
		}
		if e, err := a.Get(ctx, callOf("k2", "q")); e != nil || err != nil {
			t.Errorf("another key: %v, %v", e, err)
		}
		time.Sleep(time.Hour)
		if e, err := a.Get(ctx, callOf("k", "other")); e != nil || err != nil || !a.Put(ctx, callOf("k", "other"), entry("three")) {
			t.Errorf("after an hour: %v, %v, want nothing", e, err)
		}
		off := New(0, 0, nil)
		if off.Put(ctx, first, entry("one")) || off.Has(first) {
			t.Error("something is kept for no time")
		}
	})
}

// The memory is bounded by bytes, however many keys there are.
func TestAnswers_Bounded(t *testing.T) {
	a := New(time.Hour, 100_000, nil)
	for i := range 10_000 {
		a.Put(t.Context(), callOf(string(rune('a'+i%26))+strings.Repeat("x", i/26), "q"), entry("x"))
	}
	if values, bytes, evicted := a.Stats(); bytes > 100_000 || values > 200 || int(evicted) != 10_000-values {
		t.Errorf("%d answers of %d bytes, %d evicted", values, bytes, evicted)
	}
	if a.Put(t.Context(), callOf("large", "q"), entry(strings.Repeat("x", 200_000))); a.Has(callOf("large", "q")) {
		t.Error("an answer is kept that is larger than all memory")
	}
}

type memory struct {
	mu  sync.Mutex
	all map[string][]byte
}

func (m *memory) Get(_ context.Context, id string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[id], nil
}

func (m *memory) Set(_ context.Context, id string, entry []byte, _ time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all[id] = entry
	return nil
}

// What is in the Store is for the same key and request, and no older than TTL. What the cache
// keeps there is no answer to a key.
func TestAnswers_Store(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{all: make(map[string][]byte)}
		process := func() *Answers {
			return New(time.Hour, 0, store.NewGuard(m, store.Hooks{
				Go:      func(task func(context.Context)) bool { go task(t.Context()); return true },
				OnError: func(_ context.Context, err error) { t.Error(err) },
			}))
		}
		c, ctx := callOf("k", "q"), t.Context()
		process().Put(ctx, c, entry("one"))
		synctest.Wait()
		other := process()
		if e, err := other.Get(ctx, c); err != nil || e == nil || string(e.Body) != "one" || other.Put(ctx, c, entry("two")) {
			t.Errorf("another process has %+v, %v", e, err)
		}
		if e, err := process().Get(ctx, callOf("k", "other")); e != nil || err != ErrReused {
			t.Errorf("another request: %v, %v", e, err)
		}
		cached := callOf("cached", "q")
		m.all[cached.ID.String()] = entry("of the cache").Encode(cached.ID.String())
		if e, err := process().Get(ctx, cached); e != nil || err != nil {
			t.Errorf("an entry without a fingerprint: %v, %v", e, err)
		}
		time.Sleep(time.Hour)
		if e, err := process().Get(ctx, c); e != nil || err != nil {
			t.Errorf("an hour later: %v, %v", e, err)
		}
	})
}
