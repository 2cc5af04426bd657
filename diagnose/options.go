package diagnose

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// An Option changes what [Run] does.
type Option func(*config) error

// An OptionError is the error of an option that cannot be meant. Run leaves the option out, and
// its report has a finding of [OptionInvalid] with this error.
type OptionError struct {
	Option string // its name, such as WithTimeout
	Reason string // what is wrong, and what to write instead
}

// Error names the option and what is wrong with it.
func (e *OptionError) Error() string { return "diagnose: " + e.Option + ": " + e.Reason }

const (
	defaultTimeout = 10 * time.Second
	leastTimeout   = 100 * time.Millisecond
	mostTimeout    = time.Hour
)

type config struct {
	timeout     time.Duration
	language    Language
	spend       bool
	model       string
	wire        Wire
	transport   *http.Transport
	nameservers []string
	lookup      func(context.Context, string) ([]netip.Addr, error)
	environment func(string) (string, bool)
	progress    func(Stage)
	statusPages []string // nil: those of the host
	keyVariable string
}

func newConfig(opts []Option) (c config, wrong error) {
	c = config{
		timeout: defaultTimeout, language: English, environment: os.LookupEnv, nameservers: serversOf("/etc/resolv.conf"),
		lookup: func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		},
	}
	var errs []error
	for _, option := range opts {
		if option == nil {
			continue
		}
		changed := c
		if err := option(&changed); err != nil {
			errs = append(errs, err)
			continue
		}
		c = changed
	}
	return c, errors.Join(errs...)
}

// Check returns what is wrong with options, as [OptionError]s, before anything runs.
func Check(opts ...Option) error {
	_, wrong := newConfig(opts)
	return wrong
}

// WithTimeout bounds the whole diagnosis, from 100 ms to an hour. Each stage gets a part of it:
// DNS, TCP and TLS a fifth each, three seconds at most, and the request for the models three
// tenths, ten seconds at most. What is left is for the answers of [WithSpend]. Default 10s.
func WithTimeout(d time.Duration) Option {
	return func(c *config) error {
		if d < leastTimeout || d > mostTimeout {
			return &OptionError{"WithTimeout", fmt.Sprintf("%v: want %v to %v", d, leastTimeout, mostTimeout)}
		}
		c.timeout = d
		return nil
	}
}

// WithSpend also asks for an answer in JSON, of one token, and for one as a stream, of up to 64.
// They cost what the host bills for that. Without it, what shows in answers alone is not seen.
func WithSpend() Option { return func(c *config) error { c.spend = true; return nil } }

// WithLanguage sets the language of the texts. Default [English].
func WithLanguage(l Language) Option {
	return func(c *config) error {
		if l != English && l != Chinese {
			return &OptionError{"WithLanguage", fmt.Sprintf("%.20q is not known: want en or zh", string(l))}
		}
		c.language = l
		return nil
	}
}

// WithModel sets the model that is looked for and asked, by the name that the program uses. The
// endpoint's Models apply to it. Default: deepseek-flash if the endpoint has a name for it, else
// the first name of Models, else the first that the host lists.
func WithModel(name string) Option {
	return func(c *config) error {
		if strings.TrimSpace(name) == "" || strings.TrimSpace(name) != name || len(name) > 256 {
			return &OptionError{"WithModel", "want the name of a model, without blanks around it"}
		}
		c.model = name
		return nil
	}
}

// WithWire sets the API that [WithSpend] asks. Default: [Messages] if the URL ends in
// /anthropic, else [Chat].
func WithWire(w Wire) Option {
	return func(c *config) error {
		if _, ok := wires[w]; !ok {
			return &OptionError{"WithWire", fmt.Sprintf("%.20q is not known: want one of chat, fim, responses, messages, embeddings", string(w))}
		}
		c.wire = w
		return nil
	}
}

// WithTransport makes Run connect as a program does that uses t: with its proxy, dialer and TLS
// configuration. If t has a dialer of its own, that one resolves the names, so DNS is not looked
// at. t itself is not used. Default: one like breakwater's own base.
func WithTransport(t *http.Transport) Option {
	return func(c *config) error {
		if t == nil {
			return &OptionError{"WithTransport", "nil: want a transport"}
		}
		c.transport = t
		return nil
	}
}

// WithNameservers sets the nameservers that are asked one by one beside the system's resolver,
// as addresses with or without a port. Without any, only the system is asked. Default: those of
// /etc/resolv.conf.
//
// A nameserver gets to know which host is looked for.
func WithNameservers(servers ...string) Option {
	return func(c *config) error {
		c.nameservers = nil
		for _, s := range servers {
			if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
				c.nameservers = append(c.nameservers, netip.AddrPortFrom(a, 53).String())
			} else if p, err := netip.ParseAddrPort(s); err == nil {
				c.nameservers = append(c.nameservers, p.String())
			} else {
				return &OptionError{"WithNameservers", fmt.Sprintf("%.60q is no address: want one like 223.5.5.5 or 127.0.0.1:5353", s)}
			}
		}
		return nil
	}
}

// WithLookup replaces the system's resolver, for programs that have one of their own.
func WithLookup(lookup func(ctx context.Context, name string) ([]netip.Addr, error)) Option {
	return func(c *config) error {
		if lookup == nil {
			return &OptionError{"WithLookup", "nil: want a function"}
		}
		c.lookup = lookup
		return nil
	}
}

// WithEnvironment replaces os.LookupEnv for HTTP_PROXY, HTTPS_PROXY and NO_PROXY. They do not
// apply if [WithTransport] is given: its Proxy does.
func WithEnvironment(lookup func(name string) (value string, ok bool)) Option {
	return func(c *config) error {
		if lookup == nil {
			return &OptionError{"WithEnvironment", "nil: want a function"}
		}
		c.environment = lookup
		return nil
	}
}

// WithKeyVariable names the environment variable that the key should come from, for the advice
// if there is no key.
func WithKeyVariable(name string) Option {
	return func(c *config) error { c.keyVariable = clean(name); return nil }
}

// WithProgress tells how stages begin and end. The function is called on several goroutines, and
// should return soon.
func WithProgress(f func(Stage)) Option {
	return func(c *config) error { c.progress = f; return nil }
}

// WithStatusPages sets the pages that are asked for what the host says of itself, as URLs of a
// summary in the form of Atlassian Statuspage. The first that answers counts. Without any, none
// is asked. Default: those that are known of the host.
func WithStatusPages(urls ...string) Option {
	return func(c *config) error {
		for _, page := range urls {
			u, err := url.Parse(page)
			if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
				return &OptionError{"WithStatusPages", "want URLs like https://status.example.com/api/v2/summary.json"}
			}
		}
		c.statusPages = append([]string{}, urls...)
		return nil
	}
}

// hasOldDialer reports whether a transport has a dialer in one of its older fields.
func hasOldDialer(t *http.Transport) bool {
	//lint:ignore SA1019 users may have set them
	return t.Dial != nil || t.DialTLS != nil
}
