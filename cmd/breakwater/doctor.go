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
		Long: `doctor looks at each endpoint from below: proxy variables, DNS, TCP and TLS of
each address, HTTP, the clock, the key, the balance and the model. It says what
it saw, what that most likely means, and what to do next. It takes ten seconds
at most, and costs nothing. With --spend it also asks for two short answers,
because some faults show only there.

The endpoints are those of --config, or those of --endpoint, or DeepSeek's with
the key of DEEPSEEK_API_KEY. A host that --endpoint names by its URL gets the
key of its own variable, such as SILICONFLOW_API_KEY, and no other one.

Exit status: 0 if all endpoints are well, 1 if something is wrong and calls can
be answered, 2 if no endpoint can answer calls, 64 for a mistake on the command
line or in the file.`,
		Example: `  breakwater doctor
  breakwater doctor --spend --lang zh
  breakwater doctor --config breakwater.yaml --json
  breakwater doctor --endpoint https://api.siliconflow.com/v1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, &f, env) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "look at all endpoints of a configuration `file`")
	flags.StringArrayVar(&f.endpoints, "endpoint", nil, "the base `URL` of an endpoint; may be repeated")
	flags.BoolVar(&f.json, "json", false, "write JSON: see diagnose/report.schema.json")
	flags.StringVar(&f.language, "lang", "", "the `language`: en or zh (default: that of LC_ALL\nor LANG)")
	flags.BoolVar(&f.spend, "spend", false, "also ask for two short answers (a few tokens)")
	flags.StringVar(&f.model, "model", "", "the `name` of the model, as the program asks for it")
	flags.StringVar(&f.wire, "wire", "", "the `API` for --spend: chat, fim, responses,\nmessages or embeddings")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long all may take")
	flags.StringArrayVar(&f.nameservers, "nameserver", nil, "the `address` of a nameserver to ask, in place of\nthose of /etc/resolv.conf; may be repeated")
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
	patients, err := f.patients(env)
	if err != nil {
		return err
	}
	reports := doctor.Run(cmd.Context(), doctor.Config{
		Patients: patients, Options: opts, Language: language, JSON: f.json,
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
	opts := []diagnose.Option{diagnose.WithLanguage(language), diagnose.WithTimeout(f.timeout)}
	if f.spend {
		opts = append(opts, diagnose.WithSpend())
	}
	if f.model != "" {
		opts = append(opts, diagnose.WithModel(f.model))
	}
	if f.wire != "" {
		opts = append(opts, diagnose.WithWire(diagnose.Wire(f.wire)))
	}
	if len(f.nameservers) > 0 {
		opts = append(opts, diagnose.WithNameservers(f.nameservers...))
	}
	return opts, diagnose.Check(opts...)
}

// patients returns the endpoints to look at, each with the variable that its key should come from.
func (f *doctorFlags) patients(env func(string) (string, bool)) (all []doctor.Patient, err error) {
	switch {
	case f.config != "":
		cfg, err := config.Load(f.config, env)
		if err != nil {
			return nil, err
		}
		for _, e := range slices.Concat(cfg.Tiers()...) {
			all = append(all, doctor.Patient{Endpoint: e})
		}
		return all, nil
	case len(f.endpoints) > 0:
		for _, text := range f.endpoints {
			p, err := patientAt(text, env)
			if err != nil {
				return nil, err
			}
			all = append(all, p)
		}
		return all, nil
	}
	key, _ := env("DEEPSEEK_API_KEY")
	return []doctor.Patient{{Endpoint: breakwater.DeepSeek(key), Variable: "DEEPSEEK_API_KEY"}}, nil
}

// patientAt returns the endpoint of a URL. If it is that of a known host's own servers, the
// endpoint gets the key of that host's variable. A key goes to no other host.
func patientAt(text string, env func(string) (string, bool)) (doctor.Patient, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return doctor.Patient{}, errors.New("--endpoint wants a base URL such as https://api.deepseek.com; this one is none")
	}
	if u.User != nil || u.Fragment != "" {
		return doctor.Patient{}, errors.New("--endpoint has a user or a fragment: want the base URL alone; keys come from the environment or from --config")
	}
	p := doctor.Patient{Endpoint: breakwater.Endpoint{URL: text}}
	for _, v := range config.Variables() {
		known, ok := presetFor(v, env)
		if !ok || u.Scheme != known.Scheme || !strings.EqualFold(u.Host, known.Host) {
			continue
		}
		p.Variable = v.Name
		p.Endpoint.APIKey, _ = env(v.Name)
		return p, nil
	}
	p.Endpoint.Keyless = isLoopbackURL(u)
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

func isLoopbackURL(u *url.URL) bool {
	name := u.Hostname()
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || name == "::1" || strings.HasPrefix(name, "127.")
}
