package breakwater

import (
	"math"
	"time"
)

// unlimited is a time that never passes.
const unlimited = time.Duration(math.MaxInt64)

// ofSeconds is a wait of so many seconds, up to the longest there is.
func ofSeconds(n float64) time.Duration {
	if n >= unlimited.Seconds() {
		return unlimited
	}
	return time.Duration(n * float64(time.Second))
}
