package proxy

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/loopback"
)

// A Config says what a [Server] does. The fields of the first part take effect at [New] alone,
// those of the second part at [Server.Update], too. A field that is zero has its default.
type Config struct {
	// Listen is the address that clients connect to. Default 127.0.0.1:8787. Any address
	// but a loopback one needs Clients with tokens.
	Listen string

	// Admin is a second address, which serves /livez, /readyz, /metrics and /status without
	// tokens, and nothing else. Default: there is none.
	Admin string

	// CertFile and KeyFile are the certificate chain and the key of Listen, in PEM. They are
	// read again at each Update. Default: clients speak plain HTTP.
	CertFile, KeyFile string

	// Limits bound what clients may use of this machine.
	Limits Limits

	// Logger gets the access log, and the log of the Transport. Default: slog.Default().
	Logger *slog.Logger

	// Grace is how long the Server goes on taking calls after it was told to stop, while
	// /readyz says so, so that load balancers notice. Default 0: it takes none.
	Grace time.Duration

	// Drain is how long the calls that are under way may then go on. Default 30s.
	Drain time.Duration

	// The rest takes effect at Update, too.

	// Endpoints are all endpoints of Options, the best tier first. Each must have a key of
	// its own, or be Keyless: what clients send as their keys is never forwarded.
	Endpoints []breakwater.Endpoint

	// Options are those of the Transport, with WithEndpoints and WithBackup, but without
	// WithStream and WithTenants: the Server adds what is in Stream, Tenants and Clients.
	Options []breakwater.Option
	Stream  breakwater.StreamPolicy
	Tenants breakwater.TenantPolicy

	// Clients are those who may use the proxy. Default: everybody who can connect, which
	// only a loopback address allows.
	Clients []Client

	// Hosts are the names that clients may have in the Host of their requests, without
	// ports, such as llm.internal. Names of the loopback are always allowed. Default: on a
	// loopback address no others, on any other address all.
	Hosts []string

	// Origins are those of web pages that may call the proxy from a browser, such as
	// https://chat.example.com. Default: none.
	Origins []string

	// ForwardHeaders are headers of clients that reach the first endpoint, beside those that
	// the APIs define. Default: none.
	ForwardHeaders []string

	// Models are the names that GET /v1/models lists. Default: those that the endpoints map and,
	// of endpoints that map none, those that their hosts list.
	Models []string

	// NoAccessLog, NoMetrics and NoStatus leave out the line for each request, /metrics and
	// /status.
	NoAccessLog, NoMetrics, NoStatus bool
}

// ClientScope is the Scope of a breakwater.CachePolicy or breakwater.IdempotencyPolicy whose
// answers no two clients share. Use it where a policy has no other Scope: the default, the
// credential of the caller, is the same for all clients, because the Server removes it.
func ClientScope(r *http.Request) string {
	if x, ok := r.Context().Value(exchangeKey{}).(*exchange); ok {
		return "client " + x.client.Name
	}
	return "" // nobody's: nothing is kept
}

// A Client is somebody who may use the proxy.
type Client struct {
	// Name is in the log and in metrics. It must be unique.
	Name string

	// Digests are the SHA-256 of the tokens that the client sends in place of an API key. One is
	// enough; two serve to change it without an interruption.
	Digests [][sha256.Size]byte

	// Tenant is whose limits count. Default: Name, so that each client has its own.
	Tenant string

	// Limits are those of the tenant. Default: Config.Tenants has them, or there are none.
	Limits *breakwater.TenantLimits

	// Priority is the urgency of the client's calls.
	Priority breakwater.Priority

	// Endpoints are the only ones for the client's calls, by names, tags or regions: see
	// breakwater.Call. Default: all.
	Endpoints []string

	// Models are the only ones that it may ask for, by the names that it uses. Default nil: any.
	Models []string

	// Scope is a word for those clients who share kept answers. Default: the Scope of the policy
	// says so.
	Scope string

	// Admin lets the client see /status and /metrics at Listen.
	Admin bool
}

// Limits bound what clients may use of this machine. Zero is the default.
type Limits struct {
	Connections int           // open connections of clients; default 10000. Further ones wait
	Calls       int           // calls under way; default 10000. Further ones get a 503
	Header      int           // bytes of a request's header; default 64 KiB
	Body        int64         // bytes of a request's body; default 32 MiB
	Bodies      int64         // bytes of the bodies of all calls under way; default 512 MiB. Further calls get a 503
	HeaderTime  time.Duration // for the header of a request; default 10s
	BodyTime    time.Duration // for the first KiB of a body, and a second more for each further KiB, up to 10min; default 30s
	WriteTime   time.Duration // that a client may take no byte of an answer that is there; default 60s
	IdleTime    time.Duration // of a connection between two requests; default 2min
}

// The default of Config.Listen.
const defaultListen = "127.0.0.1:8787"

// resolve returns c with its defaults, or what is wrong with it. The errors quote no token.
func (c Config) resolve() (*Config, error) {
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Drain == 0 {
		c.Drain = 30 * time.Second
	}
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Grace < 0 || c.Drain < 0 {
		fail("drain and grace must not be negative")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		fail("TLS needs both a certificate and its key: one of the two files is missing")
	}
	if err := c.Limits.resolve(); err != nil {
		errs = append(errs, err)
	}
	if len(c.Endpoints) == 0 {
		fail("there is no endpoint to send calls to: give one in the configuration, or set DEEPSEEK_API_KEY")
	}
	for _, e := range c.Endpoints {
		if e.APIKey == "" && e.KeyFunc == nil && !e.Keyless && len(e.Header) == 0 && e.Rewrite == nil {
			fail("endpoint %s has no key, and the proxy forwards none of its clients': give it a key, or set keyless if its host needs none", e.String())
		}
	}
	errs = append(errs, c.checkClients()...)
	errs = append(errs, c.checkHeaders()...)
	if !loopback.IsAddress(c.Listen) && len(c.Clients) == 0 {
		errs = append(errs, &openError{c.Listen})
	}
	return &c, errors.Join(errs...)
}

// checkHeaders returns what is wrong with the values and names of headers.
func (c *Config) checkHeaders() (errs []error) {
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	for _, h := range c.Hosts {
		if h == "" || strings.ContainsAny(h, ":/ @") && !isIP(h) {
			fail("host %q is no name of a host: give it without a scheme and a port, such as llm.internal", h)
		}
	}
	for _, o := range c.Origins {
		if u, err := url.Parse(o); err != nil || u.Host == "" || u.Scheme+"://"+u.Host != o {
			fail("origin %q is none: give a scheme and a host, such as https://chat.example.com", o)
		}
	}
	for _, name := range c.ForwardHeaders {
		if isCredential(name) || isHopByHop(name) {
			fail("header %s cannot be forwarded: it is about the connection to the proxy, or holds a key of the client's", name)
		}
	}
	return errs
}

// An openError says that the proxy would serve everybody.
type openError struct{ listen string }

func (e *openError) Error() string {
	return fmt.Sprintf("%s is not a loopback address, and without tokens everybody who reaches it could spend your money: "+
		"give clients with tokens in the configuration (openssl rand -hex 24 makes one), or listen on 127.0.0.1", e.listen)
}

func (c *Config) checkClients() (errs []error) {
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	names, digests := make(map[string]bool), make(map[[sha256.Size]byte]string)
	limits := make(map[string]string) // tenants to the client that has their limits
	for i := range c.Clients {
		client := &c.Clients[i]
		switch {
		case client.Name == "":
			fail("client %d has no name", i+1)
		case len(client.Name) > 64 || strings.ContainsFunc(client.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
			fail("client %d: a name has up to 64 visible characters of ASCII", i+1)
		case names[client.Name]:
			fail("client %s is there twice", client.Name)
		}
		names[client.Name] = true
		if len(client.Digests) == 0 {
			fail("client %s has no token", client.Name)
		}
		for _, digest := range client.Digests {
			if owner, known := digests[digest]; known && owner != client.Name {
				fail("clients %s and %s have the same token", owner, client.Name)
			}
			digests[digest] = client.Name
		}
		if owner, known := limits[client.tenant()]; client.Limits != nil && known {
			fail("clients %s and %s are one tenant, %s: give its limits at one of them", owner, client.Name, client.tenant())
		}
		if client.Limits != nil {
			limits[client.tenant()] = client.Name
		}
	}
	return errs
}

func (c *Client) tenant() string {
	if c.Tenant != "" {
		return c.Tenant
	}
	return c.Name
}

func (l *Limits) resolve() error {
	for _, n := range []int64{int64(l.Connections), int64(l.Calls), int64(l.Header), l.Body, l.Bodies, int64(l.HeaderTime), int64(l.BodyTime), int64(l.WriteTime), int64(l.IdleTime)} {
		if n < 0 {
			return errors.New("a limit is negative")
		}
	}
	or(&l.Connections, 10_000)
	or(&l.Calls, 10_000)
	or(&l.Header, 64<<10)
	or(&l.Body, 32<<20)
	or(&l.Bodies, 512<<20)
	or(&l.HeaderTime, 10*time.Second)
	or(&l.BodyTime, 30*time.Second)
	or(&l.WriteTime, time.Minute)
	or(&l.IdleTime, 2*time.Minute)
	if l.Bodies < l.Body {
		return fmt.Errorf("all bodies together may have %d bytes, and a single one %d", l.Bodies, l.Body)
	}
	return nil
}

// or sets a field that is zero.
func or[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func isIP(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// options returns the options of the Transport. observe is what the Server itself observes.
func (c *Config) options(observe []breakwater.Observer) []breakwater.Option {
	opts := c.Options[:len(c.Options):len(c.Options)]
	stream, tenants := c.Stream, c.Tenants
	stream.ErrorFrames = true // clients see the stream, but not the Go error
	limits := make(map[string]breakwater.TenantLimits)
	for name, l := range tenants.Limits {
		limits[name] = l
	}
	for i := range c.Clients {
		if l := c.Clients[i].Limits; l != nil {
			limits[c.Clients[i].tenant()] = *l
		}
	}
	tenants.Limits = limits
	// Strict: a request that is meant for no endpoint is a mistake of the proxy, and must go nowhere.
	opts = append(opts, breakwater.WithStrict(), breakwater.WithStream(stream))
	if len(c.Clients) > 0 || len(limits) > 0 || tenants.Default != (breakwater.TenantLimits{}) {
		opts = append(opts, breakwater.WithTenants(tenants))
	}
	for _, o := range observe {
		opts = append(opts, breakwater.WithObserver(o))
	}
	return opts
}
