// The command breakwater tells what is broken between a program and its LLM API, is a proxy for
// clients in any language, and rehearses outages.
//
//	go install github.com/breakwater-go/breakwater/cmd/breakwater@latest
//
// In a clone of the repository, go run ./cmd/breakwater does the same.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit statuses of all commands. Each command's help says what the first three mean for it.
const (
	statusOK       = 0
	statusDegraded = 1
	statusDown     = 2
	statusUsage    = 64 // EX_USAGE of sysexits.h: a mistake on the command line or in a file
)

// A statusError is an error of a command that ran. Any other error is a mistake in its usage.
type statusError struct {
	status int
	err    error // nil: the command has said all there is
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run runs a command line and returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return statusOK
	}
	var ran *statusError
	if !errors.As(err, &ran) {
		gap := " "
		if strings.Contains(err.Error(), "\n") {
			gap = "\n" // several mistakes: each has a line of its own
		}
		fmt.Fprintf(stderr, "%s:%s%v\nRun \"%[1]s --help\" for usage.\n", cmd.CommandPath(), gap, err)
		return statusUsage
	}
	if ran.err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), ran.err)
	}
	return ran.status
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "breakwater",
		Short: "Find, survive and rehearse outages of LLM APIs",
		Long: `breakwater finds, survives and rehearses outages of LLM APIs: of DeepSeek, and
of other hosts that serve DeepSeek's models.

Exit status: 0 means success. 64 means a mistake on the command line or in a
file. The help of each command explains its other exit statuses.`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("breakwater {{.Version}}\n")
	root.AddCommand(newDoctor())
	root.AddCommand(newDrill())
	root.AddCommand(newHealthcheck())
	root.AddCommand(newConfig())
	root.AddCommand(newProxy())
	return root
}

// version returns the version of the module, or the revision that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" {
		v = "(devel)"
	}
	return v + " " + info.GoVersion
}
