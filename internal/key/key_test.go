package key

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

// Every part of what makes a key tells it apart, wherever one part ends and
// the next begins.
func TestKeysDiffer(t *testing.T) {
	digest := func(s string) Scope { return OfCredential(sha256.Sum256([]byte(s))) }
	parts := func(list ...string) (about []byte) {
		for _, p := range list {
			about = Append(about, p)
		}
		return about
	}
	long := fmt.Sprint(make([]int, 200))
	seen := make(map[Key]string)
	for _, scope := range []struct {
		name string
		of   Scope
	}{{"a's credential", digest("a")}, {"b's credential", digest("b")}, {"a by name", OfName("a")}, {"b by name", OfName("b")}} {
		for _, form := range []Form{Exact, Canonical} {
			for _, about := range [][]string{{}, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {long}, {long, "a"}} {
				for _, question := range []string{"", "a", "b", "ab", "\x01a", long} {
					what := fmt.Sprintf("%s, %c, %q, %q", scope.name, form, about, question)
					k, ok := scope.of.Key(form, parts(about...), []byte(question))
					if other, again := seen[k]; again || !ok || k == (Key{}) {
						t.Fatalf("Key(%s) = %v, %v, that of %s", what, k, ok, other)
					}
					seen[k] = what
					if again, _ := scope.of.Key(form, parts(about...), []byte(question)); again != k || len(k.String()) != 64 {
						t.Fatalf("Key(%s) = %v, then %v", what, k, again)
					}
				}
			}
		}
	}
}

func TestNobodysScopeMakesNoKey(t *testing.T) {
	for name, scope := range map[string]Scope{"zero": {}, "no name": OfName("")} {
		if k, ok := scope.Key(Exact, nil, []byte("q")); ok || k != (Key{}) {
			t.Errorf("%s: Key = %v, %v, want none", name, k, ok)
		}
	}
}

func TestKeyAllocatesNothing(t *testing.T) {
	scope, about, question := OfName("a"), Append(nil, "b"), make([]byte, 1<<10)
	if n := testing.AllocsPerRun(100, func() { scope.Key(Exact, about, question) }); n > 0 {
		t.Errorf("Key allocates %v times", n)
	}
}

// A fingerprint is the same for the same, and looks at the scope, what it is about, the
// length and the ends, but not at the middle.
func TestScope_Fingerprint(t *testing.T) {
	a, b := OfName("a"), OfName("b")
	question := func(first, middle, last string) []byte {
		return []byte(first + strings.Repeat("x", 300) + middle + strings.Repeat("x", 300) + last)
	}
	base := a.Fingerprint([]byte("about"), question("1", "2", "3"))
	for name, tt := range map[string]struct {
		print uint64
		same  bool
	}{
		"the same":         {a.Fingerprint([]byte("about"), question("1", "2", "3")), true},
		"another scope":    {b.Fingerprint([]byte("about"), question("1", "2", "3")), false},
		"about another":    {a.Fingerprint([]byte("other"), question("1", "2", "3")), false},
		"another begin":    {a.Fingerprint([]byte("about"), question("0", "2", "3")), false},
		"another end":      {a.Fingerprint([]byte("about"), question("1", "2", "0")), false},
		"another length":   {a.Fingerprint([]byte("about"), question("1", "22", "3")), false},
		"another middle":   {a.Fingerprint([]byte("about"), question("1", "0", "3")), true},
		"nothing is asked": {a.Fingerprint(nil, nil), false},
	} {
		if (tt.print == base) != tt.same {
			t.Errorf("%s: the fingerprint is the same: %v, want %v", name, !tt.same, tt.same)
		}
	}
}
