package growth

import "testing"

// A recorder is a test that notes whether it failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

func TestLinear(t *testing.T) {
	sum := 0
	for name, tt := range map[string]struct {
		do   func(size int)
		want bool
	}{
		"linear": {func(size int) {
			for i := range 1000 * size {
				sum += i
			}
		}, true},
		"the square": {func(size int) {
			for i := range size {
				for j := range size {
					sum += i ^ j
				}
			}
		}, false},
	} {
		r := &recorder{TB: t}
		Linear(r, 100, tt.do)
		if r.failed == tt.want {
			t.Errorf("%s: failed %v, want %v", name, r.failed, !tt.want)
		}
	}
	t.Log(sum)
}
