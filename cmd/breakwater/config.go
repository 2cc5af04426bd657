package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	_ "time/tzdata" // for zones, where the system has none

	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
	"github.com/spf13/cobra"
)

// configFile is the file that commands take if none is named.
const configFile = "breakwater.yaml"

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check and show the configuration file",
		Long: `config checks and shows the configuration of the proxy: hosts with their keys,
limits, timeouts, clients. See
https://github.com/breakwater-go/breakwater/blob/main/docs/configuration.md`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newConfigCheck(), newConfigPrint(), newConfigSchema())
	return cmd
}

const whichFile = `FILE is - for the standard input. Without FILE, it is breakwater.yaml in this
folder, or, where there is none, the keys in the environment.`

func newConfigCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Say what is wrong with a configuration file, and what it has",
		Long: `check reads a configuration file and says all that is wrong with it, a line for
each mistake. If nothing is, it says what the file has. It asks no host.

` + whichFile + `

Exit status: 0 if nothing is wrong, 64 if something is.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, source, err := loadConfig(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			return describe(cmd.OutOrStdout(), cfg, source)
		},
	}
}

func newConfigPrint() *cobra.Command {
	return &cobra.Command{
		Use:   "print [FILE]",
		Short: "Print the configuration with all defaults, without secrets",
		Long: `print prints a configuration with all defaults, as a file that is a configuration
itself. A secret appears as the reference to it that the file has, such as
${DEEPSEEK_API_KEY}, or else as (redacted).

` + whichFile + `

Exit status: 0, or 64 if something is wrong with the file.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, _, err := loadConfig(cmd, strings.Join(args, ""))
			if err != nil {
				return err
			}
			text, err := cfg.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

func newConfigSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of the configuration file, for editors",
		Long: `schema prints the JSON schema of the configuration file, so that an editor can
complete and check it. With the YAML language server, put this in the first
line of the file:

  # yaml-language-server: $schema=./breakwater.schema.json`,
		Example: "  breakwater config schema > breakwater.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(config.Schema())
			return err
		},
	}
}

// loadConfig reads the configuration that a command was given. Without a file, it is that of
// this folder or of the environment. source says which, for people. If something is wrong,
// loadConfig writes it to the standard error, and its error has been said.
func loadConfig(cmd *cobra.Command, file string) (cfg *config.Config, source string, err error) {
	source = file
	switch {
	case file == "-":
		source = "standard input"
		var text []byte
		if text, err = io.ReadAll(io.LimitReader(cmd.InOrStdin(), config.MaxFile+1)); err == nil {
			cfg, err = config.Parse("-", text, os.LookupEnv)
		}
	case file != "":
		cfg, err = config.Load(file, os.LookupEnv)
	default:
		source = configFile
		if cfg, err = config.Load(configFile, os.LookupEnv); errors.Is(err, fs.ErrNotExist) {
			source = "environment"
			cfg, err = config.FromEnv(os.LookupEnv)
		}
	}
	if err != nil {
		return nil, source, sayMistakes(cmd, err)
	}
	return cfg, source, nil
}

// sayMistakes writes what is wrong with a configuration, a line for each mistake, as compilers
// do, so that editors find the place.
func sayMistakes(cmd *cobra.Command, err error) error {
	all, ok := errors.AsType[config.Errors](err)
	if !ok {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), all)
	if len(all) > 1 {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d mistakes\n", len(all))
	}
	return &statusError{status: statusUsage}
}

// describe says what a configuration has.
func describe(w io.Writer, cfg *config.Config, source string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: nothing is wrong\n", source)
	width := 0
	for _, tier := range cfg.Tiers() {
		for _, e := range tier {
			width = max(width, len(e.Name))
		}
	}
	for i, tier := range cfg.Tiers() {
		label := "endpoints"
		if i > 0 {
			label = fmt.Sprintf("backup %d", i)
		}
		for _, e := range tier {
			fmt.Fprintf(&b, "  %-10s  %-*s  %s\n", label, width, e.Name, e.URL)
			label = ""
		}
	}
	fmt.Fprintf(&b, "  %-10s  %s\n", "policies", cmp.Or(strings.Join(given(cfg), ", "), "defaults"))
	fmt.Fprintf(&b, "  %-10s  %s\n", "proxy", describeServer(&cfg.Server))
	_, err := io.WriteString(w, b.String())
	return err
}

// given returns the sections of policies that the configuration has.
func given(cfg *config.Config) []string {
	policies := map[string]bool{
		"cache": cfg.Cache != nil, "idempotency": cfg.Idempotency != nil, "rate_limit": cfg.RateLimit != nil,
		"breaker": cfg.Breaker != nil, "retry": cfg.Retry != nil, "stream": cfg.Stream != nil, "balance": cfg.Balance != nil,
		"probes": cfg.Probes != nil, "spend": cfg.Spend != nil, "tenants": cfg.Tenants != nil, "strict": cfg.Strict, "errors": cfg.Errors,
	}
	var names []string
	for name, has := range policies {
		if has {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func describeServer(s *config.Server) string {
	scheme := "http"
	if s.TLS != nil {
		scheme = "https"
	}
	who := "no tokens: programs of this machine only"
	switch len(s.Clients) {
	case 0:
	case 1:
		who = "1 client"
	default:
		who = fmt.Sprintf("%d clients", len(s.Clients))
	}
	return fmt.Sprintf("%s://%s, %s", scheme, s.Listen, who)
}
