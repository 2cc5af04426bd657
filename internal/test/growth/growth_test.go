package growth

import (
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a test that notes whether it failed.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

// In virtual time work takes just as long as it says.
func TestLinear(t *testing.T) {
	for name, tt := range map[string]struct {
		do   func(size int)
		want bool
	}{
		"linear":     {func(size int) { time.Sleep(time.Duration(size) * time.Microsecond) }, true},
		"the square": {func(size int) { time.Sleep(time.Duration(size*size) * time.Microsecond) }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &recorder{TB: t}
			Linear(r, 100, tt.do)
			if r.failed == tt.want {
				t.Errorf("%s: failed %v, want %v", name, r.failed, !tt.want)
			}
		})
	}
}
