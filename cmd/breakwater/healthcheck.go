package main

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

func newHealthcheck() *cobra.Command {
	var live bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "healthcheck [URL]",
		Short: "Ask a running proxy whether it is ready, for containers",
		Long: `healthcheck asks a running breakwater proxy whether it can answer calls. It is
for containers that have no other program, such as curl. URL is where the proxy
listens. Default: http://127.0.0.1:8787.

Exit status: 0 if it can, or with --live if it runs. 2 if not, or if it cannot
be reached. 64 for a mistake on the command line.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			at := "http://127.0.0.1:8787"
			if len(args) > 0 {
				at = args[0]
			}
			u, err := url.Parse(at)
			if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
				return fmt.Errorf("%q is no URL: want one such as http://127.0.0.1:8787", at)
			}
			path := "/readyz"
			if live {
				path = "/livez"
			}
			return checkHealth(cmd, u.JoinPath(path), timeout)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "ask only whether the proxy runs (/livez, not /readyz)")
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Second, "how long the proxy may take")
	return cmd
}

// checkHealth returns an error with the proxy's own words if it is not well.
func checkHealth(cmd *cobra.Command, u *url.URL, timeout time.Duration) error {
	// A proxy that is asked for its health is never behind another one.
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(cmd.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return &statusError{statusDown, err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	said := printable(string(body))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", printable(resp.Status), said)
	}
	if err != nil {
		return &statusError{statusDown, err}
	}
	fmt.Fprintln(cmd.OutOrStdout(), said)
	return nil
}

// printable returns a text without what could control a terminal: another program may listen at the URL.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.TrimSpace(text))
}
