package chaos

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/dialect"
	"github.com/breakwater-go/breakwater/internal/host"
)

// An endpoint is what a breakwater.Endpoint says that is needed here.
type endpoint struct {
	name  string
	url   *url.URL
	words dialect.Dialect
}

func endpointOf(e breakwater.Endpoint) (endpoint, error) {
	u, err := url.Parse(e.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return endpoint{name: e.Name}, fmt.Errorf("chaos: the endpoint %q needs an absolute URL, such as https://api.deepseek.com", e.Name)
	}
	name := e.Name
	if name == "" {
		name = u.Host
	}
	return endpoint{name, u, wordsOf(e.Host, u)}, nil
}

// endpointFor returns the endpoint whose URL fits a request best, or nil.
func (i *Injector) endpointFor(u *url.URL) *endpoint {
	var best *endpoint
	for at := range i.endpoints {
		e := &i.endpoints[at]
		if !strings.EqualFold(e.url.Scheme, u.Scheme) || !strings.EqualFold(authority(e.url), authority(u)) {
			continue
		}
		if base := strings.TrimRight(e.url.Path, "/"); u.Path != base && !strings.HasPrefix(u.Path, base+"/") {
			// Other paths of the host, such as that of Messages, are the endpoint's, too.
			if best == nil {
				best = e
			}
			continue
		}
		if best == nil || len(e.url.Path) > len(best.url.Path) || !strings.HasPrefix(u.Path, best.url.Path) {
			best = e
		}
	}
	return best
}

// authority returns the host and port of a URL.
func authority(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// dialectOf says whose words an error has that answers a request.
func (i *Injector) dialectOf(req *http.Request) dialect.Dialect {
	if e := i.endpointFor(req.URL); e != nil {
		return e.words
	}
	return wordsOf("", req.URL)
}

// wordsOf returns the dialect of a host, whose name may be given, or of what is known of the
// URL's domain.
func wordsOf(name breakwater.Host, u *url.URL) dialect.Dialect {
	if name == "" {
		name = breakwater.Host(host.OfDomain(u.Hostname()).Name)
	}
	switch name {
	case breakwater.HostDeepSeek:
		return dialect.DeepSeek
	case breakwater.HostSiliconFlow:
		return dialect.SiliconFlow
	case breakwater.HostVolcengine:
		return dialect.Ark
	case breakwater.HostBailian:
		return dialect.Bailian
	case breakwater.HostTokenHub, breakwater.HostTencent:
		return dialect.TokenHub
	case breakwater.HostQianfan:
		return dialect.Qianfan
	case breakwater.HostAzure:
		return dialect.Azure
	case breakwater.HostOpenRouter:
		return dialect.OpenRouter
	case breakwater.HostTogether:
		return dialect.Together
	case breakwater.HostFireworks:
		return dialect.Fireworks
	case breakwater.HostOllama:
		return dialect.Ollama
	case breakwater.HostVLLM:
		return dialect.VLLM
	case breakwater.HostSGLang:
		return dialect.SGLang
	}
	return dialect.OpenAI
}

// checkHost returns what is wrong with a pattern of hosts.
func checkHost(pattern string) error {
	bare := strings.TrimPrefix(pattern, "*.")
	switch {
	case bare == "" || bare == "*":
		return fmt.Errorf("%q is no host: to allow all hosts, set AllowRealHosts", pattern)
	case strings.Contains(bare, "/"):
		return fmt.Errorf("%q is no host but a URL: write what is between // and the next /", pattern)
	case strings.ContainsAny(bare, "* @?#"):
		return fmt.Errorf("%q is no host: it is a name such as api.deepseek.com, with a port if you like, or *.deepseek.com", pattern)
	}
	return nil
}

// fitsHost reports whether a host of a URL fits a pattern of hosts.
func fitsHost(pattern, hostPort string) bool {
	pattern, hostPort = strings.ToLower(pattern), strings.ToLower(hostPort)
	name := nameOf(hostPort)
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return strings.HasSuffix(name, suffix) || strings.HasSuffix(hostPort, suffix)
	}
	return pattern == hostPort || strings.Trim(pattern, "[]") == name
}

// nameOf returns a host without its port.
func nameOf(hostPort string) string {
	if _, err := netip.ParseAddr(hostPort); err == nil {
		return hostPort
	}
	return (&url.URL{Host: hostPort}).Hostname()
}

// allows reports whether requests to a host may be broken.
func (i *Injector) allows(hostPort string) bool {
	if i.config.AllowRealHosts || !isReal(nameOf(hostPort)) {
		return true
	}
	return slices.ContainsFunc(i.config.Allow, func(pattern string) bool { return fitsHost(pattern, hostPort) })
}

// isReal reports whether a host may be one that people use. The names are those that RFC 2606
// and RFC 6761 reserve for tests.
func isReal(name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return !addr.Unmap().IsLoopback()
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	return !slices.Contains([]string{"localhost", "test", "invalid", "example"}, last)
}
