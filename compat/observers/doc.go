// Package observers tests that all observers of breakwater tell the same of the same calls: the
// log, Prometheus, OpenTelemetry, slo.Tracker and the status page. It has no code of its own.
package observers
