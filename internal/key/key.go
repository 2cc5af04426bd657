// Package key makes the keys under which answers are cached. There is no key without a
// scope, which says who may share the answer: only a Scope makes keys, and the zero Scope
// makes none. The package is pure; the cache layer is its user.
package key

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"math/bits"
)

// A Scope says who may share an answer.
type Scope struct {
	id   [sha256.Size]byte
	kind byte // 0: nobody
}

// OfCredential returns the scope of all callers with one credential, given as its digest.
func OfCredential(digest [sha256.Size]byte) Scope { return Scope{digest, 'c'} }

// OfName returns the scope that the application has named. The empty name gives the zero
// Scope, because a failed look-up of a tenant returns it.
func OfName(name string) Scope {
	if name == "" {
		return Scope{}
	}
	return Scope{sha256.Sum256([]byte(name)), 'n'}
}

// Shared reports whether callers of several credentials may be in the scope.
func (s Scope) Shared() bool { return s.kind == 'n' }

// A Key identifies one question in one scope. The zero Key stands for none.
type Key struct{ sum [sha256.Size]byte }

// String returns the key in hexadecimal digits.
func (k Key) String() string { return hex.EncodeToString(k.sum[:]) }

// A Form says how a key spells its question, so that two forms never make the same key.
type Form byte

const (
	Exact     Form = 'x' // as it came, byte for byte
	Canonical Form = 'c' // in its canonical form
	Given     Form = 'i' // by an idempotency key, which the caller gave it
)

// Key returns the SHA-256 of the scope, about and the question, separated by their
// lengths. It reports false for the zero Scope.
func (s Scope) Key(form Form, about, question []byte) (Key, bool) {
	if s.kind == 0 {
		return Key{}, false
	}
	var room [1 << 10]byte // large enough for most
	head := append(append(room[:0], byte(form), s.kind), s.id[:]...)
	head = append(binary.BigEndian.AppendUint64(head, uint64(len(about))), about...)
	h := sha256.New()
	h.Write(head)
	h.Write(question) // the last part needs no length
	var k Key
	h.Sum(k.sum[:0])
	return k, true
}

// Fingerprint returns a number for what Key is made of, in much less time. It looks only at
// the ends of the question. Different questions may have the same fingerprint, and whoever
// knows the algorithm can make some, so it only tells where to look.
func (s Scope) Fingerprint(about, question []byte) uint64 {
	const end = 256 // bytes
	n := len(question)
	print := uint64(n)
	for _, part := range [...][]byte{s.id[:], about, question[:min(n, end)], question[max(n-end, 0):]} {
		print = bits.RotateLeft64(print, 17) ^ maphash.Bytes(seed, part)
	}
	return print
}

var seed = maphash.MakeSeed()

// Append appends a part to the description of a question, so that no two lists of parts
// make the same bytes.
func Append(about []byte, part string) []byte {
	return append(binary.AppendUvarint(about, uint64(len(part))), part...)
}
