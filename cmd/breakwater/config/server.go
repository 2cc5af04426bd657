package config

import (
	"crypto/sha256"
	"crypto/subtle"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A Server is the section server, of the proxy. Load fills in the defaults; zero times and sizes
// of a loaded Server mean that there is no such limit.
type Server struct {
	// Listen is the address that the proxy listens on: HOST:PORT, or unix:PATH for a socket.
	// Any other address than one of this machine needs clients. Default 127.0.0.1:8787.
	Listen string

	// TLS has the certificate of the proxy. Default nil: plain HTTP, with h2c.
	TLS *TLS

	// Clients are those who may use the proxy, each with a token. Default none: everybody who
	// can reach the address may, which must be one of this machine then.
	Clients []Client

	// Models are the names that GET /v1/models lists. Default: the names that the endpoints map.
	Models []string

	// Drain is how long streams may go on after a SIGTERM. Then each ends with an error event.
	// Default 30s; off: they end at once.
	Drain time.Duration

	// MaxBody is the size of the largest request body. Default 32MiB; off: no limit.
	MaxBody int64

	// MaxHeader is the size of all headers of a request. Default 64KiB; off is an error.
	MaxHeader int64

	// ReadHeaderTimeout is how long a client may take to send the headers of a request.
	// Default 10s; off is an error.
	ReadHeaderTimeout time.Duration

	// ReadTimeout is how long a client may take to send a whole request. Default 1m; off: no
	// limit.
	ReadTimeout time.Duration

	// WriteTimeout is how long a client may take no byte of an answer that is there for it. It
	// does not limit how long an answer takes. Default 1m; off: no limit.
	WriteTimeout time.Duration

	// IdleTimeout is how long a connection is kept that carries no request. Default 2m; off: no
	// limit.
	IdleTimeout time.Duration

	// AccessLog writes a line for each request. Default true.
	AccessLog bool

	// Metrics serves /metrics, for Prometheus. If there are clients, only those with monitor
	// may read it. Default true.
	Metrics bool

	// Status serves the page /status. If there are clients, only those with monitor may read it.
	// Default true.
	Status bool
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
	// Name identifies the client in logs. It must be unique.
	Name string

	// Tenant is the tenant of its calls: see breakwater.Call. Clients with one tenant share the
	// limits and the answers of the cache. Default: Name.
	Tenant string

	// TokenHash is the SHA-256 of the token that the client sends as its API key. The token
	// itself is not kept.
	TokenHash [sha256.Size]byte

	// Priority is that of its calls. Default: breakwater.PriorityDefault.
	Priority breakwater.Priority

	// Limits are those of its tenant: see breakwater.TenantPolicy. Default nil: those of the
	// section tenants.
	Limits *breakwater.TenantLimits

	// Models are the only models that it may ask for, by the names that it uses. Default nil: any.
	Models []string

	// Endpoints are the only endpoints that its calls may go to, by name, region or tag: see
	// breakwater.Call. Default nil: any.
	Endpoints []string

	// Monitor lets it read /metrics and /status. Default: it may not.
	Monitor bool
}

// Has reports whether token is the client's. It takes the same time whatever the token is.
func (c *Client) Has(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], c.TokenHash[:]) == 1
}

func defaultServer() Server {
	return Server{
		Listen:            "127.0.0.1:8787",
		Drain:             30 * time.Second,
		MaxBody:           32 << 20,
		MaxHeader:         64 << 10,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		AccessLog:         true,
		Metrics:           true,
		Status:            true,
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
