// Package config loads the configuration of breakwater from a YAML file or from the environment.
//
//	cfg, err := config.Load("breakwater.yaml", os.LookupEnv)
//	…
//	client, err := breakwater.NewClient(cfg.Options()...)
//
// The file has every policy of the library, its keys in snake_case:
//
//	endpoints:
//	  - host: deepseek
//	    key: ${DEEPSEEK_API_KEY}
//	backups:
//	  - host: siliconflow
//	    key: ${SILICONFLOW_API_KEY}
//	stream:
//	  first_token: 10s
//	  rescue: restart
//
// docs/configuration.md of the repository explains it, and [Schema] is its JSON schema. Load is
// strict: it reports all mistakes of a file at once, each with its line, its column and what was
// probably meant: see [Error].
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/breakwater-go/breakwater"
)

// A Config is a configuration with its secrets. It is a plain value: change it before you call
// Options, for example to add an option of your own. No printed form of it shows a secret.
type Config struct {
	// Endpoints are the first tier, which gets the calls while it can answer them. There is at
	// least one.
	Endpoints []breakwater.Endpoint

	// Backups are the tiers below, in their order: each an endpoint, or a list of endpoints. A
	// tier gets the calls that those above cannot take.
	Backups [][]breakwater.Endpoint

	// The policies of the library. One that is nil was not given, or is off.
	Cache       *breakwater.CachePolicy
	Idempotency *breakwater.IdempotencyPolicy
	RateLimit   *breakwater.RatePolicy
	Breaker     *breakwater.BreakerPolicy
	Retry       *breakwater.RetryPolicy
	Stream      *breakwater.StreamPolicy
	Balance     *breakwater.BalancePolicy
	Probes      *breakwater.ProbePolicy
	Spend       *breakwater.SpendPolicy
	Tenants     *breakwater.TenantPolicy

	// Strict refuses requests that are meant for none of the endpoints: see
	// breakwater.WithStrict. Default: they are sent once, unchanged.
	Strict bool

	// Errors makes a call that no endpoint could answer a Go error: see breakwater.WithErrors.
	// The proxy ignores it, because its clients get responses. Default: a response.
	Errors bool

	// Server is the section of the proxy.
	Server Server

	from *provenance // of the secrets; nil: not known
}

// MaxFile is the size of the largest configuration file, in bytes.
const MaxFile = 1 << 20

// Load reads the configuration file at path. env looks up the variables that the file names, as
// os.LookupEnv does. Load also reads the files that the values of keys and tokens name, but not
// those of key_file: they are read when the key is needed.
//
// If something is wrong, the error is an [Errors] with all mistakes.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	data, err := readAll(path)
	if err != nil {
		return nil, Errors{{File: path, Problem: "cannot be read: " + reason(err), err: err}}
	}
	return Parse(path, data, env)
}

// Parse does the same with the contents of a file. Relative names of other files are below the
// folder of path.
func Parse(path string, data []byte, env func(string) (string, bool)) (*Config, error) {
	return load(path, data, env, readSecret)
}

func load(path string, data []byte, env func(string) (string, bool), read func(string) (string, error)) (*Config, error) {
	d := newDecoder(path, env, read)
	if len(data) > MaxFile {
		d.wrong(nil, "", fmt.Sprintf("has more than %d MiB", MaxFile>>20), "")
		return nil, d.errs
	}
	cfg := d.config(data)
	if d.nodes["endpoints"] != nil {
		d.validate(cfg)
	}
	if len(d.errs) > 0 {
		return nil, d.errs.sorted()
	}
	for _, at := range cfg.places() {
		at.endpoint.Name = nameOf(at.endpoint)
	}
	return cfg, nil
}

// Options returns the options for breakwater.New and Transport.Update. Those of a Config that
// Load or FromEnv returned are valid.
func (c *Config) Options() []breakwater.Option {
	var opts []breakwater.Option
	if len(c.Endpoints) > 0 {
		opts = append(opts, breakwater.WithEndpoints(c.Endpoints...))
	}
	for _, tier := range c.Backups {
		opts = append(opts, breakwater.WithBackup(tier...))
	}
	opts = give(opts, breakwater.WithCache, c.Cache)
	opts = give(opts, breakwater.WithIdempotency, c.Idempotency)
	opts = give(opts, breakwater.WithRateLimit, c.RateLimit)
	opts = give(opts, breakwater.WithBreaker, c.Breaker)
	opts = give(opts, breakwater.WithRetry, c.Retry)
	opts = give(opts, breakwater.WithStream, c.Stream)
	opts = give(opts, breakwater.WithBalance, c.Balance)
	opts = give(opts, breakwater.WithProbes, c.Probes)
	opts = give(opts, breakwater.WithSpend, c.Spend)
	opts = give(opts, breakwater.WithTenants, c.tenants())
	if c.Strict {
		opts = append(opts, breakwater.WithStrict())
	}
	if c.Errors {
		opts = append(opts, breakwater.WithErrors())
	}
	return opts
}

func give[P any](opts []breakwater.Option, with func(P) breakwater.Option, policy *P) []breakwater.Option {
	if policy == nil {
		return opts
	}
	return append(opts, with(*policy))
}

// Tiers returns the endpoints of all tiers, the first one first.
func (c *Config) Tiers() [][]breakwater.Endpoint {
	return append([][]breakwater.Endpoint{c.Endpoints}, c.Backups...)
}

// readAll reads a file, of one that is too long only so much that this shows. A pipe that nobody writes to
// is empty: to wait for a writer could block for good.
func readAll(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxFile+1))
}

// maxSecret is the size of the largest file with a key or token.
const maxSecret = 64 << 10

// readSecret reads a file with a key or token. It refuses a pipe, which could block for good.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(data) > maxSecret {
		err = fmt.Errorf("it has more than %d KiB", maxSecret>>10)
	}
	return string(data), err
}

// reason returns why a file could not be read, without its name.
func reason(err error) string {
	if failed, ok := errors.AsType[*os.PathError](err); ok {
		return failed.Err.Error()
	}
	return err.Error()
}

// below returns the path of a file that another file names. It is absolute, so that it holds in
// the printed form, too.
func below(file, path string) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(file), path)
	}
	if absolute, err := filepath.Abs(path); err == nil {
		return absolute
	}
	return path
}
