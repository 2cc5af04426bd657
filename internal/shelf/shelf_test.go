package shelf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBounds(t *testing.T) {
	s := New[string, int, string](3, 100)
	holds := func(when string, want ...string) {
		t.Helper()
		keys := s.order.Keys()
		if !slices.Equal(keys, want) {
			t.Errorf("%s: holds %q, want %q", when, keys, want)
		}
	}
	s.Put("a", 1, 10)
	s.Put("b", 2, 10)
	s.Put("c", 3, 10)
	s.Get("a")
	s.Put("d", 4, 10)
	holds("a fourth value", "c", "a", "d")
	s.Put("e", 5, 85)
	holds("one that takes the room of others", "d", "e")
	s.Put("f", 6, 101)
	holds("one larger than all the room", "d", "e")
	s.Put("e", 7, 101)
	holds("one too large in another's place", "d")
	if values, bytes, evicted := s.Bounds(); values != 1 || bytes != 10 || evicted != 3 {
		t.Errorf("Bounds() = %d, %d, %d, want 1, 10, 3", values, bytes, evicted)
	}
}

func TestSpellings(t *testing.T) {
	s := New[string, int, string](0, 100)
	finds := func(when, spelt string, want int, note string) {
		t.Helper()
		key, value, got, ok := s.Find(spelt)
		if ok != (want != 0) || value != want || got != note || ok && key != "a" {
			t.Errorf("%s: Find(%q) = %q, %d, %q, %v, want %d, %q", when, spelt, key, value, got, ok, want, note)
		}
	}
	s.Spell("a", 0, "A", "early", 10)
	finds("of a value that is not there", "A", 0, "")
	s.Put("a", 1, 10)
	s.Spell("a", 0, "A", "first", 10)
	s.Spell("a", 1, "á", "second", 10)
	s.Spell("a", 0, "A", "again", 10)
	finds("a spelling", "A", 1, "first")
	finds("another", "á", 1, "second")
	s.Spell("a", 0, "ä", "third", 10)
	finds("one whose number another took", "A", 0, "")
	finds("that other", "ä", 1, "third")
	finds("none", "", 0, "")
	if _, bytes, _ := s.Bounds(); bytes != 30 {
		t.Errorf("a value with two spellings takes %d, want 30", bytes)
	}
	s.Put("b", 2, 80)
	finds("of a value that has gone", "ä", 0, "")
	if len(s.spellings) != 0 {
		t.Errorf("spellings without a value: %v", s.spellings)
	}
}

// Whatever is done, the sums are those of what is there.
func TestSumsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	s := New[string, int, int](20, 1000)
	key := func() string { return fmt.Sprint(random.IntN(40)) }
	for range 100_000 {
		switch k := key(); random.IntN(4) {
		case 0:
			s.Put(k, random.Int(), int64(random.IntN(200)))
		case 1:
			s.Spell(k, random.IntN(Spellings), k+"/"+fmt.Sprint(random.IntN(5)), 1, 7)
		case 2:
			s.Get(k)
		case 3:
			if of, _, _, ok := s.Find(k + "/1"); ok && of != k {
				t.Fatalf("Find(%s/1) finds %s", k, of)
			}
		}
		var bytes int64
		spellings := 0
		for _, v := range s.order.Values() {
			bytes += v.size
			for _, spelt := range v.spelt {
				if spelt != "" {
					spellings++
				}
			}
		}
		if bytes != s.bytes || bytes > 1000 || s.order.Len() > 20 || spellings != len(s.spellings) {
			t.Fatalf("%d bytes counted, %d there; %d values; %d spellings counted, %d there", s.bytes, bytes, s.order.Len(), spellings, len(s.spellings))
		}
	}
}
