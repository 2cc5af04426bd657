package store

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/header"
)

// A Selection says for which requests of one key an answer is, by the headers that its Vary
// names: RFC 9111, section 4.1. Most of them are in the key. The zero Selection is for all.
type Selection struct {
	Names  []string `json:",omitempty"` // of headers that are not in the key
	Digest string   `json:",omitempty"` // of their values; empty: there are none
}

// SelectionOf returns the selection of an answer to a request. Accept-Encoding does not
// count, because no host sees a caller's.
func SelectionOf(answer, request http.Header) (s Selection) {
	for name := range varying(answer) {
		if name != "Accept-Encoding" && header.IsIndifferent(name) && !slices.Contains(s.Names, name) {
			s.Names = append(s.Names, name)
		}
	}
	if s.Names != nil {
		slices.Sort(s.Names)
		s.Digest = digest(s.Names, request)
	}
	return s
}

// Has reports whether the answer is for a request with this header, too.
func (s Selection) Has(request http.Header) bool {
	return s.Names == nil || digest(s.Names, request) == s.Digest
}

// digest returns a digest of the values of some headers of a request, or "" if it has none
// of them.
func digest(names []string, request http.Header) string {
	var about []byte
	for i, name := range names {
		for spelled, values := range request {
			if textproto.CanonicalMIMEHeaderKey(spelled) != name {
				continue
			}
			line := strings.Join(values, ", ")
			about = binary.AppendUvarint(binary.AppendUvarint(about, uint64(i)), uint64(len(line)))
			about = append(about, line...)
		}
	}
	if about == nil {
		return ""
	}
	sum := sha256.Sum256(about)
	return hex.EncodeToString(sum[:16])
}

// varying yields the names in an answer's Vary, in canonical spelling; "*" is one.
func varying(answer http.Header) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name, lines := range answer {
			if !strings.EqualFold(name, "Vary") {
				continue
			}
			for _, line := range lines {
				for _, member := range list(line) {
					if !yield(textproto.CanonicalMIMEHeaderKey(member)) {
						return
					}
				}
			}
		}
	}
}
