package chaos

import (
	"time"
)

// A Rule says which requests meet a fault, and when. Its fields have the same names in JSON
// and YAML; in JSON, durations are texts such as "30s".
type Rule struct {
	// Name identifies the rule in [Stats] and [Hit]. It must be unique. Default: the fault's
	// name, with a number if several rules have it.
	Name string `json:"name,omitempty" yaml:"name,omitempty"`
	// Fault is what happens: one of [Faults].
	Fault Fault `json:"fault" yaml:"fault"`
	// Match says which requests meet it. The zero Match is every request.
	Match Match `json:"match,omitzero" yaml:"match,omitempty"`

	// From and Until are when the rule acts, since it was set: by [New], [Injector.Set] or
	// [Injector.Add]. Until 0: for ever.
	From  time.Duration `json:"from,omitzero" yaml:"from,omitempty"`
	Until time.Duration `json:"until,omitzero" yaml:"until,omitempty"`
	// SinceStart counts From and Until since [New] instead.
	SinceStart bool `json:"since_start,omitempty" yaml:"since_start,omitempty"`
	// On and Off make the rule flap: from From on, it acts for On, rests for Off, and so on.
	// Set both or neither.
	On  time.Duration `json:"on,omitzero" yaml:"on,omitempty"`
	Off time.Duration `json:"off,omitzero" yaml:"off,omitempty"`

	// Skip lets the first requests pass that match while the rule acts. Every is n if only
	// every n-th of those after them meets the fault, beginning with the first; 0 and 1: each.
	Skip  int `json:"skip,omitempty" yaml:"skip,omitempty"`
	Every int `json:"every,omitempty" yaml:"every,omitempty"`
	// Probability is how likely each of these meets the fault, above 0 and up to 1.
	// [Config.Seed] decides which do. 0: all do.
	Probability float64 `json:"probability,omitempty" yaml:"probability,omitempty"`
	// Share is the share of prompts that meet the fault, above 0 and up to 1. It is decided by
	// a hash of [Config.Seed] and the request's body, so one request has the same fate each
	// time that it is sent. 0: all do.
	Share float64 `json:"share,omitempty" yaml:"share,omitempty"`
	// Times is how many requests meet the fault. 0: no limit.
	Times int `json:"times,omitempty" yaml:"times,omitempty"`

	// The arguments of the fault. [Faults] says which fault has which of them; any other is an
	// error.

	// Delay is how long a request waits before it is sent, or before it fails.
	Delay time.Duration `json:"delay,omitzero" yaml:"delay,omitempty"`
	// Queue is how long keep-alives come before the answer: one at once, and one for each
	// KeepAlive. Default of KeepAlive: 1s.
	Queue     time.Duration `json:"queue,omitzero" yaml:"queue,omitempty"`
	KeepAlive time.Duration `json:"keep_alive,omitzero" yaml:"keep_alive,omitempty"`
	// FirstToken is the silence before the first payload, and PerToken the time after each
	// event of a stream that has payload. JSON is only delayed by FirstToken.
	FirstToken time.Duration `json:"first_token,omitzero" yaml:"first_token,omitempty"`
	PerToken   time.Duration `json:"per_token,omitzero" yaml:"per_token,omitempty"`
	// BytesPerSecond is the speed of the response's body.
	BytesPerSecond int `json:"bytes_per_second,omitempty" yaml:"bytes_per_second,omitempty"`
	// After is how many events with payload of a stream come before the fault.
	After int `json:"after,omitempty" yaml:"after,omitempty"`
	// Status is the status of the response.
	Status int `json:"status,omitempty" yaml:"status,omitempty"`
	// RetryAfter is sent in Retry-After, in whole seconds, rounded up. 0: there is no such header.
	RetryAfter time.Duration `json:"retry_after,omitzero" yaml:"retry_after,omitempty"`
	// Limit is the number that a concurrency_limit names. Default 1.
	Limit int `json:"limit,omitempty" yaml:"limit,omitempty"`
	// Body and ContentType replace the body in the host's words.
	Body        string `json:"body,omitempty" yaml:"body,omitempty"`
	ContentType string `json:"content_type,omitempty" yaml:"content_type,omitempty"`
}

// A Match says which requests meet a rule. A request must fit every field; within a list, it
// must fit one. An empty list fits all.
type Match struct {
	// Endpoints are names of [Config.Endpoints].
	Endpoints []string `json:"endpoints,omitempty" yaml:"endpoints,omitempty"`
	// Hosts are hosts of the URL, such as "127.0.0.1:8080", "a.localhost" (with any port) or
	// "*.localhost" (all below it).
	Hosts []string `json:"hosts,omitempty" yaml:"hosts,omitempty"`
	// Models are the model of the request's body. A name that ends in "*" is a prefix.
	Models []string `json:"models,omitempty" yaml:"models,omitempty"`
	// Operations are "chat/completions", "completions", "responses", "messages",
	// "embeddings", or "other" for all other requests.
	Operations []string `json:"operations,omitempty" yaml:"operations,omitempty"`
	// Methods are HTTP methods, in upper case.
	Methods []string `json:"methods,omitempty" yaml:"methods,omitempty"`
	// Stream is true for requests for a stream, and false for other requests. Nil: both.
	Stream *bool `json:"stream,omitempty" yaml:"stream,omitempty"`
}
