package lru

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestCache_Bounds(t *testing.T) {
	c := New[string, int, string](3, 100)
	holds := func(when string, want ...string) {
		t.Helper()
		keys := c.order.Keys()
		if !slices.Equal(keys, want) {
			t.Errorf("%s: holds %q, want %q", when, keys, want)
		}
	}
	c.Put("a", 1, 10)
	c.Put("b", 2, 10)
	c.Put("c", 3, 10)
	c.Get("a")
	c.Put("d", 4, 10)
	holds("a fourth value", "c", "a", "d")
	c.Put("e", 5, 85)
	holds("one that takes the room of others", "d", "e")
	c.Put("f", 6, 101)
	holds("one larger than all the room", "d", "e")
	c.Put("e", 7, 101)
	holds("one too large in another's place", "d")
	if values, bytes, evicted := c.Stats(); values != 1 || bytes != 10 || evicted != 3 {
		t.Errorf("Stats() = %d, %d, %d, want 1, 10, 3", values, bytes, evicted)
	}
}

func TestCache_Aliases(t *testing.T) {
	c := New[string, int, string](0, 100)
	finds := func(when, name string, want int, note string) {
		t.Helper()
		key, value, got, ok := c.GetByAlias(name)
		if ok != (want != 0) || value != want || got != note || ok && key != "a" {
			t.Errorf("%s: GetByAlias(%q) = %q, %d, %q, %v, want %d, %q", when, name, key, value, got, ok, want, note)
		}
	}
	c.AddAlias("a", 0, "A", "early", 10)
	finds("of a value that is not there", "A", 0, "")
	c.Put("a", 1, 10)
	c.AddAlias("a", 0, "A", "first", 10)
	c.AddAlias("a", 1, "á", "second", 10)
	c.AddAlias("a", 0, "A", "again", 10)
	finds("an alias", "A", 1, "first")
	finds("another", "á", 1, "second")
	c.AddAlias("a", 0, "ä", "third", 10)
	finds("one whose number another took", "A", 0, "")
	finds("that other", "ä", 1, "third")
	finds("none", "", 0, "")
	if _, bytes, _ := c.Stats(); bytes != 30 {
		t.Errorf("a value with two aliases takes %d, want 30", bytes)
	}
	c.Put("b", 2, 80)
	finds("of a value that has gone", "ä", 0, "")
	if len(c.aliases) != 0 {
		t.Errorf("aliases without a value: %v", c.aliases)
	}
}

// A fingerprint finds an alias until that goes. Its bytes count, up to a bound of their
// own.
func TestCache_Prints(t *testing.T) {
	c := New[string, int, string](0, 100)
	finds := func(when string, print uint64, want string) {
		t.Helper()
		name, key, value, note, ok := c.GetByPrint(print)
		if got := fmt.Sprint(name, key, value, note, ok); got != want {
			t.Errorf("%s: GetByPrint(%d) = %s, want %s", when, print, got, want)
		}
	}
	none := fmt.Sprint("", "", 0, "", false)
	c.SetPrint("A", 1, "early", 10, 50)
	finds("of an alias that is not there", 1, none)
	c.Put("a", 1, 10)
	c.AddAlias("a", 0, "A", "first", 10)
	c.AddAlias("a", 1, "á", "second", 10)
	c.SetPrint("A", 1, "with", 10, 50)
	finds("a fingerprint", 1, fmt.Sprint("A", "a", 1, "with", true))
	c.SetPrint("A", 2, "again", 10, 50)
	finds("a second one of the same alias", 2, none)
	c.SetPrint("á", 1, "same", 10, 50)
	finds("one that another alias has", 1, fmt.Sprint("A", "a", 1, "with", true))
	c.SetPrint("á", 2, "large", 41, 50)
	finds("one beyond the bound", 2, none)
	if _, bytes, _ := c.Stats(); bytes != 40 {
		t.Errorf("the value takes %d, want 40", bytes)
	}
	c.AddAlias("a", 0, "ä", "third", 10)
	finds("of an alias whose number another took", 1, none)
	c.SetPrint("ä", 3, "third", 50, 50)
	finds("as large as the bound", 3, fmt.Sprint("ä", "a", 1, "third", true))
	c.Put("b", 2, 80)
	finds("of a value that has gone", 3, none)
	if len(c.prints) != 0 || c.printed != 0 {
		t.Errorf("fingerprints without a value: %v, %d bytes", c.prints, c.printed)
	}
}

// Whatever is done, the sums are those of what is there.
func TestCache_SumsAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	c := New[string, int, int](20, 1000)
	key := func() string { return fmt.Sprint(random.IntN(40)) }
	for range 100_000 {
		switch k := key(); random.IntN(5) {
		case 0:
			c.Put(k, random.Int(), int64(random.IntN(200)))
		case 1:
			c.AddAlias(k, random.IntN(MaxAliases), k+"/"+fmt.Sprint(random.IntN(5)), 1, 7)
		case 2:
			c.Get(k)
		case 3:
			if of, _, _, ok := c.GetByAlias(k + "/1"); ok && of != k {
				t.Fatalf("GetByAlias(%s/1) finds %s", k, of)
			}
		case 4:
			name, print := k+"/"+fmt.Sprint(random.IntN(5)), uint64(random.IntN(30))
			may := c.MayPrint(name, print, 20, 200)
			c.SetPrint(name, print, 2, 20, 200)
			if found, of, _, note, ok := c.GetByPrint(print); may && c.prints[print] != "" && (!ok || found != name || of != k || note != 2) {
				t.Fatalf("GetByPrint(%d) finds %s of %s, %d, %v, want %s of %s", print, found, of, note, ok, name, k)
			}
		}
		var printed int64
		for print, name := range c.prints {
			if a := c.aliases[name]; a.print != print || a.size != 20 {
				t.Fatalf("fingerprint %d is %s's, which has %+v", print, name, a)
			}
			printed += 20
		}
		if printed != c.printed || printed > 200 {
			t.Fatalf("%d bytes of fingerprints counted, %d there", c.printed, printed)
		}
		var bytes int64
		aliases := 0
		for _, v := range c.order.Values() {
			bytes += v.size
			for _, name := range v.aliases {
				if name != "" {
					aliases++
				}
			}
		}
		if bytes != c.bytes || bytes > 1000 || c.order.Len() > 20 || aliases != len(c.aliases) {
			t.Fatalf("%d bytes counted, %d there; %d values; %d aliases counted, %d there", c.bytes, bytes, c.order.Len(), aliases, len(c.aliases))
		}
	}
}
