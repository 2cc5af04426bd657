package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/doctor"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/loopback"
	"github.com/breakwater-go/breakwater/diagnose"
)

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	config      string
	endpoints   []string
	json        bool
	language    string
	spend       bool
	model       string
	wire        string
	timeout     time.Duration
	nameservers []string
}

func newDoctor() *cobra.Command { return newDoctorWith(os.LookupEnv) }

// newDoctorWith returns the command with an environment of its own, for tests.
func newDoctorWith(env func(string) (string, bool)) *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is broken between here and the LLM API, and what to do",
		Long: `doctor checks each endpoint step by step: proxy variables, DNS, TCP and TLS of
each address, HTTP, the clock, the key, the balance and the model. It says what
it saw, what that most likely means, and what to do next. It takes ten seconds
at most, and costs nothing. With --spend, it also asks for two short answers,
because only an answer shows some faults.

The endpoints come from --config or --endpoint. Without both, doctor checks
api.deepseek.com with the key in DEEPSEEK_API_KEY. An endpoint of --endpoint
gets only the key of its own host, from a variable such as SILICONFLOW_API_KEY.

Exit status: 0 if all endpoints are well. 1 if something is wrong, but calls
can be answered. 2 if no endpoint can answer calls. 64 for a mistake on the
command line or in the file.`,
		Example: `  breakwater doctor
  breakwater doctor --spend --lang zh
  breakwater doctor --config breakwater.yaml --json
  breakwater doctor --endpoint https://api.siliconflow.com/v1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, &f, env) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "check all endpoints of the configuration `FILE`")
	flags.StringArrayVar(&f.endpoints, "endpoint", nil, "check the endpoint with this base `URL`; may be\nrepeated")
	flags.BoolVar(&f.json, "json", false, "write JSON: see diagnose/report.schema.json")
	flags.StringVar(&f.language, "lang", "", "`LANGUAGE` of the texts: en or zh (default: that of\nLC_ALL, LC_MESSAGES or LANG)")
	flags.BoolVar(&f.spend, "spend", false, "also ask for two short answers (a few tokens)")
	flags.StringVar(&f.model, "model", "", "`NAME` of the model, as the program asks for it")
	flags.StringVar(&f.wire, "wire", "", "`API` for --spend: chat, fim, responses, messages\nor embeddings")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long the check may take")
	flags.StringArrayVar(&f.nameservers, "nameserver", nil, "`ADDRESS` of a nameserver to ask, in place of those\nof /etc/resolv.conf; may be repeated")
	cmd.MarkFlagsMutuallyExclusive("config", "endpoint")
	return cmd
}

func runDoctor(cmd *cobra.Command, f *doctorFlags, env func(string) (string, bool)) error {
	language, err := f.languageOf(env)
	if err != nil {
		return err
	}
	opts, err := f.options(language)
	if err != nil {
		return err
	}
	targets, err := f.targets(env)
	if err != nil {
		return err
	}
	reports := doctor.Run(cmd.Context(), doctor.Config{
		Targets: targets, Options: opts, Language: language, JSON: f.json,
		Out: cmd.OutOrStdout(), Progress: cmd.ErrOrStderr(), Env: env,
	})
	if err := context.Cause(cmd.Context()); err != nil {
		return &statusError{statusDown, errors.New("interrupted")}
	}
	switch diagnose.Overall(reports...) {
	case diagnose.Down:
		return &statusError{status: statusDown}
	case diagnose.Degraded:
		return &statusError{status: statusDegraded}
	}
	return nil
}

// languageOf returns the language of the texts: that of the flag, else that of the terminal.
func (f *doctorFlags) languageOf(env func(string) (string, bool)) (diagnose.Language, error) {
	switch f.language {
	case "en":
		return diagnose.English, nil
	case "zh":
		return diagnose.Chinese, nil
	case "":
		for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} { // the first that is set counts
			if v, _ := env(name); v != "" {
				if strings.HasPrefix(strings.ToLower(v), "zh") {
					return diagnose.Chinese, nil
				}
				break
			}
		}
		return diagnose.English, nil
	}
	return "", fmt.Errorf("--lang %q is not known: want en or zh", f.language)
}

// options returns the options of the diagnosis. It finds mistakes in flags before anything runs.
func (f *doctorFlags) options(language diagnose.Language) ([]diagnose.Option, error) {
	var opts []diagnose.Option
	var errs []error
	add := func(flag string, o diagnose.Option) {
		if wrong, ok := errors.AsType[*diagnose.OptionError](diagnose.Check(o)); ok {
			errs = append(errs, fmt.Errorf("%s: %s", flag, wrong.Reason))
		}
		opts = append(opts, o)
	}
	add("--lang", diagnose.WithLanguage(language))
	add("--timeout", diagnose.WithTimeout(f.timeout))
	if f.spend {
		add("--spend", diagnose.WithSpend())
	}
	if f.model != "" {
		add("--model", diagnose.WithModel(f.model))
	}
	if f.wire != "" {
		add("--wire", diagnose.WithWire(diagnose.Wire(f.wire)))
	}
	if len(f.nameservers) > 0 {
		add("--nameserver", diagnose.WithNameservers(f.nameservers...))
	}
	return opts, errors.Join(errs...)
}

// targets returns the endpoints to look at, each with the variable that its key should come from.
func (f *doctorFlags) targets(env func(string) (string, bool)) (all []doctor.Target, err error) {
	switch {
	case f.config != "":
		cfg, err := config.Load(f.config, env)
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Concat(cfg.Tiers()...) {
			all = append(all, doctor.Target{Endpoint: e})
		}
		return all, nil
	case len(f.endpoints) > 0:
		for _, text := range f.endpoints {
			p, err := targetAt(text, env)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		return all, nil
	}
	key, _ := env("DEEPSEEK_API_KEY")
	return []doctor.Target{{Endpoint: breakwater.DeepSeek(key), Variable: "DEEPSEEK_API_KEY"}}, nil
}

// targetAt returns the endpoint of a URL. If it is that of a known host's own servers, the
// endpoint gets the key of that host's variable. A key goes to no other host.
func targetAt(text string, env func(string) (string, bool)) (doctor.Target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return doctor.Target{}, errors.New("--endpoint wants a base URL such as https://api.deepseek.com; this one is none")
	}
	if u.User != nil || u.Fragment != "" {
		return doctor.Target{}, errors.New("--endpoint has a user or a fragment: want the base URL alone; keys come from the environment or from --config")
	}
	p := doctor.Target{Endpoint: breakwater.Endpoint{URL: text}}
	for _, v := range config.Variables() {
		known, ok := presetFor(v, env)
		if !ok || u.Scheme != known.Scheme || !strings.EqualFold(u.Host, known.Host) {
			continue
		}
		p.Variable = v.Name
		p.Endpoint.APIKey, _ = env(v.Name)
		return p, nil
	}
	p.Endpoint.Keyless = loopback.IsHost(u.Hostname())
	return p, nil
}

// presetFor returns the URL of the host that a variable has the key of.
func presetFor(v config.Variable, env func(string) (string, bool)) (*url.URL, bool) {
	cfg, err := config.FromEnv(func(name string) (string, bool) {
		switch name {
		case v.Name:
			return "the-key-does-not-matter-here", true
		case v.Also:
			return env(name)
		}
		return "", false
	})
	if err != nil {
		return nil, false
	}
	u, err := url.Parse(cfg.Endpoints[0].URL)
	return u, err == nil
}
