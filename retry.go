package breakwater

import (
	"math"
	"time"
)

// unlimited is a time that never passes.
const unlimited = time.Duration(math.MaxInt64)
