package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A pair is a Store with two clients, as in two processes. The tests set with one
// client and get with the other.
type pair struct {
	reporter
	one, other breakwater.Store
}

const (
	patience = time.Minute // the longest time that a call of the Store may take
	anHour   = time.Hour   // how long most entries are kept
)

var errLate = fmt.Errorf("no return within %v", patience)

// timely runs a call and returns errLate if it does not return in time.
func timely(call func() error) error {
	returned := make(chan error, 1)
	go func() { returned <- call() }()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case err := <-returned:
		return err
	case <-late.C:
		return errLate
	}
}

func (p *pair) get(ctx context.Context, key string) ([]byte, error) {
	p.Helper()
	var entry []byte
	err := timely(func() (err error) {
		entry, err = p.other.Get(ctx, key)
		return err
	})
	if err == errLate {
		p.Fatalf("Get: %v", err)
	}
	return entry, err
}

func (p *pair) set(ctx context.Context, key string, entry []byte, keep time.Duration) error {
	p.Helper()
	err := timely(func() error { return p.one.Set(ctx, key, entry, keep) })
	if err == errLate {
		p.Fatalf("Set: %v", err)
	}
	return err
}

// keeps sets an entry. An error ends the test.
func (p *pair) keeps(key string, entry []byte, keep time.Duration) {
	p.Helper()
	if err := p.set(p.Context(), key, entry, keep); err != nil {
		p.Fatalf("Set of %d bytes for %v = %v, want no error", len(entry), keep, err)
	}
}

// finds checks that Get returns the entry.
func (p *pair) finds(key string, want []byte, when string) {
	p.Helper()
	if got, err := p.get(p.Context(), key); err != nil {
		p.Fatalf("%s: Get = %v, want the entry", when, err)
	} else if !bytes.Equal(got, want) {
		p.Errorf("%s: Get returned %s", when, unlike(got, want))
	}
}

// unlike describes how got differs from want.
func unlike(got, want []byte) string {
	switch {
	case got == nil:
		return fmt.Sprintf("nil, as if there were none, want the entry of %d bytes", len(want))
	case len(got) != len(want):
		return fmt.Sprintf("%d bytes, want the entry of %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Sprintf("bytes that are not the entry: byte %d of %d is %#02x, want %#02x", i, len(got), got[i], want[i])
		}
	}
	return "the entry"
}

// newKey returns a key like breakwater's: 64 hexadecimal digits.
func newKey() string { return hex.EncodeToString(newEntry(32)) }

// newEntry returns an entry of n random bytes.
func newEntry(n int) []byte {
	entry := make([]byte, n)
	rand.Read(entry) // never fails
	return entry
}
