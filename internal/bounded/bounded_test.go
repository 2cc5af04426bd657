package bounded

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A thing is a value that is worth what it says.
type thing struct {
	Worth
	used atomic.Int64
}

func (th *thing) worth() Worth {
	w := th.Worth
	w.Used = th.used.Load()
	return w
}

func newMap(most int) *Map[int, *thing] {
	return &Map[int, *thing]{Max: most, WorthOf: (*thing).worth}
}

func add(m *Map[int, *thing], key int, w Worth) *thing {
	v := m.GetOrAdd(key, func() *thing { return &thing{Worth: w} })
	m.Touch(&v.used)
	return v
}

// Whoever comes first adds; the others find what it added, and readers of an
// earlier All see no change.
func TestMap_AddsOnce(t *testing.T) {
	m := newMap(100)
	before := m.All()
	const keys = 20
	var got [8][keys]*thing
	var workers sync.WaitGroup
	for worker := range got {
		workers.Go(func() {
			for key := range keys {
				got[worker][key] = add(m, key, Worth{})
				if v, ok := m.Get(key); !ok || v != got[worker][key] {
					t.Errorf("worker %d: key %d is %p, %v just after it was added as %p", worker, key, v, ok, got[worker][key])
				}
			}
		})
	}
	workers.Wait()
	for worker := range got {
		if got[worker] != got[0] {
			t.Errorf("worker %d found other values than worker 0", worker)
		}
	}
	if len(before) != 0 || len(m.All()) != keys {
		t.Errorf("%d keys before and %d after, want 0 and %d", len(before), len(m.All()), keys)
	}
}

// What has been there for a while is found without the lock, and so is what is
// not there.
func TestMap_GetTakesNoLock(t *testing.T) {
	m := newMap(100)
	m.Get(1)
	for key := range 10 {
		add(m, key, Worth{})
	}
	for range 20 {
		m.Get(9)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range 12 {
		if _, ok := m.Get(key); ok != (key < 10) {
			t.Errorf("Get(%d) finds a value: %v", key, ok)
		}
	}
}

// A flood of new keys pays neither for a copy of the map nor for a look at all
// values each time.
func TestMap_FloodIsCheap(t *testing.T) {
	const most, keys = 800, 8000
	looks := 0
	m := &Map[int, int]{Max: most, WorthOf: func(int) Worth { looks++; return Worth{} }}
	var last *clone[int, int]
	clones := 0
	for key := range keys {
		m.GetOrAdd(key, func() int { return key })
		for range 3 {
			m.Get(key)
		}
		if c := m.clone.Load(); c != last {
			last = c
			clones++
		}
	}
	if rooms := keys / (most / 8); looks > rooms*most || clones > rooms+3*keys/(most/2)+20 {
		t.Errorf("%d keys: %d looks at values, %d copies", keys, looks, clones)
	}
	if n := len(m.All()); n > most {
		t.Errorf("%d values, want at most %d", n, most)
	}
}

// What was removed to make room is not found any more, even by those who read
// without the lock.
func TestMap_RemovedIsGone(t *testing.T) {
	m := newMap(16)
	for key := range 1000 {
		add(m, key, Worth{})
		found := 0
		for k := range key + 1 {
			if v, ok := m.Get(k); ok {
				found++
				if all := m.All(); all[k] != v {
					t.Fatalf("Get(%d) = %p, and All has %p", k, v, all[k])
				}
			}
		}
		if found > 16 {
			t.Fatalf("%d values are found, want at most 16", found)
		}
	}
}

// A value in use is not the one that goes, whoever uses it.
func TestMap_KeepsWhatIsUsed(t *testing.T) {
	m := newMap(80)
	mine := add(m, -1, Worth{})
	for key := range 10_000 {
		add(m, key, Worth{})
		if key%40 == 0 {
			if v := add(m, -1, Worth{}); v != mine {
				t.Fatalf("behind %d keys, what was used 40 keys ago is another", key)
			}
		}
	}
}

func TestMakeRoom(t *testing.T) {
	busy, open, known := Worth{Busy: true}, Worth{Open: true}, Worth{Known: true}
	used := func(n int64, w Worth) Worth { w.Used = n; return w }
	for _, tt := range []struct {
		name  string
		limit int
		all   map[string]Worth
		left  string
	}{
		{"there is room", 3, map[string]Worth{"a": {}, "b": {}}, "a b"},
		{"the longest unused goes", 3, map[string]Worth{"a": used(2, Worth{}), "b": used(1, Worth{}), "c": used(3, Worth{})}, "a c"},
		{"an unknown goes first", 3, map[string]Worth{"a": used(1, known), "b": used(2, Worth{}), "c": used(3, known)}, "a c"},
		{"a closed goes first", 3, map[string]Worth{"a": used(1, open), "b": used(9, Worth{}), "c": used(2, open)}, "a c"},
		{"of many open and few known, an open", 3, map[string]Worth{"a": used(1, open), "b": used(0, known), "c": used(2, open)}, "b c"},
		{"of many known and few open, a known", 3, map[string]Worth{"a": used(1, known), "b": used(0, open), "c": used(2, known)}, "b c"},
		{"a known that is open goes last", 3, map[string]Worth{"a": used(1, Worth{Open: true, Known: true}), "b": used(2, known), "c": used(3, known)}, "a c"},
		{"of the open, the longest unused", 3, map[string]Worth{"a": used(3, open), "b": used(2, open), "c": used(1, open)}, "a b"},
		{"the busy stay, above the limit, too", 3, map[string]Worth{"a": busy, "b": busy, "c": busy, "d": busy}, "a b c d"},
		{"all idle beyond the limit go", 2, map[string]Worth{"a": busy, "b": {}, "c": busy, "d": {}}, "a c"},
		{"an eighth goes at once", 16, sixteen(Worth{}), "02 03 04 05 06 07 08 09 10 11 12 13 14 15"},
		{"but no more than one that is open", 16, sixteen(open), "01 02 03 04 05 06 07 08 09 10 11 12 13 14 15"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			MakeRoom(tt.all, tt.limit, func(w Worth) Worth { return w })
			if left := strings.Join(slices.Sorted(maps.Keys(tt.all)), " "); left != tt.left {
				t.Errorf("left are %s, want %s", left, tt.left)
			}
		})
	}
}

// sixteen are values of a worth, the first one used longest ago.
func sixteen(w Worth) map[string]Worth {
	all := make(map[string]Worth)
	for n := range 16 {
		w.Used = int64(n)
		all[fmt.Sprintf("%02d", n)] = w
	}
	return all
}

func BenchmarkGet(b *testing.B) {
	m := newMap(100)
	for key := range 3 {
		add(m, key, Worth{})
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			v, _ := m.Get(1)
			m.Touch(&v.used)
		}
	})
}
