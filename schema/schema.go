// Package schema checks whether JSON is of a JSON schema, for StreamPolicy.Schema of package
// breakwater:
//
//	breakwater.StreamPolicy{RequireFormat: true, Schema: schema.Check}
//
// The schema comes from whoever makes the call, and the text from a model, so both may be
// hostile. A check reads no file and no URL: a schema that refers to another document cannot be
// used. Sizes, depths, numbers, steps and time are bounded: see the constants.
//
// It is a module of its own, because it needs github.com/santhosh-tekuri/jsonschema/v6. Schemas
// without $schema are read as draft 2020-12. As there, format is no more than a remark.
package schema

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"
)

// The bounds of a check. What exceeds them is ErrTooComplex.
const (
	MaxSchema = 256 << 10              // bytes of a schema
	MaxParts  = 4000                   // objects and lists in a schema
	MaxText   = 8 << 20                // bytes of a text
	MaxDepth  = 128                    // levels of either
	MaxSteps  = 2_000_000              // pairs of a schema's part and a text's part that are compared
	MaxTime   = 250 * time.Millisecond // that a check takes
)

// The errors of Validate. Test for them with errors.Is.
var (
	// ErrMismatch means that the text is not of the schema.
	ErrMismatch = errors.New("schema: the text is not of the schema")
	// ErrUnusable means that the schema is none, or refers to another document.
	ErrUnusable = errors.New("schema: the schema cannot be used")
	// ErrTooComplex means that a bound was exceeded.
	ErrTooComplex = errors.New("schema: too large or too complex to be checked")
)

// Check returns an error if text is JSON that is not of the schema. If nobody can tell, because
// the schema cannot be used or a bound is exceeded, it returns nil: the answer is not at fault.
// For another rule, call Validate. Check is safe for concurrent use. Up to 64 schemas, of up to
// 1 MiB together, are kept for later checks.
func Check(schema, text []byte) error {
	if err := Validate(schema, text); errors.Is(err, ErrMismatch) {
		return err
	}
	return nil
}

// Validate returns nil if text is of the schema, and otherwise ErrMismatch, ErrUnusable or
// ErrTooComplex, with its cause. The text of the cause may quote the schema and the text.
func Validate(schema, text []byte) error { return shared.validate(schema, text) }

// shared keeps the schemas of all checks.
var shared = cache{entries: make(map[[sha256.Size]byte]*entry)}

const (
	maxEntries = 64
	maxBytes   = 1 << 20 // of the schemas in the cache
	maxIdle    = 4       // compiled forms of one schema that wait for their next use
)

// A cache keeps compiled schemas. The oldest leave first.
type cache struct {
	mu      sync.Mutex // guards what follows
	entries map[[sha256.Size]byte]*entry
	order   [][sha256.Size]byte // from the oldest
	bytes   int
}

// An entry is a schema that was used.
type entry struct {
	size int
	err  error       // it cannot be compiled
	idle []*compiled // each serves one check at a time
}

func (c *cache) validate(schema, text []byte) error {
	if len(schema) > MaxSchema || len(text) > MaxText {
		return fmt.Errorf("%w: %d bytes of schema, %d of text", ErrTooComplex, len(schema), len(text))
	}
	doc, err := decode(text)
	if err != nil {
		return err
	}
	key := sha256.Sum256(schema)
	s, err := c.take(key)
	if s == nil && err == nil {
		s, err = compile(schema)
	}
	defer c.put(key, len(schema), s, err)
	if err != nil {
		return err
	}
	return s.validate(doc)
}

// take returns a compiled form of a schema, or why there is none. Both are nil if the schema is
// not known, or all its forms are in use.
func (c *cache) take(key [sha256.Size]byte) (*compiled, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil || e.err != nil || len(e.idle) == 0 {
		if e != nil {
			return nil, e.err
		}
		return nil, nil
	}
	s := e.idle[len(e.idle)-1]
	e.idle = e.idle[:len(e.idle)-1]
	return s, nil
}

// put keeps a compiled form of a schema, or why there is none.
func (c *cache) put(key [sha256.Size]byte, size int, s *compiled, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[key]
	if e == nil {
		e = &entry{size: size, err: err}
		c.entries[key] = e
		c.order = append(c.order, key)
		c.bytes += size
		for len(c.order) > maxEntries || c.bytes > maxBytes {
			c.bytes -= c.entries[c.order[0]].size
			delete(c.entries, c.order[0])
			c.order = c.order[1:]
		}
	}
	if s != nil && len(e.idle) < maxIdle {
		e.idle = append(e.idle, s)
	}
}
