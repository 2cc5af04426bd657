package config

import (
	"math"
	"reflect"
	"strconv"
	"time"

	"github.com/breakwater-go/breakwater"
)

// defaults are what a field has that is not given, as the file would say it. Those of the
// library are compared with its source by a test.
var defaults = map[string]string{
	"Config.Strict": "false",
	"Config.Errors": "false",

	"Endpoint.Keyless":        "false",
	"Endpoint.AllowPlainHTTP": "false",
	"Endpoint.Weight":         "1",
	"Price.Currency":          "USD",

	"RetryPolicy.Attempts":      "3",
	"RetryPolicy.MinDelay":      "500ms",
	"RetryPolicy.MaxDelay":      "8s",
	"RetryPolicy.Patience":      "2s",
	"RetryPolicy.MaxRetryAfter": "1m",
	"RetryPolicy.Budget":        "0.2",
	"RetryPolicy.SendOnce":      "false",
	"RetryPolicy.MaxReplay":     "32MiB",

	"BalancePolicy.Affinity": "2KiB",
	"BalancePolicy.Overload": "1.25",
	"BalancePolicy.Ramp":     "10s",
	"BalancePolicy.Cheapest": "false",
	"BalancePolicy.Shift":    "off",

	"ProbePolicy.Every":        "1m",
	"ProbePolicy.BalanceEvery": "10m",
	"ProbePolicy.LowBalance":   "off",
	"ProbePolicy.Timeout":      "10s",

	"RatePolicy.PerSecond":       "off",
	"RatePolicy.TokensPerMinute": "off",
	"RatePolicy.InFlight":        "off",
	"RatePolicy.Adaptive":        "false",
	"RatePolicy.Fixed":           "false",
	"RatePolicy.MaxWait":         "5s",
	"RatePolicy.Spill":           "false",

	"BreakerPolicy.FailureRate": "0.5",
	"BreakerPolicy.MinRequests": "20",
	"BreakerPolicy.Window":      "1m",
	"BreakerPolicy.Consecutive": "5",
	"BreakerPolicy.OpenFor":     "5s",
	"BreakerPolicy.MaxOpenFor":  "5m",
	"BreakerPolicy.Probes":      "1",
	"BreakerPolicy.MaxWait":     "1s",

	"StreamPolicy.FirstToken":    "30s",
	"StreamPolicy.Thinking":      "5m",
	"StreamPolicy.Queued":        "1m",
	"StreamPolicy.Stall":         "1m",
	"StreamPolicy.Review":        "5m",
	"StreamPolicy.ToolWork":      "15m",
	"StreamPolicy.MinRate":       "off",
	"StreamPolicy.MinRateWindow": "30s",
	"StreamPolicy.Hedge":         "off",
	"StreamPolicy.HedgeBackup":   "false",
	"StreamPolicy.Rescue":        "continue",
	"StreamPolicy.ErrorFrames":   "false",
	"StreamPolicy.KeepComments":  "false",
	"StreamPolicy.MaxBuffer":     "8MiB",
	"StreamPolicy.Repetition":    "off",
	"StreamPolicy.RequireAnswer": "false",
	"StreamPolicy.RequireFormat": "false",
	"StreamPolicy.Schema":        "false",
	"StreamPolicy.KeepFlawed":    "false",

	"CachePolicy.TTL":                  "5m",
	"CachePolicy.StaleIfError":         "1h",
	"CachePolicy.StaleWhileRevalidate": "off",
	"CachePolicy.MaxEntries":           "1000",
	"CachePolicy.MaxBytes":             "64MiB",
	"CachePolicy.MaxEntryBytes":        "1MiB",
	"CachePolicy.Deterministic":        "false",

	"IdempotencyPolicy.TTL":           "24h",
	"IdempotencyPolicy.Linger":        "2m",
	"IdempotencyPolicy.MaxBytes":      "64MiB",
	"IdempotencyPolicy.MaxEntryBytes": "1MiB",

	"SpendPolicy.PerDay": "off",
	"SpendPolicy.Zone":   "UTC",
	"TenantPolicy.Zone":  "UTC",

	"Client.Priority": "default",
	"Client.Admin":    "false",

	"Server.Listen":      "127.0.0.1:8787",
	"Server.Drain":       "30s",
	"Server.AccessLog":   "true",
	"Server.Metrics":     "true",
	"Server.Status":      "true",
	"Limits.Connections": "10000",
	"Limits.Calls":       "10000",
	"Limits.Header":      "64KiB",
	"Limits.Body":        "32MiB",
	"Limits.Bodies":      "512MiB",
	"Limits.HeaderTime":  "10s",
	"Limits.BodyTime":    "30s",
	"Limits.WriteTime":   "1m",
	"Limits.IdleTime":    "2m",
}

// dependent are the defaults that depend on other fields of the policy. "" means that the field
// must not be given then.
var dependent = map[string]func(policy any) string{
	"RetryPolicy.MaxDelay": func(p any) string {
		return formatDuration(max(8*time.Second, p.(breakwater.RetryPolicy).MinDelay))
	},
	"BreakerPolicy.MaxOpenFor": func(p any) string {
		return formatDuration(max(5*time.Minute, p.(breakwater.BreakerPolicy).OpenFor))
	},
	"StreamPolicy.MinRateWindow": func(p any) string {
		if p.(breakwater.StreamPolicy).MinRate <= 0 {
			return ""
		}
		return "30s"
	},
	"CachePolicy.Scope": func(p any) string {
		if p.(breakwater.CachePolicy).Scope == nil {
			return "caller"
		}
		return "" // the program's own
	},
	"RatePolicy.Burst": func(p any) string {
		if rate := p.(breakwater.RatePolicy).PerSecond; rate > 0 {
			return strconv.Itoa(int(min(math.Ceil(rate), math.MaxInt32)))
		}
		return ""
	},
	"RatePolicy.MaxWait": func(p any) string {
		if r := p.(breakwater.RatePolicy); r.Fixed && r.PerSecond <= 0 && r.TokensPerMinute <= 0 && r.InFlight <= 0 && !r.Adaptive {
			return ""
		}
		return "5s"
	},
	"SpendPolicy.CheaperFrom": func(p any) string {
		if s := p.(breakwater.SpendPolicy); len(s.Cheaper) > 0 && s.PerDay > 0 {
			return formatFloat(s.PerDay * 4 / 5)
		}
		return ""
	},
}

// defaultOf returns the default of a field in a policy, or "" if it has none.
func defaultOf(field string, policy reflect.Value) string {
	if of := dependent[field]; of != nil && policy.CanInterface() {
		return of(policy.Interface())
	}
	return defaults[field]
}
