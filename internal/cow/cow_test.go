package cow

import (
	"sync"
	"testing"
)

// Whoever comes first adds; the others find what it added, and readers of an
// earlier map see no change.
func TestUpdateAddsOnce(t *testing.T) {
	var m Map[int, *int]
	before := m.All()
	const keys = 20
	var got [8][keys]*int
	var workers sync.WaitGroup
	for worker := range got {
		workers.Go(func() {
			for key := range keys {
				v, ok := m.Get(key)
				if !ok {
					v = m.Update(key, func(all map[int]*int) *int {
						all[key] = new(int)
						return all[key]
					})
				}
				got[worker][key] = v
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
