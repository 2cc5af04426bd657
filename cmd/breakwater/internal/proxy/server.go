// Package proxy is a reverse proxy in front of LLM APIs, for clients in any language: it passes
// their calls to a breakwater.Transport, and its answers back. It speaks the APIs of OpenAI and
// Anthropic on one port, with the paths that api.deepseek.com has.
//
// It is no general proxy. It serves a list of paths, and every call goes to an endpoint of the
// configuration. What a client sends as its key serves to know the client, and goes nowhere.
package proxy

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/loopback"
	"github.com/breakwater-go/breakwater/prombreakwater"
	"github.com/breakwater-go/breakwater/statuspage"
	"github.com/tidwall/gjson"
)

// A Server is the proxy. Make one with [New]; it is an http.Handler, and [Server.Run] listens.
// It is safe for concurrent use.
type Server struct {
	fixed     *Config // what only New takes from a Config
	settings  atomic.Pointer[settings]
	updating  sync.Mutex // held by Update
	transport *breakwater.Transport
	observers []breakwater.Observer
	forwarder *forwarder
	catalog   *catalog
	bodies    bodies
	calls     atomic.Int64 // under way
	log       *slog.Logger
	page      *statuspage.Page
	meters    *meters
	cert      atomic.Pointer[tls.Certificate] // nil: plain HTTP

	draining  atomic.Bool
	ending    context.Context // ends when calls have no more time
	endCalls  context.CancelFunc
	cutCalls  atomic.Int64 // calls that were ended by that
	listening atomic.Pointer[listeners]
}

// settings are what Update replaces.
type settings struct {
	config *Config
	table  table
	auth   *authenticator
	hosts  map[string]bool // allowed in Host, in lower case; nil: all
	cross  *http.CrossOriginProtection
	keys   [][]byte // of the endpoints
}

// New returns a Server, or an error that joins all that is wrong with c.
func New(c Config) (*Server, error) {
	config, err := c.resolve()
	if err != nil {
		return nil, err
	}
	s := &Server{fixed: config, log: config.Logger, page: statuspage.New(), catalog: &catalog{listed: make(map[string]*listing)}}
	s.bodies.max = config.Limits.Bodies
	s.ending, s.endCalls = context.WithCancel(context.Background())
	collector := prombreakwater.New()
	s.observers = []breakwater.Observer{collector.Observe, s.page.Observe, breakwater.Log(s.log)}
	next, cert, err := prepare(config)
	if err != nil {
		return nil, err
	}
	if s.transport, err = breakwater.New(config.options(s.observers)...); err != nil {
		return nil, err
	}
	s.settings.Store(next)
	s.cert.Store(cert)
	s.catalog.transport = s.transport
	s.forwarder = newForwarder(s.transport, s.ending)
	s.page.Watch(s.transport)
	collector.Watch(s.transport)
	s.meters = newMeters(s, collector)
	return s, nil
}

// prepare makes settings of a configuration that is right.
func prepare(c *Config) (*settings, *tls.Certificate, error) {
	next := &settings{config: c, auth: newAuthenticator(c.Clients), cross: http.NewCrossOriginProtection(), keys: keysOf(c.Endpoints)}
	var err error
	if next.table, err = tableOf(c.Endpoints); err != nil {
		return nil, nil, err
	}
	for _, origin := range c.Origins {
		if err := next.cross.AddTrustedOrigin(origin); err != nil {
			return nil, nil, fmt.Errorf("origin %q: %w", origin, err)
		}
	}
	if loopback.IsAddress(c.Listen) || len(c.Hosts) > 0 {
		next.hosts = make(map[string]bool)
		for _, h := range c.Hosts {
			next.hosts[strings.ToLower(strings.Trim(h, "[]"))] = true
		}
	}
	if c.CertFile == "" {
		return next, nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate: %w", err)
	}
	return next, &cert, nil
}

// Update replaces the configuration without ending a call. If something is wrong with it, Update
// changes nothing and returns an error. unchanged are the fields that differ and that only
// a new process can have.
func (s *Server) Update(c Config) (unchanged []string, err error) {
	s.updating.Lock()
	defer s.updating.Unlock()
	defer func() { s.meters.reloaded(err) }()
	config, err := c.resolve()
	if err != nil {
		return nil, err
	}
	unchanged = s.fixed.differs(config)
	config.Listen, config.Limits = s.fixed.Listen, s.fixed.Limits
	if !loopback.IsAddress(config.Listen) && len(config.Clients) == 0 {
		return nil, &openError{config.Listen}
	}
	if len(config.Clients) == 0 && !s.settings.Load().auth.isOpen() {
		return nil, errors.New("proxy: clients needed tokens until now, and the new configuration has no clients, as if the end of a file were missing: only a restart lets everybody in")
	}
	next, cert, err := prepare(config)
	if err != nil {
		return nil, err
	}
	if (cert == nil) != (s.cert.Load() == nil) {
		unchanged, cert = append(unchanged, "tls"), s.cert.Load()
	}
	// First the Transport: calls for the old targets are still meant for its endpoints.
	if err := s.transport.Update(config.options(s.observers)...); err != nil {
		return nil, err
	}
	s.settings.Store(next)
	s.cert.Store(cert)
	return unchanged, nil
}

// differs returns the names of the fields that differ and that Update cannot change.
func (c *Config) differs(other *Config) (names []string) {
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"listen", c.Listen != other.Listen}, {"admin", c.Admin != other.Admin}, {"limits", c.Limits != other.Limits},
		{"grace", c.Grace != other.Grace}, {"drain", c.Drain != other.Drain},
	} {
		if f.differs {
			names = append(names, f.name)
		}
	}
	return names
}

// Close releases what the Server holds. Call it when Run has returned.
func (s *Server) Close() error {
	s.endCalls()
	return s.transport.Close()
}

// An exchange is one request to the proxy and its answer.
type exchange struct {
	w        *writer
	r        *http.Request
	settings *settings
	id       string
	begin    time.Time
	route    route
	model    string // route is model
	client   *Client

	// Of a call.
	to       *url.URL
	body     []byte
	until    *until
	ctx      context.Context // of the call
	endpoint string
	outcome  string
	left     bool   // the client did not wait for the answer
	refused  string // the code of the refusal
	why      string // more about it, for the log
}

// ServeHTTP serves a client.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: newWriter(w, s.fixed.Limits.WriteTime), r: r, settings: s.settings.Load(), begin: time.Now(), id: requestID(r.Header)}
	x.route = routeOf(r, &x.model)
	x.w.Header()["X-Request-Id"] = []string{x.id}
	if len(r.TransferEncoding) > 0 && r.ProtoMajor == 1 {
		// There may have been a Content-Length, too, which net/http hides. Something in front of the proxy may
		// believe that, so nothing that follows on the connection can be trusted (RFC 9112, section 6.1).
		x.w.Header()["Connection"] = []string{"close"}
	}
	ended := false
	defer func() { s.finish(x, ended) }()
	s.serve(x)
	ended = true
}

// ServeAdmin serves what is at Config.Admin: to everybody, and no calls.
func (s *Server) ServeAdmin(w http.ResponseWriter, r *http.Request) {
	x := &exchange{w: newWriter(w, s.fixed.Limits.WriteTime), r: r, settings: s.settings.Load(), begin: time.Now(), id: requestID(r.Header)}
	x.route = routeOf(r, &x.model)
	switch {
	case !x.route.isAdmin() && !x.route.isProbe(), x.isOff():
		x.refuse(refusal{http.StatusNotFound, "not_found", "here are /livez, /readyz, /metrics and /status", 0})
	case !x.takes(http.MethodGet, http.MethodHead):
	case !x.route.isProbe() && loopback.IsAddress(s.fixed.Admin) && !loopback.IsHost(hostOf(r.Host)) && !x.settings.hosts[hostOf(r.Host)]:
		x.refuse(foreignHost)
	default:
		s.serveAdmin(x, true)
	}
}

// serve answers a request. What concerns the request alone comes first, then who sent it, then what it
// wants.
func (s *Server) serve(x *exchange) {
	if x.route.isProbe() {
		if x.takes(http.MethodGet, http.MethodHead) {
			s.serveAdmin(x, x.settings.auth.isOpen())
		}
		return
	}
	if no := x.settings.inadmissible(x.r); no != nil {
		x.refuse(*no)
		return
	}
	if x.allowOrigin() {
		return
	}
	client, why := x.settings.auth.clientOf(x.r.Header)
	if client == nil {
		x.why = why
		x.refuse(refusal{http.StatusUnauthorized, "invalid_api_key", "a token of this proxy is needed in place of an API key: " + why, 0})
		return
	}
	x.client = client
	switch x.route.kind {
	case call:
		if x.takes(http.MethodPost) {
			s.serveCall(x)
		}
	case models, model:
		if x.takes(http.MethodGet, http.MethodHead) {
			s.serveModels(x)
		}
	case metrics, status:
		switch {
		case x.isOff():
			x.refuse(notFound)
		case !client.Admin:
			x.refuse(refusal{http.StatusForbidden, "admin_only", "the token is not that of an administrator", 0})
		case x.takes(http.MethodGet, http.MethodHead):
			s.serveAdmin(x, true)
		}
	default:
		x.refuse(notFound)
	}
}

var notFound = refusal{http.StatusNotFound, "not_found", "nothing is at this path: the proxy serves /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/messages, /v1/models, " +
	"the same without /v1, /anthropic/v1/messages, /beta/chat/completions and /beta/completions", 0}

// isOff reports whether the configuration leaves the route out.
func (x *exchange) isOff() bool {
	c := x.settings.config
	return c.NoMetrics && x.route.kind == metrics || c.NoStatus && x.route.kind == status
}

// serveCall passes an inference call on.
func (s *Server) serveCall(x *exchange) {
	if s.calls.Add(1) > int64(s.fixed.Limits.Calls) {
		s.calls.Add(-1)
		x.refuse(*refuseFull)
		return
	}
	defer s.calls.Add(-1)
	body, held, no := bodyReader{&s.fixed.Limits, &s.bodies}.read(x.w, x.r)
	defer s.bodies.give(held)
	if no != nil {
		if x.r.ProtoMajor == 1 {
			x.w.Header()["Connection"] = []string{"close"} // what is left of the body is not worth reading
		}
		x.refuse(*no)
		return
	}
	name := ""
	if x.client.Models != nil {
		if name, no = askedModel(body); no == nil && !x.client.mayAsk(name) {
			no = &refusal{http.StatusForbidden, "model_not_allowed", "this client may not ask for the model: GET /v1/models lists those that it may", 0}
		}
		if no != nil {
			x.refuse(*no)
			return
		}
	} else if !x.settings.table.isPlain(x.route.operation) {
		name = gjson.GetBytes(body, "model").String()
	}
	to, ok := x.settings.table.target(x.route.operation, name)
	if !ok {
		x.refuse(refusal{http.StatusNotFound, "unserved", "no endpoint of this proxy has " + x.route.operation, 0})
		return
	}
	s.forwarder.forward(x, to, body)
}

// routeOf returns the route of a request. The path must be written as it is in paths; only the id of a
// model may have escapes, and serves for a comparison alone.
func routeOf(r *http.Request, id *string) route {
	path := r.URL.EscapedPath()
	found, ok := paths[path]
	if !ok {
		found = route{kind: unknown}
		if strings.HasPrefix(path, "/anthropic/") || strings.HasPrefix(path, "/v1/messages") {
			found.wire = anthropic
		}
		if name, as, ok := modelOf(r.URL.Path); ok {
			*id, found = name, route{kind: model, wire: as}
		}
	}
	if (found.kind == models || found.kind == model || found.kind == unknown) && len(r.Header["Anthropic-Version"]) > 0 {
		found.wire = anthropic
	}
	return found
}

// takes reports whether the request has one of the methods, and refuses it otherwise.
func (x *exchange) takes(methods ...string) bool {
	if slices.Contains(methods, x.r.Method) {
		return true
	}
	x.w.Header()["Allow"] = []string{strings.Join(methods, ", ")}
	x.refuse(refusal{http.StatusMethodNotAllowed, "method_not_allowed", "this path takes " + strings.Join(methods, " and "), 0})
	return false
}

// refuse answers with a refusal, in the form of the route's wire.
func (x *exchange) refuse(r refusal) {
	x.refused = cmp.Or(x.refused, r.code)
	r.write(x.w, x.route.wire)
}

// json answers with a value.
func (x *exchange) json(v any) {
	text, err := json.Marshal(v)
	if err != nil {
		x.refuse(refusal{http.StatusInternalServerError, "internal", "the answer cannot be written", 0})
		return
	}
	h := x.w.Header()
	h["Content-Type"], h["Content-Length"] = []string{"application/json"}, []string{strconv.Itoa(len(text))}
	h["Cache-Control"] = []string{"no-store"}
	x.w.Write(text)
}

// maxRequestID bounds the ids that clients may give to their requests.
const maxRequestID = 128

// requestID returns the id of a request: the client's, if it is a word that is safe in logs, else
// a new one.
func requestID(h http.Header) string {
	if ids := h["X-Request-Id"]; len(ids) == 1 && len(ids[0]) <= maxRequestID && ids[0] != "" && !strings.ContainsFunc(ids[0], func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' || r == ':')
	}) {
		return ids[0]
	}
	return "bw-" + strings.ToLower(rand.Text())
}

// hostOf returns the host of an authority, without its port and brackets, in lower case.
func hostOf(authority string) string {
	host, _, err := net.SplitHostPort(authority)
	if err != nil {
		host = authority
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}
