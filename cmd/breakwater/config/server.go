package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A Server is the section server, of the proxy. Load fills in the defaults.
type Server struct {
	// Listen is the address that clients connect to: HOST:PORT. Any address that others than
	// this machine can reach needs clients. Default 127.0.0.1:8787.
	Listen string

	// Admin is a second address, which serves /livez, /readyz, /metrics and /status without
	// tokens, and nothing else. Default: there is none.
	Admin string

	// TLS has the certificate of Listen. Default nil: clients speak plain HTTP.
	TLS *TLS

	// Clients are those who may use the proxy, each with a token. Default: everybody who can
	// connect, which only an address of this machine allows.
	Clients []Client

	// Hosts are the names that clients may have in the Host of their requests, without ports.
	// Default: on an address of this machine only its own names, on any other address all.
	Hosts []string

	// Origins are those of web pages that may call the proxy from a browser, such as
	// https://chat.example.com. Default: none.
	Origins []string

	// ForwardHeaders are headers of clients that reach the hosts, beside those that the APIs
	// define. Default: none.
	ForwardHeaders []string

	// Models are the names that GET /v1/models lists. Default: the names that the endpoints map.
	Models []string

	// Grace is how long the proxy goes on taking calls after a SIGTERM, while /readyz says that
	// it stops, so that load balancers notice. Default: it takes none.
	Grace time.Duration

	// Drain is how long the calls that are under way may then go on. After it, their streams end
	// with an error event. Default 30s.
	Drain time.Duration

	// Limits bound what clients may use of this machine.
	Limits Limits

	// AccessLog writes a line for each request. Default true.
	AccessLog bool

	// Metrics serves /metrics, for Prometheus. On Listen, if there are clients, only those with
	// admin may read it. Default true.
	Metrics bool

	// Status serves the page /status, to the same clients. Default true.
	Status bool
}

// Limits bound what the clients of the proxy may use of this machine.
type Limits struct {
	// Connections is how many connections clients may have open. Further ones wait. Default
	// 10000.
	Connections int

	// Calls is how many calls may be under way. Further ones get a 503. Default 10000.
	Calls int

	// Header is the size of the largest header of a request. Default 64KiB.
	Header int64

	// Body is the size of the largest request body. Default 32MiB.
	Body int64

	// Bodies is the size of the bodies of all calls under way. Further calls get a 503. Default
	// 512MiB.
	Bodies int64

	// HeaderTime is how long a client may take to send the header of a request. Default 10s.
	HeaderTime time.Duration

	// BodyTime is how long a client may take for the first KiB of a body. It has a second more
	// for each further KiB. Default 30s.
	BodyTime time.Duration

	// WriteTime is how long a client may take no byte of an answer that is there for it. It does
	// not limit how long an answer takes. Default 1m.
	WriteTime time.Duration

	// IdleTime is how long a connection is kept between two requests. Default 2m.
	IdleTime time.Duration
}

// A TLS has the files of a certificate, in PEM.
type TLS struct {
	// Cert is the file of the certificate, with those of its issuers.
	Cert string

	// Key is the file of the private key.
	Key string
}

// A Client is somebody who may use the proxy.
type Client struct {
	// Name identifies the client in logs and metrics. It must be unique.
	Name string

	// Tenant is whose limits count: see breakwater.Call. Clients may share one. Default: Name.
	Tenant string

	// Digests are the SHA-256 of the tokens that the client sends as its API key. The tokens
	// themselves are not kept.
	Digests [][sha256.Size]byte

	// Scope is a word for those clients who share kept answers. Default: what cache.scope says,
	// which is that the clients of a tenant share them.
	Scope string

	// Priority is the urgency of its calls. Default: breakwater.PriorityDefault.
	Priority breakwater.Priority

	// Limits are those of its tenant: see breakwater.TenantPolicy. Default nil: those of the
	// section tenants.
	Limits *breakwater.TenantLimits

	// Models are the only models that it may ask for, by the names that it uses. Default nil: any.
	Models []string

	// Endpoints are the only ones for its calls, by name, region or tag: see breakwater.Call.
	// Default nil: any.
	Endpoints []string

	// Admin lets it read /metrics and /status on Listen. Default: it may not.
	Admin bool
}

// Has reports whether token is one of the client's. How long that takes does not depend on the
// token.
func (c *Client) Has(token string) bool {
	sum, found := sha256.Sum256([]byte(token)), 0
	for i := range c.Digests {
		found |= subtle.ConstantTimeCompare(sum[:], c.Digests[i][:])
	}
	return found == 1
}

func defaultServer() Server {
	return Server{
		Listen: "127.0.0.1:8787",
		Drain:  30 * time.Second,
		Limits: Limits{
			Connections: 10_000,
			Calls:       10_000,
			Header:      64 << 10,
			Body:        32 << 20,
			Bodies:      512 << 20,
			HeaderTime:  10 * time.Second,
			BodyTime:    30 * time.Second,
			WriteTime:   time.Minute,
			IdleTime:    2 * time.Minute,
		},
		AccessLog: true,
		Metrics:   true,
		Status:    true,
	}
}

// tenants returns the policy of tenants, with the limits of clients.
func (c *Config) tenants() *breakwater.TenantPolicy {
	var all breakwater.TenantPolicy
	if c.Tenants != nil {
		all = *c.Tenants
	}
	limits := make(map[string]breakwater.TenantLimits)
	for name, l := range all.Limits {
		limits[name] = l
	}
	given := c.Tenants != nil
	for _, client := range c.Server.Clients {
		if client.Limits != nil {
			limits[client.tenant()], given = *client.Limits, true
		}
	}
	if !given {
		return nil
	}
	all.Limits = limits
	return &all
}

func (c *Client) tenant() string {
	if c.Tenant == "" {
		return c.Name
	}
	return c.Tenant
}
