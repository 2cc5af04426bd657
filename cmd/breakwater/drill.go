package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/breakwater-go/breakwater/cmd/breakwater/config"
	"github.com/breakwater-go/breakwater/cmd/breakwater/internal/drill"
)

// A drillCommand is the command line of a drill.
type drillCommand struct {
	list, print, schema, check       bool
	bare, compare, quick, plain, yes bool
	rate                             float64
	seed                             uint64
	config, dir, markdown, json, svg string
}

func newDrill() *cobra.Command {
	c := new(drillCommand)
	cmd := &cobra.Command{
		Use:   "drill [NAME | SCRIPT.yaml]",
		Short: "Rehearse an outage, and see whether callers notice it",
		Long: `drill rehearses an outage. Callers send questions while hosts fail and recover
as a script says. A report compares what the callers got with the objectives of
the script.

NAME is one of the scripts that come with the command: see --list. Without a
name, drill plays the first of them.

The hosts are fakes in this process, so a drill needs no key and costs nothing.
With --config, the endpoints of a configuration are called, and requests to
them are broken in this process. That costs money: drill says how much at most,
and calls real hosts only with --yes.

Exit status: 0 if all objectives were held. 1 if one was missed. 2 if the drill
could not be played to its end. 64 for a mistake on the command line, in the
script or in the configuration.`,
		Example: `  breakwater drill --quick                 half a minute, with the first script
  breakwater drill overloaded --compare    beside a bare http.Client
  breakwater drill slow --print >mine.yaml a script to begin with
  breakwater drill mine.yaml --report out  Markdown, JSON and a picture in out/`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.run,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&c.list, "list", false, "list the scripts that come with the command")
	f.BoolVar(&c.print, "print", false, "print the script")
	f.BoolVar(&c.check, "check", false, "check the script, say what it does, and call nobody")
	f.BoolVar(&c.schema, "schema", false, "print the JSON schema of the reports of --json")
	f.BoolVar(&c.quick, "quick", false, "at most 30 seconds of calls: the script's times shrink")
	f.BoolVar(&c.compare, "compare", false, "also make the same calls with a bare http.Client")
	f.BoolVar(&c.bare, "bare", false, "use a bare http.Client instead of breakwater")
	f.StringVar(&c.config, "config", "", "call the endpoints of the configuration `FILE`")
	f.BoolVar(&c.yes, "yes", false, "call real hosts, which costs money")
	f.Float64Var(&c.rate, "rate", 0, "`N` calls a second, in place of the script's")
	f.Uint64Var(&c.seed, "seed", 1, "seed `N` of the random numbers")
	f.BoolVar(&c.plain, "plain", false, "write plain lines, also on a terminal")
	f.StringVar(&c.dir, "report", "", "write report.md, report.json and timeline.svg to `DIR`")
	f.StringVar(&c.markdown, "markdown", "", "write the report as Markdown to `FILE`")
	f.StringVar(&c.json, "json", "", "write the report as JSON to `FILE`; - is standard output")
	f.StringVar(&c.svg, "svg", "", "write the picture to `FILE`")
	return cmd
}

func (c *drillCommand) run(cmd *cobra.Command, args []string) error {
	if c.list {
		return c.writeList(cmd.OutOrStdout())
	}
	if c.schema {
		_, err := cmd.OutOrStdout().Write(drill.SchemaOfReports())
		return err
	}
	if c.bare && c.compare {
		return errors.New("--compare plays a bare client already: give one of --bare and --compare")
	}
	name, text, err := readScript(args)
	if err != nil {
		return err
	}
	if c.print {
		_, err := cmd.OutOrStdout().Write(text)
		return err
	}
	script, err := drill.Parse(name, text)
	if err != nil {
		return err
	}
	if script, err = c.adapt(script); err != nil {
		return err
	}
	plan, err := c.plan(cmd, script)
	if err != nil || plan == nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if c.json == "-" {
		out = cmd.ErrOrStderr()
	}
	style := c.style(out)
	plan.Viewer = drill.NewScreen(out, style)
	report, err := drill.Play(cmd.Context(), plan.script, plan.Plan)
	if err != nil {
		return &statusError{statusDown, err}
	}
	if err := report.WriteText(out, style); err != nil {
		return &statusError{statusDown, err}
	}
	if err := c.writeReports(report, cmd.OutOrStdout(), out); err != nil {
		return &statusError{statusDown, err}
	}
	switch {
	case report.Stopped:
		return &statusError{statusDown, nil}
	case !report.Held:
		return &statusError{statusDegraded, nil}
	}
	return nil
}

// style is how to write to out: live on a terminal that is large enough.
func (c *drillCommand) style(out io.Writer) drill.Style {
	f, ok := out.(*os.File)
	if !ok || c.plain || !term.IsTerminal(int(f.Fd())) {
		return drill.Style{}
	}
	wide, high, err := term.GetSize(int(f.Fd()))
	return drill.StyleOf(os.LookupEnv, err != nil || wide >= 80 && high >= 16 || wide == 0)
}

// adapt changes a script as the command line says.
func (c *drillCommand) adapt(s *drill.Script) (*drill.Script, error) {
	out := *s
	if c.quick {
		out = out.Quickly()
	}
	if c.rate != 0 {
		if err := out.SetRate(c.rate); err != nil {
			return nil, fmt.Errorf("--rate: %w", err)
		}
	}
	return &out, nil
}

// A drillPlan is a script with where it is played.
type drillPlan struct {
	drill.Plan
	script *drill.Script
}

// plan says how to play a script. It is nil if there is nothing to play: with --check.
func (c *drillCommand) plan(cmd *cobra.Command, s *drill.Script) (*drillPlan, error) {
	p := &drillPlan{script: s, Plan: drill.Plan{Clients: []string{drill.WithBreakwater}, Seed: c.seed, Place: "fake hosts on this machine"}}
	switch {
	case c.bare:
		p.Clients = []string{drill.BareClient}
	case c.compare:
		p.Clients = append(p.Clients, drill.BareClient)
	}
	if c.config != "" {
		return c.planReal(cmd, p)
	}
	if len(s.Hosts) == 0 {
		return nil, errors.New("the script has no hosts: give endpoints with --config")
	}
	p.Stage = func(string) (drill.Stage, error) { return drill.Embedded(s, c.seed, drill.Loopback) }
	if c.check {
		_, err := io.WriteString(cmd.OutOrStdout(), s.Summary())
		return nil, err
	}
	return p, nil
}

// planReal plays a script in front of the endpoints of a configuration. If real hosts are among
// them, it says what that may cost, and refuses without --yes.
func (c *drillCommand) planReal(cmd *cobra.Command, p *drillPlan) (*drillPlan, error) {
	cfg, err := config.Load(c.config, os.LookupEnv)
	if err != nil {
		return nil, err
	}
	real := drill.Real{Endpoints: slices.Concat(cfg.Tiers()...), Options: cfg.Options(), Allowed: c.yes}
	if p.script, err = p.script.Before(real); err != nil {
		return nil, err
	}
	if c.check {
		if _, err := io.WriteString(cmd.OutOrStdout(), p.script.Summary()); err != nil {
			return nil, err
		}
	}
	hosts := real.RealHosts()
	lines := append([]string{"This drill makes at most:"}, real.Forecast(p.script, len(p.Clients))...)
	if len(hosts) > 0 {
		lines = append(lines, "Real hosts: "+strings.Join(hosts, ", ")+". Requests are broken in this process only;", "others who use these hosts notice nothing, but for the load.")
	}
	if _, err := fmt.Fprintln(cmd.ErrOrStderr(), strings.Join(lines, "\n")); err != nil {
		return nil, err
	}
	switch {
	case c.check:
		return nil, nil
	case len(hosts) > 0 && !c.yes:
		return nil, errors.New("these are real hosts, and calls cost money: add --yes if you mean it")
	}
	p.Place = "endpoints of " + filepath.Base(c.config)
	p.Stage = func(string) (drill.Stage, error) { return drill.Endpoints(real, p.script.Load, c.seed) }
	return p, nil
}

func (c *drillCommand) writeList(w io.Writer) error {
	for _, shipped := range drill.AllShipped() {
		s, err := drill.Parse(shipped.File, shipped.Text)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "%-16s %s (%v)\n", shipped.Name, s.Title, s.Duration); err != nil {
			return err
		}
	}
	return nil
}

// readScript reads the script that the command line names.
func readScript(args []string) (name string, text []byte, err error) {
	all := drill.AllShipped()
	if len(args) == 0 {
		return all[0].File, all[0].Text, nil
	}
	var names []string
	for _, shipped := range all {
		if shipped.Name == args[0] {
			return shipped.File, shipped.Text, nil
		}
		names = append(names, shipped.Name)
	}
	if !strings.ContainsAny(args[0], `/\.`) {
		return "", nil, fmt.Errorf("there is no script %q; want one of %s, or a file such as ./%[1]s.yaml", args[0], strings.Join(names, ", "))
	}
	f, err := os.Open(args[0])
	if err != nil {
		return "", nil, fmt.Errorf("reading the script: %w", err)
	}
	defer f.Close()
	if text, err = io.ReadAll(io.LimitReader(f, drill.MaxScript+1)); err != nil {
		return "", nil, fmt.Errorf("reading the script: %w", err)
	}
	return args[0], text, nil
}

// prepare names the files of --report, and finds out before the drill whether they can be
// written.
func (c *drillCommand) prepare() error {
	if c.dir != "" {
		if err := os.MkdirAll(c.dir, 0o777); err != nil {
			return fmt.Errorf("--report: %w", err)
		}
		for _, file := range []struct {
			to   *string
			name string
		}{{&c.markdown, "report.md"}, {&c.json, "report.json"}, {&c.svg, "timeline.svg"}} {
			if *file.to == "" {
				*file.to = filepath.Join(c.dir, file.name)
			}
		}
	}
	for _, name := range []string{c.markdown, c.json, c.svg} {
		if name == "" || name == "-" {
			continue
		}
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return fmt.Errorf("the report cannot be written: %w", err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// writeReports writes the files that were asked for, and says on out where they are.
func (c *drillCommand) writeReports(r *drill.Report, stdout, out io.Writer) error {
	var names []string
	write := func(name string, report func(io.Writer) error) error {
		switch name {
		case "":
			return nil
		case "-":
			return report(stdout)
		}
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := errors.Join(report(f), f.Close()); err != nil {
			return err
		}
		names = append(names, name)
		return nil
	}
	picture := ""
	if c.svg != "" && c.svg != "-" && c.markdown != "" {
		picture = c.svg
		if near, err := filepath.Rel(filepath.Dir(c.markdown), c.svg); err == nil {
			picture = filepath.ToSlash(near)
		}
	}
	err := errors.Join(
		write(c.markdown, func(w io.Writer) error { return r.WriteMarkdown(w, picture) }),
		write(c.json, r.WriteJSON),
		write(c.svg, r.WriteSVG),
	)
	if err == nil && len(names) > 0 {
		_, err = fmt.Fprintf(out, "\nWritten: %s\n", strings.Join(names, ", "))
	}
	return err
}
