package breakwater

import (
	"sync/atomic"
	"time"
)

// A Status is a snapshot of a Transport.
type Status struct {
	Calls     int64 // inference calls begun
	Failed    int64 // that no endpoint and no cache answered, while their callers waited
	Attempts  int64 // sent, those for the cache's renewals and for rescues included
	Endpoints []EndpointStatus
	Cache     CacheStatus
}

// An EndpointStatus is how one endpoint stands.
type EndpointStatus struct {
	Name     string
	URL      string // without what could hold a key
	Tier     int    // 0 is the first
	Circuits []CircuitStatus
	Limits   []LimitStatus
	Pauses   []PauseStatus
}

// A CircuitStatus is how the circuit of one model stands.
type CircuitStatus struct {
	Model string
	State string    // closed, half-open, open
	Until time.Time // when an open circuit may be probed
}

// A LimitStatus is how the limits of one model of the endpoint's account stand.
type LimitStatus struct {
	Model             string
	InFlight, Waiting int
}

// A PauseStatus is a pause of the endpoint or its account.
type PauseStatus struct {
	Model string // empty: all
	Until time.Time
}

// A CacheStatus counts what the cache holds and did.
type CacheStatus struct {
	Entries   int
	Bytes     int64
	Hits      int64 // calls answered while the answer was fresh
	Stale     int64 // and past that
	Shared    int64 // that shared another's attempt
	Misses    int64 // that went on to the endpoints
	Stores    int64
	Evictions int64
}

type counts struct{ calls, failed, attempts atomic.Int64 }
