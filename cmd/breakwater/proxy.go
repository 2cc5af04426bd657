package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/proxy"
)

// proxyFlags are what the command line says. It wins over the file, also when that is read again.
type proxyFlags struct {
	file, listen, admin, log string
	drain                    time.Duration
	hasDrain                 bool
}

func newProxy() *cobra.Command {
	var flags proxyFlags
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Run a proxy in front of LLM APIs, for clients in any language",
		Long: `proxy takes calls of clients in any language and sends them to the endpoints of
the configuration, with failover, retries, circuit breakers, limits and rescue
of broken streams. Change one line of the client:

  OpenAI's SDKs:     base URL http://127.0.0.1:8787/v1
  Anthropic's SDKs:  base URL http://127.0.0.1:8787/anthropic

Without a file, it uses DEEPSEEK_API_KEY and the keys of other hosts from the
environment. It never forwards the clients' own keys. To listen on an address
that other machines can reach, give each client a token in the configuration.

After SIGHUP, or when the file changes, the proxy reads the configuration
again. No call ends because of that. If the new configuration has a mistake,
the old one stays in use. After SIGTERM or SIGINT, the proxy ends when all
calls are over, or after --drain. A second signal ends it at once.

Exit status: 0 if it was told to stop and no call was cut. 1 if calls were cut.
2 if it could not listen, or could not go on. 64 for a mistake on the command
line or in the configuration.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flags.hasDrain = cmd.Flags().Changed("drain")
			return runProxy(cmd.Context(), flags, cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.file, "config", "", "configuration `FILE` (default: "+configFile+" if it exists)")
	f.StringVar(&flags.listen, "listen", "", "`ADDRESS` for clients (default 127.0.0.1:8787)")
	f.StringVar(&flags.admin, "admin", "", "second `ADDRESS`, for /metrics and /status without tokens")
	f.DurationVar(&flags.drain, "drain", 30*time.Second, "how long calls may go on after SIGTERM")
	f.StringVar(&flags.log, "log", "text", "`FORM` of the log: text, json or off")
	return cmd
}

// spare is how many bytes of garbage the proxy may hold beyond what is usual. A proxy at work has a heap of a
// few MB, and the collector would run after each few MB more, for about a tenth of the CPU time.
const spare = 24 << 20

// spareGarbage lets the collector wait for spare bytes more. It returns memory that counts for that, but is never
// touched, so that the system gives none for it. A higher GOGC would do the same with a small heap, but would make
// that of many streams several times as large.
func spareGarbage() []byte {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" { // the operator has decided
		return nil
	}
	return make([]byte, spare)
}

// runProxy serves until ctx ends.
func runProxy(ctx context.Context, flags proxyFlags, stderr io.Writer) error {
	garbage := spareGarbage()
	defer runtime.KeepAlive(garbage)
	logger, flush, err := newLogger(flags.log, stderr)
	if err != nil {
		return err
	}
	defer flush()
	if flags.file == "" {
		if _, err := os.Stat(configFile); err == nil {
			flags.file = configFile
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // from now on it ends the process no more
	defer signal.Stop(hup)
	read := proxy.StampOf(flags.file)
	c, err := flags.load(logger)
	if err != nil {
		return err
	}
	s, err := proxy.New(c)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Listen(); err != nil {
		return &statusError{statusDown, err}
	}
	stopped := make(chan struct{})
	defer close(stopped)
	logger.Info("listening", slog.String("address", s.Addr().String()), slog.Int("endpoints", len(c.Endpoints)), slog.Int("clients", len(c.Clients)), slog.String("version", version()))
	if a := s.AdminAddr(); a != nil {
		logger.Info("listening for monitoring, without tokens", slog.String("address", a.String()))
	}
	go flags.reloads(s, logger, read, hup, stopped)
	err = s.Run(ctx, secondSignal(ctx, stopped))
	var cut *proxy.CutError
	switch {
	case errors.As(err, &cut):
		return &statusError{statusDegraded, err}
	case err != nil:
		return &statusError{statusDown, err}
	}
	logger.Info("stopped: no call was cut")
	return nil
}

// secondSignal returns a channel that is closed by the first SIGTERM or SIGINT after the end of ctx.
func secondSignal(ctx context.Context, stopped <-chan struct{}) <-chan struct{} {
	now := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-stopped:
			return
		}
		again := make(chan os.Signal, 1)
		signal.Notify(again, os.Interrupt, syscall.SIGTERM)
		defer signal.Stop(again)
		select {
		case <-again:
			close(now)
		case <-stopped:
		}
	}()
	return now
}

// reloads reads the configuration again after each SIGHUP, and after each change of the file since it was
// read.
func (f proxyFlags) reloads(s *proxy.Server, logger *slog.Logger, read proxy.Stamp, hup <-chan os.Signal, stopped <-chan struct{}) {
	changes := make(chan struct{}, 1)
	if f.file != "" {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() {
			err := proxy.Watch(ctx, f.file, read, func() {
				select {
				case changes <- struct{}{}:
				default: // it will be read anyway
				}
			})
			if err != nil {
				logger.Warn("changes of the configuration file go unnoticed: send SIGHUP", slog.Any("err", err))
			}
		}()
	}
	for {
		why := "SIGHUP"
		select {
		case <-stopped:
			return
		case <-hup:
		case <-changes:
			why = "the file changed"
		}
		f.reload(s, logger, why)
	}
}

// reload reads the configuration again.
func (f proxyFlags) reload(s *proxy.Server, logger *slog.Logger, why string) {
	c, err := f.load(logger)
	if err != nil {
		s.ReloadFailed(err)
	} else {
		var unchanged []string
		if unchanged, err = s.Update(c); len(unchanged) > 0 {
			logger.Warn("only a restart changes these", slog.String("fields", strings.Join(unchanged, ", ")))
		}
	}
	if err != nil {
		logger.Error("the new configuration is refused, and the old one stays", slog.String("why", why), slog.Any("err", err))
		return
	}
	logger.Info("the new configuration is in use", slog.String("why", why), slog.Int("endpoints", len(c.Endpoints)), slog.Int("clients", len(c.Clients)))
}

// load reads the configuration and adds what the command line says.
func (f proxyFlags) load(logger *slog.Logger) (proxy.Config, error) {
	var c *config.Config
	var err error
	if f.file != "" {
		c, err = config.Load(f.file, os.LookupEnv)
	} else {
		c, err = config.FromEnv(os.LookupEnv)
	}
	if err != nil {
		return proxy.Config{}, err
	}
	p := proxyConfig(c)
	p.Logger = logger
	if f.listen != "" {
		p.Listen = f.listen
	}
	if f.admin != "" {
		p.Admin = f.admin
	}
	if f.hasDrain {
		p.Drain = f.drain
	}
	return p, nil
}

// proxyConfig makes a configuration of the proxy of a file's.
func proxyConfig(c *config.Config) proxy.Config {
	server := &c.Server
	p := proxy.Config{
		Listen: server.Listen, Admin: server.Admin, Hosts: server.Hosts, Origins: server.Origins, ForwardHeaders: server.ForwardHeaders, Models: server.Models,
		Grace: server.Grace, Drain: server.Drain, Endpoints: slices.Concat(c.Tiers()...),
		NoAccessLog: !server.AccessLog, NoMetrics: !server.Metrics, NoStatus: !server.Status,
		Limits: proxy.Limits{
			Connections: server.Limits.Connections, Calls: server.Limits.Calls, Header: int(server.Limits.Header), Body: server.Limits.Body, Bodies: server.Limits.Bodies,
			HeaderTime: server.Limits.HeaderTime, BodyTime: server.Limits.BodyTime, WriteTime: server.Limits.WriteTime, IdleTime: server.Limits.IdleTime,
		},
	}
	if server.TLS != nil {
		p.CertFile, p.KeyFile = server.TLS.Cert, server.TLS.Key
	}
	for i := range server.Clients {
		client := &server.Clients[i]
		p.Clients = append(p.Clients, proxy.Client{
			Name: client.Name, Digests: client.Digests, Tenant: client.Tenant, Limits: client.Limits, Priority: client.Priority,
			Endpoints: client.Endpoints, Models: client.Models, Scope: client.Scope, Admin: client.Admin,
		})
	}
	// What the Server adds itself, and what it does not want.
	rest := *c
	if rest.Stream != nil {
		p.Stream, rest.Stream = *rest.Stream, nil
	}
	if rest.Tenants != nil {
		p.Tenants, rest.Tenants = *rest.Tenants, nil
	}
	rest.Server.Clients, rest.Strict, rest.Errors = nil, false, false
	if rest.Cache != nil && rest.Cache.Scope == nil {
		cache := *rest.Cache
		cache.Scope, rest.Cache = proxy.ClientScope, &cache
	}
	if rest.Idempotency != nil && rest.Idempotency.Scope == nil {
		keys := *rest.Idempotency
		keys.Scope, rest.Idempotency = proxy.ClientScope, &keys
	}
	p.Options = rest.Options()
	return p
}
