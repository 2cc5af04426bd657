package breakwatertest

import (
	"fmt"
	"strings"
	"time"
)

// A Host describes one fake host: what it accepts and how fast it answers.
type Host struct {
	// Name appears in answers as system_fingerprint "fp_" + Name. It consists of
	// lower-case letters, digits and hyphens, since it is also a host name.
	Name string
	// BasePath is the path before /chat/completions. With an empty one, the host also
	// serves /v1 and /beta, like api.deepseek.com. [Server.WireURL] returns the base
	// URLs of the other wires.
	BasePath string
	// Models are the accepted model names. Empty: any.
	Models []string
	// Keys are the accepted API keys. Empty: any key, but not none.
	Keys []string
	// NoKey makes the host answer without a key.
	NoKey bool
	// Concurrency is how many answers per key and model may be under way. To further
	// requests the host answers 429. 0: no limit.
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

// DeepSeek returns a host like api.deepseek.com.
func DeepSeek(name string) Host { return persona(name, DialectDeepSeek) }

// OpenAI returns a host with OpenAI's own errors, below /v1.
func OpenAI(name string) Host { return persona(name, DialectOpenAI) }

// SiliconFlow returns a host like api.siliconflow.cn.
func SiliconFlow(name string) Host { return persona(name, DialectSiliconFlow) }

// Ark returns a host like Volcengine's ark.cn-beijing.volces.com.
func Ark(name string) Host { return persona(name, DialectArk) }

// Bailian returns a host like Alibaba's dashscope.aliyuncs.com.
func Bailian(name string) Host { return persona(name, DialectBailian) }

// TokenHub returns a host like Tencent's tokenhub.tencentmaas.com.
func TokenHub(name string) Host { return persona(name, DialectTokenHub) }

// Qianfan returns a host like Baidu's qianfan.baidubce.com.
func Qianfan(name string) Host { return persona(name, DialectQianfan) }

// Azure returns a host like Azure AI Foundry. Like every host here, it accepts the
// key in Authorization, api-key or x-api-key.
func Azure(name string) Host { return persona(name, DialectAzure) }

// OpenRouter returns a host like openrouter.ai.
func OpenRouter(name string) Host { return persona(name, DialectOpenRouter) }

// Together returns a host like api.together.ai.
func Together(name string) Host { return persona(name, DialectTogether) }

// Fireworks returns a host like api.fireworks.ai.
func Fireworks(name string) Host { return persona(name, DialectFireworks) }

// Ollama returns a host like an Ollama server, which needs no key.
func Ollama(name string) Host { return local(name, DialectOllama) }

// VLLM returns a host like a vLLM server, which needs no key.
func VLLM(name string) Host { return local(name, DialectVLLM) }

// SGLang returns a host like an SGLang server, which needs no key.
func SGLang(name string) Host { return local(name, DialectSGLang) }

func persona(name string, d Dialect) Host {
	return Host{Name: name, BasePath: d.row().BasePath, Dialect: d}
}

func local(name string, d Dialect) Host {
	h := persona(name, d)
	h.NoKey = true
	return h
}

// Personas returns one host of each kind. Its name is that of its constructor in
// lower case.
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

// Pace is the timing of an answer. Response headers are sent at once. Then the
// request is queued, with keep-alives. Then the host is silent until the first
// token, and tokens follow one by one. In a stream, half as many reasoning tokens
// come before the content, at the same pace. A JSON body comes after the time of
// all its content tokens.
type Pace struct {
	// Queue is how long keep-alives are sent before the model starts.
	Queue time.Duration
	// KeepAlive is the time between keep-alives. Default 1s.
	KeepAlive time.Duration
	// FirstToken is the silence after the queue.
	FirstToken time.Duration
	// PerToken is the time after each token.
	PerToken time.Duration
	// Tokens is the number of content deltas. Default 12. An answer has at most as
	// many deltas as characters.
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

// keepAlives returns how many keep-alives are sent while the request is queued. One
// that is due exactly at the end is still sent, so that Queue == KeepAlive sends one.
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
