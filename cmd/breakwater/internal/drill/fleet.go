package drill

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// personas are the kinds of hosts of an embedded fleet.
var personas = []struct {
	name string
	make func(string) kit.Host
	host breakwater.Host
}{
	{"deepseek", kit.DeepSeek, breakwater.HostDeepSeek},
	{"siliconflow", kit.SiliconFlow, breakwater.HostSiliconFlow},
	{"ark", kit.Ark, breakwater.HostVolcengine},
	{"bailian", kit.Bailian, breakwater.HostBailian},
	{"tokenhub", kit.TokenHub, breakwater.HostTokenHub},
	{"qianfan", kit.Qianfan, breakwater.HostQianfan},
	{"azure", kit.Azure, breakwater.HostAzure},
	{"openrouter", kit.OpenRouter, breakwater.HostOpenRouter},
	{"together", kit.Together, breakwater.HostTogether},
	{"fireworks", kit.Fireworks, breakwater.HostFireworks},
	{"ollama", kit.Ollama, breakwater.HostOllama},
	{"vllm", kit.VLLM, breakwater.HostVLLM},
	{"sglang", kit.SGLang, breakwater.HostSGLang},
	{"openai", kit.OpenAI, breakwater.HostOpenAI},
}

// Personas are the names of the kinds of hosts.
func Personas() []string {
	var names []string
	for _, p := range personas {
		names = append(names, p.name)
	}
	return names
}

// An embedded is a stage of fake hosts in this process.
type embedded struct {
	script    *Script
	fleet     *kit.Fleet
	transport *http.Transport
	faults    *breaker
	byAddr    map[string]string // host:port of a URL to the host's name
	watch     *kit.Expectation  // what the hosts think of the client; nil: they forget its requests
}

// Embedded returns a stage with the hosts of a script. fleet is [Loopback], or
// breakwatertest.NewPipeFleet within a synctest bubble.
func Embedded(s *Script, seed uint64, fleet func(...kit.Host) (*kit.Fleet, error)) (Stage, error) {
	var hosts []kit.Host
	for _, h := range s.Hosts {
		i := slices.Index(Personas(), h.Persona)
		host := personas[i].make(h.Name)
		host.Pace, host.Concurrency, host.HTTP2 = h.Pace, h.Concurrency, h.HTTP2
		if !host.NoKey {
			host.Keys = []string{keyOf(h.Name)}
		}
		hosts = append(hosts, host)
	}
	f, err := fleet(hosts...)
	if err != nil {
		return nil, fmt.Errorf("starting the fake hosts: %w", err)
	}
	e := &embedded{script: s, fleet: f, transport: f.Transport(), byAddr: make(map[string]string)}
	e.transport.MaxIdleConnsPerHost = 256
	for _, server := range f.Servers() {
		_, rest, _ := strings.Cut(server.URL(), "://")
		addr, _, _ := strings.Cut(rest, "/")
		e.byAddr[addr] = server.Name()
	}
	if s.isSmall() {
		// Where questions come again, a prompt says nothing of how often a call was made.
		client := kit.Client{}
		if s.Load.Repeat > 0 {
			client.MaxAttempts = -1
		}
		e.watch = f.Expect(nil, client)
	}
	if e.faults, err = newBreaker(seed, false, e.endpoints(), e.HostOf); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Loopback starts fake hosts on free ports of this machine, for [Embedded].
func Loopback(hosts ...kit.Host) (*kit.Fleet, error) { return kit.NewFleet(hosts...) }

func keyOf(host string) string { return "sk-drill-" + host }

// endpoints are the hosts as endpoints of breakwater.
func (e *embedded) endpoints() (all []breakwater.Endpoint) {
	for _, h := range e.script.Hosts {
		p := personas[slices.Index(Personas(), h.Persona)]
		endpoint := breakwater.Endpoint{Name: h.Name, URL: e.fleet.Server(h.Name).URL(), Host: p.host, APIKey: keyOf(h.Name)}
		if p.make(h.Name).NoKey {
			endpoint.APIKey, endpoint.Keyless = "", true
		}
		all = append(all, endpoint)
	}
	return all
}

func (e *embedded) Options() []breakwater.Option {
	opts := slices.Concat(e.script.Policies, []breakwater.Option{breakwater.WithBase(e.Bare())})
	for i, endpoint := range e.endpoints() {
		if e.script.Hosts[i].Backup {
			opts = append(opts, breakwater.WithBackup(endpoint))
		} else {
			opts = append(opts, breakwater.WithEndpoints(endpoint))
		}
	}
	return opts
}

func (e *embedded) Bare() http.RoundTripper { return e.faults.middleware(e.transport) }

func (e *embedded) Request(ctx context.Context, model string, q question) (*http.Request, error) {
	first := e.script.Hosts[0].Name
	return q.wire.Request(ctx, e.fleet.Server(first).WireURL(q.wire), keyOf(first), model, q.prompt, q.stream)
}

func (e *embedded) Model(name string) string { return name }

func (e *embedded) HostOf(req *http.Request) string { return e.byAddr[req.URL.Host] }

func (e *embedded) Hosts() []string {
	var names []string
	for _, h := range e.script.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// Break breaks the host itself where it can. chaos does the rest.
func (e *embedded) Break(a Act) error {
	server := e.fleet.Server(a.Host)
	if a.Rule.Fault == chaos.Slow && !a.someOnly() && a.Rule.KeepAlive == 0 {
		server.SetPace(slower(e.host(a.Host).Pace, a.Rule))
		return nil
	}
	if f, ok := hostFault(a); ok {
		server.Break(f)
		return nil
	}
	return e.faults.Break(a)
}

func (e *embedded) Heal(a Act) {
	e.faults.Heal(a)
	server := e.fleet.Server(a.Host)
	server.SetPace(e.host(a.Host).Pace)
	server.Heal()
}

func (e *embedded) Knows() bool { return true }

func (e *embedded) Close() {
	e.transport.CloseIdleConnections()
	e.fleet.Close()
}

func (e *embedded) host(name string) Host {
	return e.script.Hosts[slices.IndexFunc(e.script.Hosts, func(h Host) bool { return h.Name == name })]
}

// mostKept is how many characters of prompts the hosts keep to judge their client.
const mostKept = 64 << 20

// isSmall reports whether hosts may keep all requests of the drill.
func (s *Script) isSmall() bool {
	calls, atOnce := s.Load.calls(s.Duration)
	if s.Load.Callers > 0 {
		calls = atOnce * int(s.Duration/max(s.Load.Pause, 10*time.Millisecond))
	}
	return int64(calls)*int64(s.Load.Prompt.Most) <= mostKept && calls <= mostKept/1000
}

// forget drops what the hosts keep of their requests, if nobody looks at it.
func (e *embedded) forget() {
	if e.watch != nil {
		return
	}
	for _, server := range e.fleet.Servers() {
		server.Forget()
	}
}

// complaints are what the hosts think of the client.
func (e *embedded) complaints() (all []Complaint) {
	if e.watch == nil {
		return nil
	}
	for _, f := range e.watch.Findings() {
		i := slices.IndexFunc(all, func(c Complaint) bool { return c.Host == f.Host && c.What == string(f.Fail) })
		if i < 0 {
			i, all = len(all), append(all, Complaint{Host: f.Host, What: string(f.Fail)})
		}
		all[i].Times++
	}
	return all
}

func slower(p kit.Pace, r chaos.Rule) kit.Pace {
	p.Queue += r.Queue
	p.FirstToken += r.FirstToken
	p.PerToken += r.PerToken
	return p
}
