package breakwater

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A world is a fleet of fake hosts and a Transport over it, in virtual time,
// with everything that happens written down.
type world struct {
	t     *testing.T
	fleet *kit.Fleet
	rt    *Transport
	start time.Time
	wire  kit.Wire // of the calls

	mu    sync.Mutex
	lines []string
}

const (
	testModel   = "deepseek-flash"
	backupModel = "deepseek-v4-flash-ga"
)

// fleetOf returns two DeepSeek hosts and a backup elsewhere under another name.
func fleetOf() []kit.Host {
	backup := kit.OpenAI("backup")
	backup.BasePath = "/api/v3"
	backup.Models = []string{backupModel}
	backup.Keys = []string{"sk-backup"}
	primary, second := kit.DeepSeek("primary"), kit.DeepSeek("second")
	primary.Keys, second.Keys = []string{"sk-primary"}, []string{"sk-second"}
	return []kit.Host{primary, second, backup}
}

// inWorld runs f in a bubble with the fleet's named endpoints: those of the
// first tier, and the backup if it is among them.
func inWorld(t *testing.T, names string, opts []Option, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fleet, err := kit.NewPipeFleet(fleetOf()...)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, fleet: fleet, start: time.Now()}
		base := fleet.Transport()
		w.rt, err = New(append(append([]Option{steady(), WithBase(base), WithObserver(w.observe)}, w.endpoints(names)...), opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		f(w)
		w.rt.Close()
		base.CloseIdleConnections()
		fleet.Close()
	})
}

func (w *world) endpoints(names string) []Option {
	var opts []Option
	for name := range strings.FieldsSeq(names) {
		e := w.endpoint(name)
		if name == "backup" {
			opts = append(opts, WithBackup(e))
		} else {
			opts = append(opts, WithEndpoints(e))
		}
	}
	return opts
}

// update lets the Transport have the named endpoints, edited.
func (w *world) update(names string, edit func(*Endpoint)) {
	w.t.Helper()
	opts := []Option{steady(), WithBase(w.rt.now().config.base), WithObserver(w.observe)}
	for i, name := range strings.Fields(names) {
		e := w.endpoint(name)
		edit(&e)
		if i == 0 {
			opts = append(opts, WithEndpoints(e))
		} else {
			opts = append(opts, WithBackup(e))
		}
	}
	if err := w.rt.Update(opts...); err != nil {
		w.t.Fatal(err)
	}
	w.note("update to %s", names)
}

func (w *world) endpoint(name string) Endpoint {
	e := Endpoint{Name: name, URL: w.fleet.Server(name).URL(), APIKey: "sk-" + name, Host: HostDeepSeek, Tags: []string{"own"}}
	if name == "backup" {
		e.Host, e.Tags = HostOpenAI, nil
		e.Models = map[string]string{testModel: backupModel}
	}
	return e
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprintf("%8.3fs  ", time.Since(w.start).Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) observe(_ context.Context, e Event) {
	if e.Kind == KindEnd { // it repeats what the others say: see TestEnd
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-11s", e.Kind)
	add := func(ok bool, format string, args ...any) {
		if ok {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	add(e.Endpoint != "", "%s", e.Endpoint)
	add(e.Attempt != 0, "#%d", e.Attempt)
	add(e.Status != 0, "%d", e.Status)
	add(e.Class != "", "%s", e.Class)
	add(e.Verdict != "", "-> %s", e.Verdict)
	add(e.Wait != 0, "wait %v", e.Wait)
	add(e.To != "", "%s -> %s", e.From, e.To)
	add(e.From != "" && e.To == "" && e.Kind != KindCacheShared, "%s", e.From) // which has a random id
	add(e.Reason != "", "because of %s", e.Reason)
	add(e.Flaw != nil, "marked: %v", e.Flaw)
	if h := e.Health; h != nil {
		add(true, "reachable %s", cmp.Or(h.Reachable, "?"))
		add(h.Credential != "", "key accepted %s", h.Credential)
		add(h.Funds != "", "funds %s", h.Funds)
		add(h.Balance != nil, "balance %+v", h.Balance)
		add(len(h.Missing) > 0, "missing %q", h.Missing)
	}
	add(e.Cost.Amount > 0, "for %v", e.Cost)
	w.note("%s", b.String())
}

// call asks one question and notes what the caller saw.
func (w *world) call(prompt string, stream bool) (kit.Reply, error) {
	return w.callWith(context.Background(), prompt, stream, nil)
}

func (w *world) callWith(ctx context.Context, prompt string, stream bool, edit func(*http.Request)) (kit.Reply, error) {
	w.t.Helper()
	server := w.fleet.Servers()[0]
	req, err := w.wire.Request(ctx, server.WireURL(w.wire), "sk-caller", testModel, prompt, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	if edit != nil {
		edit(req)
	}
	on := ""
	if w.wire != kit.Chat {
		on = " on " + w.wire.String()
	}
	w.note("caller asks %q stream=%v%s", prompt, stream, on)
	resp, err := (&http.Client{Transport: w.rt}).Do(req)
	if err != nil {
		w.note("caller sees error: %s", sentinel(err))
		return kit.Reply{}, err
	}
	status, headers := resp.StatusCode, callerHeaders(resp.Header)
	reply, err := kit.ReadAnswer(resp)
	said := "part of an answer"
	switch {
	case reply.Content == kit.Answer(prompt) && reply.FinishReason == "stop":
		said = "the right answer"
	case reply.Content == "":
		said = "no answer"
	}
	if err != nil {
		said += ", error: " + sentinel(err)
	}
	w.note("caller sees %d%s: %s", status, headers, said)
	return reply, err
}

// callerHeaders tells the headers that are part of our behaviour.
func callerHeaders(h http.Header) string {
	var b strings.Builder
	for _, name := range []string{headerEndpoint, headerAttempts, headerError, headerRetry, "Retry-After", "Cache-Status", "Age"} {
		if v := h.Get(name); v != "" {
			fmt.Fprintf(&b, " %s=%q", strings.TrimPrefix(name, "Breakwater-"), v)
		}
	}
	return b.String()
}

// sentinel tells an error by what it is, for the text may vary.
func sentinel(err error) string {
	var status *kit.StatusError
	for name, target := range map[string]error{
		"ErrTruncated": ErrTruncated, "ErrStalled": ErrStalled, "ErrBadResponse": ErrBadResponse,
		"ErrNoFirstToken": ErrNoFirstToken, "deadline exceeded": context.DeadlineExceeded, "canceled": context.Canceled,
	} {
		if errors.Is(err, target) {
			return name
		}
	}
	if errors.As(err, &status) {
		return fmt.Sprintf("status %d", status.Code)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "unexpected EOF"
	}
	return err.Error()
}

// fileName makes a file's name of a test's. The module proxy takes no module with a file whose name
// has an apostrophe.
var fileName = strings.NewReplacer(" ", "_", "'", "")

// golden compares what was written down with the file of the test's name.
// UPDATE_GOLDEN=1 writes it instead.
func (w *world) golden() {
	w.t.Helper()
	w.mu.Lock()
	got := strings.Join(w.lines, "\n") + "\n"
	w.mu.Unlock()
	file := filepath.Join("testdata", "timelines", fileName.Replace(strings.TrimPrefix(strings.TrimPrefix(w.t.Name(), "TestTimeline/"), "Test"))+".txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if got != string(want) {
		w.t.Errorf("timeline differs from %s\ngot:\n%swant:\n%s", file, got, want)
	}
}
