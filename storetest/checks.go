package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// miss checks that Get returns nil without an error for a key that was never set, and
// the entry once it is set.
func (p *pair) miss() {
	key := newKey()
	for range 2 {
		switch got, err := p.get(p.Context(), key); {
		case err != nil:
			p.Fatalf("Get of a key that was never set = %v, want no error: a miss is nil, nil", err)
		case got != nil && len(got) == 0:
			p.Fatalf("Get of a key that was never set returned an empty entry, want nil: breakwater takes an empty one for damaged")
		case got != nil:
			p.Fatalf("Get of a key that was never set returned %d bytes, want nil", len(got))
		}
	}
	entry := newEntry(100)
	p.keeps(key, entry, anHour)
	p.finds(key, entry, "set after it was missed")
}

// bytes checks that an entry comes back unchanged, whatever bytes it has. No entry is
// empty, because breakwater never sets an empty one.
func (p *pair) bytes() {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, tt := range []struct {
		name  string
		entry []byte
	}{
		{"one byte", []byte("x")},
		{"a zero", []byte{0}},
		{"all values of a byte", all},
		{"zeros at both ends", []byte("\x00\x00entry\x00\x00")},
		{"space at both ends", []byte(" \t\r\nentry\r\n\t ")},
		{"what is no UTF-8", []byte("\xff\xfe\xc3\x28\xed\xa0\x80")},
		{"what reads like JSON", []byte(`"\u0041\n"`)},
		{"what reads like a number", []byte("007")},
		{"64 KiB", newEntry(64 << 10)},
		// MaxEntryBytes is 1 MiB unless set, and header and checksum come on top.
		{"1 MiB and what goes with it", newEntry(1<<20 + 64<<10)},
	} {
		key := newKey()
		p.keeps(key, tt.entry, anHour)
		p.finds(key, tt.entry, tt.name)
	}
}

// copies checks that the Store and its callers share no memory.
func (p *pair) copies() {
	key, neighbor := newKey(), newKey()
	entry, others := newEntry(1000), newEntry(1000)
	given := bytes.Clone(entry)
	p.keeps(key, given, anHour)
	clear(given)
	p.finds(key, entry, "after the slice given to Set was written to")

	first, err := p.get(p.Context(), key)
	if err != nil {
		p.Fatalf("Get = %v, want the entry", err)
	}
	held := bytes.Clone(first)
	p.keeps(key, newEntry(1000), anHour)
	if !bytes.Equal(first, held) {
		p.Errorf("the slice that Get returned changed when the key was set again")
	}

	p.keeps(key, entry, anHour)
	p.keeps(neighbor, others, anHour)
	got, err := p.get(p.Context(), key)
	if err != nil {
		p.Fatalf("Get = %v, want the entry", err)
	}
	clear(got[:cap(got)])
	p.finds(key, entry, "after the slice returned by Get was written to")
	p.finds(neighbor, others, "after the slice returned by Get for another key was written to, to its capacity")
}

// overwrite checks that the latest entry replaces the one before, whether it is longer,
// shorter or the same.
func (p *pair) overwrite() {
	key := newKey()
	same := newEntry(100)
	for i, entry := range [][]byte{newEntry(100), newEntry(10_000), newEntry(10), same, same} {
		p.keeps(key, entry, anHour)
		p.finds(key, entry, fmt.Sprintf("set %d times", i+1))
	}
}

// keys checks that keys that differ in one digit are different keys, and that no key
// is lost among many.
func (p *pair) keys() {
	kept := make(map[string][]byte)
	key := []byte(newKey())
	for i, digit := range key {
		key[i] = "123456789abcdef0"[bytes.IndexByte([]byte("0123456789abcdef"), digit)]
		kept[string(key)] = newEntry(100)
		key[i] = digit
	}
	kept[string(key)] = newEntry(100)
	for range 300 {
		kept[newKey()] = newEntry(1000)
	}
	for key, entry := range kept {
		p.keeps(key, entry, anHour)
	}
	wrong := 0
	for key, entry := range kept {
		got, err := p.get(p.Context(), key)
		if err != nil {
			p.Fatalf("Get of one key of %d = %v, want its entry", len(kept), err)
		}
		if !bytes.Equal(got, entry) {
			wrong++
		}
	}
	if wrong > 0 {
		p.Errorf("%d of %d keys, some alike but for a digit, do not have their own entry", wrong, len(kept))
	}
}

// keep checks that an entry is there until keep has passed. A Store may forget it
// later, or never.
func (p *pair) keep() {
	entry := newEntry(100)
	for _, keep := range []time.Duration{1, time.Microsecond, 1500 * time.Microsecond} {
		p.keeps(newKey(), entry, keep) // even such a short time is no error
	}
	for _, tt := range []struct {
		name string
		keep time.Duration
	}{
		{"kept for 60 days", 60 * 24 * time.Hour}, // memcached takes more than 30 days for a date
		{"kept for 100 years", 100 * 365 * 24 * time.Hour},
		{"kept for the longest Duration", math.MaxInt64},
	} {
		key := newKey()
		p.keeps(key, entry, tt.keep)
		p.finds(key, entry, tt.name)
	}

	again, whole := newKey(), newKey()
	p.keeps(again, entry, 100*time.Millisecond)
	p.keeps(again, entry, anHour)
	const keep = 1900 * time.Millisecond // a Store may round it up, but not down
	start := time.Now()
	p.keeps(whole, entry, keep)
	looks := time.NewTicker(10 * time.Millisecond)
	defer looks.Stop()
	for range looks.C {
		got, err := p.get(p.Context(), whole)
		passed := time.Since(start)
		if passed >= keep {
			break // the Store may have forgotten it before Get returned
		}
		if err != nil || !bytes.Equal(got, entry) {
			p.Fatalf("kept for %v: after %v Get returned %s, error %v", keep, passed, unlike(got, entry), err)
		}
	}
	p.finds(again, entry, "set for 100ms, then for an hour, nearly two seconds ago")
}

// contextDone checks calls whose context is done. They must either return an error or
// do what they should, and they must not harm later calls.
func (p *pair) contextDone() {
	canceled, cancel := context.WithCancel(p.Context())
	cancel()
	late, cancel := context.WithDeadline(p.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
	}{{"in a cancelled context", canceled}, {"past the context's deadline", late}} {
		key, entry := newKey(), newEntry(100)
		p.keeps(key, entry, anHour)
		if got, err := p.get(tt.ctx, key); err == nil && !bytes.Equal(got, entry) {
			p.Errorf("%s: Get returned %s, without an error", tt.name, unlike(got, entry))
		}
		p.finds(key, entry, "after a Get "+tt.name)
		next := newEntry(100)
		if err := p.set(tt.ctx, key, next, anHour); err == nil {
			p.finds(key, next, "after a Set without an error "+tt.name)
		} else {
			p.findsAny(key, "after a Set "+tt.name, entry, next)
		}
		another := newKey() // a Set that was given up may still take effect, so key is not used again
		p.keeps(another, entry, anHour)
		p.finds(another, entry, "set after a Set "+tt.name)
	}
}

// cancelUnderWay checks calls whose context ends while they are under way. Such a call
// must not leave a reply on a connection that another call takes for its own. It must
// not keep a connection or a lock, either.
func (p *pair) cancelUnderWay() {
	const rounds = 64 // in each round, the context ends a little later
	kept := make(map[string][]byte)
	var keys []string
	for range 8 {
		key, entry := newKey(), newEntry(10_000)
		kept[key], keys = entry, append(keys, key)
		p.keeps(key, entry, anHour)
	}
	start := time.Now()
	for _, key := range keys {
		p.finds(key, kept[key], "before anything was given up")
	}
	took := time.Since(start) / time.Duration(len(keys))

	for i := range rounds {
		wait := took * time.Duration(2*i) / rounds
		key, next := keys[i%len(keys)], keys[(i+1)%len(keys)]
		ctx, cancel := context.WithTimeout(p.Context(), wait)
		if got, err := p.get(ctx, key); err == nil && !bytes.Equal(got, kept[key]) {
			p.Errorf("a Get that was given up under way returned %s, without an error", unlike(got, kept[key]))
		}
		cancel()
		p.finds(next, kept[next], "after a Get of another key was given up under way")

		fresh, before, after := newKey(), newEntry(10_000), newEntry(10_000)
		p.keeps(fresh, before, anHour)
		ctx, cancel = context.WithTimeout(p.Context(), wait)
		if err := p.set(ctx, fresh, after, anHour); err == nil {
			p.finds(fresh, after, "after a Set without an error, given up under way or not")
		} else {
			p.findsAny(fresh, "after a Set was given up under way", before, after)
		}
		cancel()
		p.finds(next, kept[next], "after a Set of another key was given up under way")
	}
}

// findsAny gets an entry. It must be one of those, or there must be none.
func (p *pair) findsAny(key, when string, those ...[]byte) {
	p.Helper()
	got, err := p.get(p.Context(), key)
	if err != nil {
		p.Fatalf("%s: Get = %v, want no error", when, err)
	}
	for _, entry := range those {
		if got == nil || bytes.Equal(got, entry) {
			return
		}
	}
	p.Errorf("%s: Get returned %d bytes, want the entry before or after it, or none", when, len(got))
}

// concurrent checks that concurrent calls do not mix up entries or parts of them.
func (p *pair) concurrent() {
	const callers, rounds = 16, 25
	common := newKey()
	whole := make(map[string]bool) // read only, from here on
	var own [callers]string
	var entries [callers][]byte
	for i := range entries {
		own[i], entries[i] = newKey(), newEntry(10_000+i)
		whole[string(entries[i])] = true
	}
	call := func(key string, entry []byte) error {
		if err := p.one.Set(p.Context(), key, entry, anHour); err != nil {
			return fmt.Errorf("a Set = %w, want no error", err)
		}
		if got, err := p.other.Get(p.Context(), key); err != nil || !bytes.Equal(got, entry) {
			return fmt.Errorf("a Get returned %s, error %v", unlike(got, entry), err)
		}
		if err := p.one.Set(p.Context(), common, entry, anHour); err != nil {
			return fmt.Errorf("a Set of a key that others set = %w, want no error", err)
		}
		if got, err := p.other.Get(p.Context(), common); err != nil || !whole[string(got)] {
			return fmt.Errorf("a Get of a key that others set returned %d bytes, error %v, want one of the entries set, whole", len(got), err)
		}
		return nil
	}
	for range rounds {
		var errs [callers]error
		if err := timely(func() error {
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() { errs[i] = call(own[i], entries[i]) })
			}
			all.Wait()
			return nil
		}); err != nil {
			p.Fatalf("%d callers at once: %v", callers, err)
		}
		if err := errors.Join(errs[:]...); err != nil {
			p.Fatalf("%d callers at once: %v", callers, err)
		}
	}
}
