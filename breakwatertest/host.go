package breakwatertest

import (
	"fmt"
	"strings"
	"time"
)

// Host describes one fake host: what it accepts and how fast it answers.
type Host struct {
	// Name appears in answers as system_fingerprint "fp_" + Name. It may hold
	// lower-case letters, digits and hyphens, since it is also a host name.
	Name string
	// BasePath is what precedes /chat/completions. The empty path also accepts
	// the prefixes /v1 and /beta, as api.deepseek.com does.
	BasePath string
	// Models are the accepted model names; empty accepts any.
	Models []string
	// Keys are the accepted API keys; empty accepts any but the empty one.
	Keys []string
	// NoKey makes the host answer without a key.
	NoKey bool
	// Concurrency is the number of answers under way per key and model above
	// which the host says 429; 0 is no limit.
	Concurrency int
	// Dialect is the shape of errors and of a few fields.
	Dialect Dialect
	// Pace is how fast the host answers.
	Pace Pace
}

// Dialect is the way a host words its errors and extra fields.
type Dialect int

const (
	// DialectDeepSeek thinks by default and sends x-ds-trace-id.
	DialectDeepSeek Dialect = iota
	// DialectOpenAI answers an unknown model with 404 model_not_found.
	DialectOpenAI
	// DialectSiliconFlow has flat errors: {"code":…,"message":…,"data":null}.
	DialectSiliconFlow
)

// String names the dialect.
func (d Dialect) String() string {
	switch d {
	case DialectDeepSeek:
		return "DeepSeek"
	case DialectOpenAI:
		return "OpenAI"
	case DialectSiliconFlow:
		return "SiliconFlow"
	}
	return fmt.Sprintf("Dialect(%d)", int(d))
}

// DeepSeek is a host like api.deepseek.com.
func DeepSeek(name string) Host {
	return Host{Name: name, Dialect: DialectDeepSeek}
}

// OpenAI is a host that speaks plain OpenAI below /v1.
func OpenAI(name string) Host {
	return Host{Name: name, BasePath: "/v1", Dialect: DialectOpenAI}
}

// SiliconFlow is a host like api.siliconflow.cn.
func SiliconFlow(name string) Host {
	return Host{Name: name, BasePath: "/v1", Dialect: DialectSiliconFlow}
}

// Pace is the timing of an answer. Response headers are always sent at once.
// Then the request is queued, with keep-alives; then nothing comes until the
// first token; then tokens come one by one. Before a JSON body the time of all
// its content tokens passes. Reasoning tokens, half as many, come in streams
// only before the content, at the same pace.
type Pace struct {
	// Queue is how long keep-alives are sent before the model starts.
	Queue time.Duration
	// KeepAlive is the time between keep-alives, one second if zero.
	KeepAlive time.Duration
	// FirstToken is the silence after the queue.
	FirstToken time.Duration
	// PerToken is the time after each token.
	PerToken time.Duration
	// Tokens is the number of content deltas, 12 if zero. An answer has no more
	// deltas than characters.
	Tokens int
}

func (p Pace) withDefaults() Pace {
	if p.KeepAlive <= 0 {
		p.KeepAlive = time.Second
	}
	if p.Tokens <= 0 {
		p.Tokens = 12
	}
	return p
}

// keepAlives is how many keep-alives fit in the queue. A keep-alive due at the
// very end is still sent, so that Queue == KeepAlive shows one.
func (p Pace) keepAlives() int {
	return int(p.Queue / p.KeepAlive)
}

func (h Host) check() error {
	if h.Name == "" {
		return fmt.Errorf("breakwatertest: a host needs a name")
	}
	for _, c := range h.Name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("breakwatertest: host name %q: want lower-case letters, digits and hyphens", h.Name)
		}
	}
	if h.BasePath != "" && !strings.HasPrefix(h.BasePath, "/") {
		return fmt.Errorf("breakwatertest: host %s: base path %q does not begin with a slash", h.Name, h.BasePath)
	}
	if h.Dialect < DialectDeepSeek || h.Dialect > DialectSiliconFlow {
		return fmt.Errorf("breakwatertest: host %s: unknown dialect %d", h.Name, int(h.Dialect))
	}
	return nil
}
