package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A recorder takes down what a check reports, in place of a testing.T.
type recorder struct {
	ctx context.Context

	mu    sync.Mutex // guards what follows
	texts []string
}

func (*recorder) Helper()                    {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// reports runs a check in virtual time and returns what it reports. The Stores
// that open returns may hang until the channel it is given is closed.
func reports(t *testing.T, name string, open func(released <-chan struct{}) (one, other breakwater.Store)) (texts string) {
	t.Helper()
	for _, c := range checks {
		if c.name != name {
			continue
		}
		synctest.Test(t, func(t *testing.T) {
			released, done := make(chan struct{}), make(chan struct{})
			r := &recorder{ctx: t.Context()}
			one, other := open(released)
			go func() {
				defer close(done)
				c.run(&pair{reporter: r, one: one, other: other})
			}()
			<-done
			close(released)
			<-time.After(time.Minute) // for what has been hanging
			r.mu.Lock()
			defer r.mu.Unlock()
			texts = strings.Join(r.texts, "\n")
		})
		return texts
	}
	t.Fatalf("there is no check %s", name)
	return ""
}

// A fake is a Store that does as it should. get, set and keep, where given,
// take its place: they may break what they like. It forgets at the very moment
// it may, and takes its time, unless its context is done before.
type fake struct {
	get func(f *fake, ctx context.Context, key string) ([]byte, error)
	set func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error

	released <-chan struct{}
	takes    time.Duration

	mu    sync.Mutex // guards what follows
	all   map[string]kept
	calls int
	down  bool
	last  string
	reply []byte
}

type kept struct {
	entry []byte
	until time.Time
}

var errGone = errors.New("no such entry")

func (f *fake) Get(ctx context.Context, key string) ([]byte, error) {
	if f.get != nil {
		return f.get(f, ctx, key)
	}
	return f.soundGet(ctx, key)
}

func (f *fake) Set(ctx context.Context, key string, entry []byte, keep time.Duration) error {
	if f.set != nil {
		return f.set(f, ctx, key, entry, keep)
	}
	return f.soundSet(ctx, key, entry, keep)
}

func (f *fake) soundGet(ctx context.Context, key string) ([]byte, error) {
	if err := f.work(ctx); err != nil {
		return nil, err
	}
	return bytes.Clone(f.peek(key)), nil
}

func (f *fake) soundSet(ctx context.Context, key string, entry []byte, keep time.Duration) error {
	if err := f.work(ctx); err != nil {
		return err
	}
	f.poke(key, bytes.Clone(entry), keep)
	return nil
}

// work is what a call takes.
func (f *fake) work(ctx context.Context) error {
	if err := ctx.Err(); err != nil || f.takes == 0 {
		return err
	}
	select {
	case <-time.After(f.takes):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// peek returns the very bytes that are kept.
func (f *fake) peek(key string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k, ok := f.all[key]; ok && time.Now().Before(k.until) {
		return k.entry
	}
	return nil
}

// poke keeps those very bytes.
func (f *fake) poke(key string, entry []byte, keep time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = make(map[string]kept)
	}
	f.all[key] = kept{entry, time.Now().Add(keep)}
}

// meets reports whether another call is under way, and yields until one has
// had every chance to be.
func (f *fake) meets() (others bool, leave func()) {
	f.mu.Lock()
	f.calls++
	others = f.calls > 1
	f.mu.Unlock()
	for range 1000 {
		runtime.Gosched()
	}
	return others, func() {
		f.mu.Lock()
		f.calls--
		f.mu.Unlock()
	}
}

// In real time: the race detector's runtime does not bear many timers at once in
// virtual time (golang/go#78156).
func TestSoundStorePasses(t *testing.T) {
	for name, takes := range map[string]time.Duration{"at once": 0, "in a millisecond": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			Run(t, func(*testing.T) breakwater.Store { return &fake{takes: takes} })
		})
	}
}

// What one of two Stores keeps the other does not have.
func TestTwoStoresAreNotOne(t *testing.T) {
	for _, c := range checks {
		texts := reports(t, c.name, func(<-chan struct{}) (one, other breakwater.Store) { return &fake{}, &fake{} })
		if texts == "" {
			t.Errorf("%s passes with two Stores for one", c.name)
		}
	}
}

type (
	getter = func(f *fake, ctx context.Context, key string) ([]byte, error)
	setter = func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error
)

// lying returns a Get that gives another entry than the one kept.
func lying(lie func(entry []byte) []byte) getter {
	return func(f *fake, ctx context.Context, key string) ([]byte, error) {
		entry, err := f.soundGet(ctx, key)
		if entry != nil {
			entry = lie(entry)
		}
		return entry, err
	}
}

// keeping returns a Set that keeps for another time than it is told to.
func keeping(other func(time.Duration) time.Duration) setter {
	return func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
		return f.soundSet(ctx, key, entry, other(keep))
	}
}

// by returns a Get and a Set that take one key for another.
func by(other func(string) string) (getter, setter) {
	return func(f *fake, ctx context.Context, key string) ([]byte, error) { return f.soundGet(ctx, other(key)) },
		func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			return f.soundSet(ctx, other(key), entry, keep)
		}
}

// Every check fails the Stores it is there for, and says why.
func TestBrokenStoresFail(t *testing.T) {
	getHalfKey, setHalfKey := by(func(key string) string { return key[:32] })
	getDigitLess, setDigitLess := by(func(key string) string { return key[1:] })
	getOneForAll, setOneForAll := by(func(string) string { return "" })
	failing := make(map[string]bool)
	for _, tt := range []struct {
		check, name string
		store       *fake
		want        string // in what is reported
	}{
		{"Miss", "a miss is an error", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			if f.peek(key) == nil {
				return nil, errGone
			}
			return f.soundGet(ctx, key)
		}}, "a miss is nil, nil"},
		{"Miss", "a miss is empty", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			return append([]byte{}, f.peek(key)...), nil
		}}, "takes an empty one for damaged"},
		{"Miss", "there is always something", &fake{get: func(*fake, context.Context, string) ([]byte, error) {
			return []byte("something"), nil
		}}, "returned 9 bytes, want nil"},
		{"Miss", "misses are remembered", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			if f.last == key {
				return nil, nil
			}
			f.last = key
			return f.soundGet(ctx, key)
		}}, "set after it was missed: Get returned nil"},

		{"Bytes", "ends at a zero", &fake{get: lying(func(e []byte) []byte { before, _, _ := bytes.Cut(e, []byte{0}); return before })}, "a zero: Get returned 0 bytes"},
		{"Bytes", "trims space", &fake{get: lying(bytes.TrimSpace)}, "space at both ends: "},
		{"Bytes", "takes it for text", &fake{get: lying(func(e []byte) []byte { return bytes.ToValidUTF8(e, []byte("?")) })}, "no UTF-8: "},
		{"Bytes", "seven bits", &fake{get: lying(func(e []byte) []byte {
			for i := range e {
				e[i] &= 0x7f
			}
			return e
		})}, "all values of a byte: Get returned bytes that are not the entry: byte 128 of 256 is 0x00, want 0x80"},
		{"Bytes", "a number", &fake{get: lying(func(e []byte) []byte { return bytes.TrimLeft(e, "0") })}, "like a number: "},
		{"Bytes", "unquotes", &fake{get: lying(func(e []byte) []byte { return bytes.Trim(e, `"`) })}, "like JSON: "},
		{"Bytes", "room for 64 KiB less one", &fake{get: lying(func(e []byte) []byte { return e[:min(len(e), 1<<16-1)] })}, "64 KiB: "},
		{"Bytes", "refuses more than 1 MiB", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if len(entry) > 1<<20 {
				return errors.New("too large")
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "= too large, want no error"},

		{"Copies", "keeps the slice given", &fake{set: func(f *fake, _ context.Context, key string, entry []byte, keep time.Duration) error {
			f.poke(key, entry, keep)
			return nil
		}}, "after the slice given to Set was written to"},
		{"Copies", "gives the slice kept", &fake{get: func(f *fake, _ context.Context, key string) ([]byte, error) { return f.peek(key), nil }},
			"after the slice returned by Get was written to: "},
		{"Copies", "writes over the slice it gave", &fake{
			get: func(f *fake, _ context.Context, key string) ([]byte, error) { return f.peek(key), nil },
			set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
				if old := f.peek(key); len(old) == len(entry) {
					copy(old, entry)
					return nil
				}
				return f.soundSet(ctx, key, entry, keep)
			}}, "changed when the key was set again"},
		{"Copies", "gives a part of what it holds", &fake{
			get: func(f *fake, _ context.Context, key string) ([]byte, error) { return f.peek(key), nil },
			set: func(f *fake, _ context.Context, key string, entry []byte, keep time.Duration) error {
				if f.reply == nil {
					f.reply = make([]byte, 0, 1<<20)
				}
				at := len(f.reply)
				f.reply = append(f.reply, entry...)
				f.poke(key, f.reply[at:len(f.reply):cap(f.reply)], keep)
				return nil
			}}, "Get for another key"},

		{"Overwrite", "the first stays", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if f.peek(key) != nil {
				return nil
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "set 2 times: "},
		{"Overwrite", "the end of a longer one stays", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			old := bytes.Clone(f.peek(key))
			return f.soundSet(ctx, key, append(bytes.Clone(entry), old[min(len(old), len(entry)):]...), keep)
		}}, "set 3 times: Get returned 10000 bytes, want the entry of 10"},
		{"Overwrite", "the same again is an error", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if bytes.Equal(f.peek(key), entry) {
				return errors.New("not modified")
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "= not modified, want no error"},

		{"Keys", "half a key", &fake{get: getHalfKey, set: setHalfKey}, "keys, some alike but for a digit, do not have their own entry"},
		{"Keys", "a digit less", &fake{get: getDigitLess, set: setDigitLess}, "1 of 365 keys"},
		{"Keys", "one for all", &fake{get: getOneForAll, set: setOneForAll}, "364 of 365 keys"},
		{"Keys", "room for 300", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			f.mu.Lock()
			full := len(f.all) >= 300
			f.mu.Unlock()
			if full {
				return nil
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "65 of 365 keys"},

		{"Keep", "refuses less than a millisecond", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if keep < time.Millisecond {
				return errors.New("invalid expire time")
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "for 1ns = invalid expire time"},
		{"Keep", "refuses parts of a millisecond", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if keep > time.Millisecond && keep%time.Millisecond != 0 && keep < time.Second {
				return errors.New("not an integer")
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "for 1.5ms = not an integer"},
		{"Keep", "rounds down to seconds", &fake{set: keeping(func(d time.Duration) time.Duration { return d.Truncate(time.Second) })}, "kept for 1.9s: after 1s"},
		{"Keep", "a little less", &fake{set: keeping(func(d time.Duration) time.Duration { return d - d/100 })}, "kept for 1.9s: after 1.89s"},
		{"Keep", "not a day more than 30", &fake{set: keeping(func(d time.Duration) time.Duration {
			if d > 30*24*time.Hour {
				return 0
			}
			return d
		})}, "kept for 60 days: Get returned nil"},
		{"Keep", "seconds in 31 bits", &fake{set: keeping(func(d time.Duration) time.Duration {
			return time.Duration(int32(d/time.Second))*time.Second + d%time.Second
		})}, "kept for 100 years: Get returned nil"},
		{"Keep", "nanoseconds overflow", &fake{set: keeping(func(d time.Duration) time.Duration {
			return time.Until(time.Unix(0, time.Now().UnixNano()+int64(d)))
		})}, "kept for the longest Duration: Get returned nil"},
		{"Keep", "the first keep stays", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			f.mu.Lock()
			k, ok := f.all[key]
			f.mu.Unlock()
			if ok {
				keep = time.Until(k.until)
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "set for 100ms, then for an hour"},

		{"ContextDone", "Get hangs", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			if ctx.Err() != nil {
				<-f.released
			}
			return f.soundGet(ctx, key)
		}}, "Get: no return within 1m0s"},
		{"ContextDone", "Set hangs", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if ctx.Err() == context.DeadlineExceeded {
				<-f.released
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "Set: no return within 1m0s"},
		{"ContextDone", "Get says there is nothing", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			if ctx.Err() != nil {
				return nil, nil
			}
			return f.soundGet(ctx, key)
		}}, "in a cancelled context: Get returned nil, as if there were none"},
		{"ContextDone", "Set says it is kept", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if ctx.Err() == nil {
				f.soundSet(ctx, key, entry, keep)
			}
			return nil
		}}, "after a Set without an error past the context's deadline: "},
		{"ContextDone", "Set keeps half", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			if ctx.Err() != nil {
				f.poke(key, entry[:len(entry)/2], keep)
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "after a Set in a cancelled context: Get returned 50 bytes"},
		{"ContextDone", "down ever after", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			if f.down = f.down || ctx.Err() != nil; f.down {
				return nil, errors.New("closed")
			}
			return f.soundGet(ctx, key)
		}}, "after a Get in a cancelled context: Get = closed"},

		{"CancelUnderWay", "the reply waits for the next", &fake{takes: time.Millisecond, get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			reply := f.reply
			f.reply = bytes.Clone(f.peek(key)) // which comes in any case
			if err := f.work(ctx); err != nil {
				return nil, err
			}
			if reply == nil {
				reply, f.reply = f.reply, nil
			}
			return reply, nil
		}}, "after a Get of another key was given up under way: Get returned bytes that are not the entry"},
		{"CancelUnderWay", "a lock is not let go of", &fake{takes: time.Millisecond, get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			if f.down {
				<-f.released
			}
			err := f.work(ctx)
			f.down = err != nil && ctx.Err() != nil
			return bytes.Clone(f.peek(key)), err
		}}, "Get: no return within 1m0s"},
		{"CancelUnderWay", "Get says there is nothing", &fake{takes: time.Millisecond, get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			entry, _ := f.soundGet(ctx, key)
			return entry, nil
		}}, "a Get that was given up under way returned nil, as if there were none"},
		{"CancelUnderWay", "Set says it is kept", &fake{takes: time.Millisecond, set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			f.soundSet(ctx, key, entry, keep)
			return nil
		}}, "after a Set without an error, given up under way or not"},
		{"CancelUnderWay", "Set keeps half", &fake{takes: time.Millisecond, set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			f.poke(key, bytes.Clone(entry[:len(entry)/2]), keep)
			return f.soundSet(ctx, key, entry, keep)
		}}, "after a Set was given up under way: Get returned 5000 bytes"},
		{"CancelUnderWay", "what is given up takes all with it", &fake{takes: time.Millisecond, set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			err := f.soundSet(ctx, key, entry, keep)
			if err != nil {
				f.mu.Lock()
				clear(f.all)
				f.mu.Unlock()
			}
			return err
		}}, "after a Set of another key was given up under way: Get returned nil"},

		{"Concurrent", "one Get at a time", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			others, leave := f.meets()
			defer leave()
			if others {
				return nil, errors.New("busy")
			}
			return f.soundGet(ctx, key)
		}}, "error busy"},
		{"Concurrent", "one Set at a time", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			others, leave := f.meets()
			defer leave()
			if others {
				return errors.New("busy")
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "Set = busy"},
		{"Concurrent", "two at once hang", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			others, leave := f.meets()
			defer leave()
			if others {
				<-f.released
			}
			return f.soundSet(ctx, key, entry, keep)
		}}, "callers at once: no return within 1m0s"},
		{"Concurrent", "one buffer for all", &fake{get: func(f *fake, ctx context.Context, key string) ([]byte, error) {
			f.mu.Lock()
			f.last = key
			f.mu.Unlock()
			_, leave := f.meets()
			leave()
			f.mu.Lock()
			last := f.last
			f.mu.Unlock()
			return f.soundGet(ctx, last)
		}}, "Get returned "},
		{"Concurrent", "in two halves", &fake{set: func(f *fake, ctx context.Context, key string, entry []byte, keep time.Duration) error {
			half := len(entry) / 2
			f.poke(key, bytes.Clone(entry[:half]), keep)
			_, leave := f.meets()
			leave()
			f.poke(key, append(bytes.Clone(f.peek(key)), entry[half:]...), keep)
			return nil
		}}, "want one of the entries set, whole"},

		{"Transport", "keeps nothing", &fake{set: func(*fake, context.Context, string, []byte, time.Duration) error { return nil }}, "the first has kept the answer"},
		{"Transport", "one for all", &fake{get: getOneForAll, set: setOneForAll}, "stored entry is not whole, or another's"},
		{"Transport", "damages what it keeps", &fake{get: lying(func(e []byte) []byte { e[len(e)-1] ^= 1; return e })}, "stored entry is not whole"},
		{"Transport", "refuses", &fake{set: func(*fake, context.Context, string, []byte, time.Duration) error { return errors.New("no") }}, "could not use the Store: breakwater: error of type *errors.errorString (no)"},
		{"Transport", "slow", &fake{takes: 300 * time.Millisecond}, "did not answer in time"},
	} {
		failing[tt.check] = true
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			texts := reports(t, tt.check, func(released <-chan struct{}) (one, other breakwater.Store) {
				tt.store.released = released
				return tt.store, tt.store
			})
			if !strings.Contains(texts, tt.want) {
				t.Errorf("reported:\n%s\nwant in it %q", texts, tt.want)
			}
		})
	}
	for _, c := range checks {
		if !failing[c.name] {
			t.Errorf("no Store fails %s", c.name)
		}
	}
}
