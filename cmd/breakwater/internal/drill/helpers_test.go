package drill

import (
	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/chaos"
)

var breakwaterCache = breakwater.WithCache(breakwater.CachePolicy{})

// knownFaults are the names of the vocabulary.
func knownFaults() map[string]chaos.FaultInfo {
	all := make(map[string]chaos.FaultInfo)
	for _, f := range chaos.Faults() {
		all[string(f.Fault)] = f
	}
	return all
}
