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
	// the prefixes /v1 and /beta, as api.deepseek.com does. [Server.WireURL] has
	// the base URLs of the other wires.
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
	// TLS makes the host speak HTTP/1.1 over TLS, at an https URL.
	TLS bool
	// HTTP2 makes the host speak HTTP/2 over TLS, at an https URL.
	HTTP2 bool
	// Dialect is the shape of errors and of a few fields.
	Dialect Dialect
	// Pace is how fast the host answers.
	Pace Pace
}

// DeepSeek is a host like api.deepseek.com.
func DeepSeek(name string) Host { return persona(name, DialectDeepSeek) }

// OpenAI is a host that speaks plain OpenAI below /v1.
func OpenAI(name string) Host { return persona(name, DialectOpenAI) }

// SiliconFlow is a host like api.siliconflow.cn.
func SiliconFlow(name string) Host { return persona(name, DialectSiliconFlow) }

// Ark is a host like Volcengine's ark.cn-beijing.volces.com.
func Ark(name string) Host { return persona(name, DialectArk) }

// Bailian is a host like Alibaba's dashscope.aliyuncs.com.
func Bailian(name string) Host { return persona(name, DialectBailian) }

// TokenHub is a host like Tencent's tokenhub.tencentmaas.com.
func TokenHub(name string) Host { return persona(name, DialectTokenHub) }

// Qianfan is a host like Baidu's qianfan.baidubce.com.
func Qianfan(name string) Host { return persona(name, DialectQianfan) }

// Azure is a host like Azure AI Foundry. Like every host here it takes the key
// from Authorization, api-key or x-api-key.
func Azure(name string) Host { return persona(name, DialectAzure) }

// OpenRouter is a host like openrouter.ai.
func OpenRouter(name string) Host { return persona(name, DialectOpenRouter) }

// Together is a host like api.together.ai.
func Together(name string) Host { return persona(name, DialectTogether) }

// Fireworks is a host like api.fireworks.ai.
func Fireworks(name string) Host { return persona(name, DialectFireworks) }

// Ollama is a local server of that name, which wants no key.
func Ollama(name string) Host { return local(name, DialectOllama) }

// VLLM is a server one runs oneself, which wants no key.
func VLLM(name string) Host { return local(name, DialectVLLM) }

// SGLang is a server one runs oneself, which wants no key.
func SGLang(name string) Host { return local(name, DialectSGLang) }

func persona(name string, d Dialect) Host {
	return Host{Name: name, BasePath: d.row().basePath, Dialect: d}
}

func local(name string, d Dialect) Host {
	h := persona(name, d)
	h.NoKey = true
	return h
}

// Personas returns one host of each kind, named like its constructor in lower
// case.
func Personas() []Host {
	var all []Host
	for _, one := range []func(string) Host{
		DeepSeek, OpenAI, SiliconFlow, Ark, Bailian, TokenHub, Qianfan, Azure,
		OpenRouter, Together, Fireworks, Ollama, VLLM, SGLang,
	} {
		host := one("")
		host.Name = strings.ToLower(host.Dialect.String())
		all = append(all, host)
	}
	return all
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
	if !h.Dialect.known() {
		return fmt.Errorf("breakwatertest: host %s: unknown dialect %d", h.Name, int(h.Dialect))
	}
	return nil
}
