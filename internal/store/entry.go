package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A Format is the format that a request wants its answer in.
type Format int

// Stored entries contain these numbers.
const (
	JSON            Format = iota
	Stream                 // as events
	StreamWithUsage        // as events, one of which has the usage
	Unclear                // hosts may read the request in two ways: give the answer as it came
)

// IsStream reports whether a request with this format is given a stream. streamed says
// whether the answer came as one.
func (f Format) IsStream(streamed bool) bool {
	if f == Unclear {
		return streamed
	}
	return f != JSON
}

// An Entry is a stored answer. It must not be changed.
type Entry struct {
	Stored    time.Time
	Header    http.Header
	Endpoint  string // that gave the answer
	Asked     Format // the format that it was requested in
	Streamed  bool   // it came as events, else as JSON
	Usage     bool   // it contains its usage
	Selection        // for which requests of its key it is

	Print string `json:",omitempty"` // a fingerprint of the request, if the entry is kept under an idempotency key

	// What the host said about it.
	TTL     time.Duration `json:",omitempty"` // how long it is fresh; 0: it did not say
	NoStale bool          `json:",omitempty"` // it may not be used later

	Body []byte `json:"-"`
}

// Age returns the age of the answer. An answer from the future has age 0.
func (e *Entry) Age(now time.Time) time.Duration { return max(now.Sub(e.Stored), 0) }

// Size returns about how many bytes of memory the entry takes.
func (e *Entry) Size() int64 {
	n := len(e.Body) + len(e.Endpoint) + len(e.Print) + 512
	for _, name := range e.Names {
		n += len(name) + 16
	}
	for name, values := range e.Header {
		n += len(name) + 64
		for _, v := range values {
			n += len(v) + 16
		}
	}
	return int64(n)
}

// As returns the answer in the format that a request wants. It reports false if the answer
// cannot be converted, or lacks usage that the request needs. An answer that replaces a
// failure (standsIn) may lack it.
func (e *Entry) As(f Format, w wire.Wire, standsIn bool) (body []byte, ok bool) {
	switch {
	case f.IsStream(e.Streamed) == e.Streamed && (f == e.Asked || !e.Streamed):
		return e.Body, true // as it came
	case f == Stream && e.Streamed:
		return recast.DropUsageEvents(e.Body), true
	case f == StreamWithUsage && e.Streamed:
		return e.Body, e.Usage || standsIn
	case f == JSON && (e.Usage || standsIn):
		return recast.ToJSON(w, e.Body)
	case f == Stream, f == StreamWithUsage:
		return recast.ToStream(w, e.Body)
	}
	return nil, false
}

// entryFormat begins every stored entry. Entries of other versions are misses.
const entryFormat = "breakwater 3\n"

// Encode writes an entry for a Store: the version, a checksum, the metadata as one line of
// JSON, the body. The checksum covers the key and all that follows, so that an entry under
// another key is rejected.
func (e *Entry) Encode(key string) []byte {
	meta, _ := json.Marshal(e) // cannot fail: times, strings, numbers and flags
	rest := append(append(meta, '\n'), e.Body...)
	sum := checksum(key, rest)
	return append(append([]byte(entryFormat), sum[:]...), rest...)
}

func checksum(key string, rest []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	io.WriteString(h, key) // all keys have the same length
	h.Write(rest)
	h.Sum(sum[:0])
	return sum
}

const errCorrupt = outcome.Error("stored entry is not whole, or another's")

// maxSkew is how far another process's clock may be ahead of ours.
const maxSkew = time.Minute

// Decode reads the entry that a Store holds under key. It accepts an entry from the near
// future, because the clock of the process that stored it may be ahead of ours.
func Decode(key string, stored []byte, now time.Time) (*Entry, error) {
	rest, ok := bytes.CutPrefix(stored, []byte(entryFormat))
	if !ok || len(rest) < sha256.Size {
		return nil, errCorrupt
	}
	sum, rest := rest[:sha256.Size], rest[sha256.Size:]
	if got := checksum(key, rest); !bytes.Equal(got[:], sum) {
		return nil, errCorrupt
	}
	meta, body, ok := bytes.Cut(rest, []byte("\n"))
	e := &Entry{Body: bytes.Clone(body)}
	if !ok || json.Unmarshal(meta, e) != nil || e.Header == nil {
		return nil, errCorrupt
	}
	if e.Stored.After(now) {
		if e.Stored.Sub(now) > maxSkew {
			return nil, errCorrupt
		}
		e.Stored = now
	}
	return e, nil
}
