// Package key makes the keys under which answers are kept. There is no key
// without a scope, which says who may share the answer: only a Scope makes
// keys, and the zero Scope makes none.
package key

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// A Scope says who may share an answer.
type Scope struct {
	id   [sha256.Size]byte
	kind byte // 0: nobody
}

// OfCredential is the scope of all who come with one credential, given as a
// digest of it.
func OfCredential(digest [sha256.Size]byte) Scope { return Scope{digest, 'c'} }

// OfName is a scope by the name that the application has for it. The empty
// name is nobody's: it is what a lookup that found no tenant gives.
func OfName(name string) Scope {
	if name == "" {
		return Scope{}
	}
	return Scope{sha256.Sum256([]byte(name)), 'n'}
}

// Shared reports whether callers of several credentials may be in the scope.
func (s Scope) Shared() bool { return s.kind == 'n' }

// A Key stands for one question in one scope. The zero Key stands for none.
type Key struct{ sum [sha256.Size]byte }

// String is the key in hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k.sum[:]) }

// A Form says how the question is spelt in a key, so that two forms never
// make one key.
type Form byte

const (
	Exact     Form = 'x' // as it came, byte for byte
	Canonical Form = 'c' // in its canonical form
)

// Key is SHA-256 over the scope, about and the question, each apart from the
// next. It reports false if the scope is nobody's.
func (s Scope) Key(form Form, about, question []byte) (Key, bool) {
	if s.kind == 0 {
		return Key{}, false
	}
	var room [1 << 10]byte // most have enough of it
	head := append(append(room[:0], byte(form), s.kind), s.id[:]...)
	head = append(binary.BigEndian.AppendUint64(head, uint64(len(about))), about...)
	h := sha256.New()
	h.Write(head)
	h.Write(question) // the last part needs no length
	var k Key
	h.Sum(k.sum[:0])
	return k, true
}

// Append appends a part of what a question is about to those before it, so
// that no two lists of parts make the same bytes.
func Append(about []byte, part string) []byte {
	return append(binary.AppendUvarint(about, uint64(len(part))), part...)
}
