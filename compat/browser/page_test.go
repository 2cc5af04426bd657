package browser

import (
	"context"
	"fmt"
	"iter"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/slo"
	"github.com/breakwater-go/breakwater/statuspage"
)

// The page in Chromium: in both languages, light and dark, narrow and wide. PICTURES names a
// directory for pictures of it.
func TestPage(t *testing.T) {
	b := newBrowser(t)
	s := newService(t)
	axe := axeCore(t)
	t.Run("refreshes", func(t *testing.T) { refreshes(t, s, b) })
	for _, language := range []string{"en", "zh"} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{360, 1200} {
				name := fmt.Sprintf("%s-%s-%d", language, scheme, width)
				t.Run(name, func(t *testing.T) { renders(t, s, b, language, scheme, width, axe, name) })
			}
		}
	}
	t.Run("without JavaScript", func(t *testing.T) { rendersWithoutJavaScript(t, s, b) })
	b.complains(t)
}

// refreshes changes the service, and waits until the page shows it. What the user has opened
// stays open, and the focus stays where it is.
func refreshes(t *testing.T, s *service, b browser) {
	b.do(t, chromedp.Navigate(s.URL), chromedp.WaitReady("#headline.ok"), chromedp.Evaluate[chromedp.Void](`window.same = true;
		document.getElementById('calls-table').open = true; document.querySelector('#calls-table summary').focus()`))
	began := time.Now()
	s.breakPrimary()
	b.do(t, chromedp.WaitReady("#headline.degraded"), chromedp.WaitReady("[title=key_rejected]"))
	t.Logf("the change shows after %v", time.Since(began).Round(time.Millisecond))
	if headline := run(t, b, chromedp.Text("#headline")); !strings.Contains(headline, "deepseek") {
		t.Errorf("the headline does not name who is down: %s", headline)
	}
	if !run(t, b, chromedp.Evaluate[bool](`window.same && document.getElementById('calls-table').open &&
		document.activeElement === document.querySelector('#calls-table summary')`)) {
		t.Error("the refresh takes what the user has opened, or the focus")
	}
}

// renders shows the page and looks for barriers and for what is wider than the window.
func renders(t *testing.T, s *service, b browser, language, scheme string, width int64, axe, name string) {
	b.do(t,
		send(network.SetExtraHTTPHeaders, network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language}}),
		send(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}}),
		send(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 1100, DeviceScaleFactor: 1}),
		chromedp.Navigate(s.URL),
	)
	if dir := os.Getenv("PICTURES"); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, name+".png"), run(t, b, chromedp.FullScreenshot(100)), 0o666); err != nil {
			t.Error(err)
		}
	}
	want := map[string]string{"en": "Endpoints", "zh": "端点"}[language]
	if text := run(t, b, chromedp.Text("main")); !strings.Contains(text, want) {
		t.Errorf("no %q in %s", want, text)
	}
	background := run(t, b, chromedp.Evaluate[string]("getComputedStyle(document.body).backgroundColor"))
	if light := background == "rgb(255, 255, 255)"; light != (scheme == "light") {
		t.Errorf("the background is %s", background)
	}
	if wide := run(t, b, chromedp.Evaluate[int64]("document.documentElement.scrollWidth")); wide > width {
		t.Errorf("it is %d pixels wide", wide)
	}
	if axe == "" {
		return
	}
	b.do(t, chromedp.Evaluate[chromedp.Void](axe))
	for _, barrier := range run(t, b, chromedp.Evaluate[[]string](
		`axe.run().then(r => r.violations.map(v => v.impact + ' ' + v.id + ': ' + v.nodes.map(n => n.html).join('; ').slice(0, 500)))`, chromedp.EvalAwaitPromise)) {
		t.Errorf("axe: %s", barrier)
	}
}

func rendersWithoutJavaScript(t *testing.T, s *service, b browser) {
	b.do(t, send(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}), chromedp.Navigate(s.URL))
	html := run(t, b, chromedp.OuterHTML("html"))
	// Chromium has parsed what is for browsers without JavaScript: with it, this would be text.
	for _, want := range []string{`<noscript><meta http-equiv="refresh"`, "siliconflow"} {
		if !strings.Contains(html, want) {
			t.Errorf("no %s in %.2000s", want, html)
		}
	}
	b.do(t, send(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{}), chromedp.Navigate(s.URL))
}

// A browser is a tab of Chromium.
type browser struct {
	context.Context
	console iter.Seq2[chromedp.ConsoleMessage, error]
}

// newBrowser starts Chromium. It skips the test where there is none.
func newBrowser(t *testing.T) browser {
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WSURLReadTimeout(time.Minute))
	c, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	c, cancel = chromedp.NewContext(c)
	t.Cleanup(cancel)
	if err := chromedp.Do(c); err != nil { // the browser lives as long as the context of the first run
		t.Fatal(err)
	}
	return browser{c, chromedp.Console(c)}
}

// run fails the test if the action does, or takes a minute: then it waits in vain.
func run[T any](t *testing.T, b browser, action chromedp.Action[T]) T {
	t.Helper()
	c, cancel := context.WithTimeout(b, time.Minute)
	defer cancel()
	result, err := chromedp.Run(c, action)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func (b browser) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	run(t, b, chromedp.Steps(actions...))
}

// send returns an action that sends a command without a result.
func send[P, R any](command cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(c context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(c, target, command, params)
		return err
	})
}

// complains fails the test if the console has errors or warnings: violations of the policy for
// content are among them.
func (b browser) complains(t *testing.T) {
	const end = "the end of the test"
	b.do(t, chromedp.Evaluate[chromedp.Void]("console.log('"+end+"')"))
	for m, err := range b.console {
		switch {
		case err != nil:
			t.Fatal(err)
		case m.Text == end:
			return
		case m.Type != "log" && m.Type != "info" && m.Type != "debug":
			t.Errorf("the console says: %s: %s", m.Type, m.Text)
		}
	}
	t.Error("the console ended")
}

// axeCore returns the source of axe-core as package-lock.json names it. It is empty where there
// is no npm.
func axeCore(t *testing.T) string {
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := exec.LookPath("npm"); err != nil {
		t.Log("no npm: axe-core is left out")
		return ""
	}
	npm := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	source, err := os.ReadFile(filepath.Join(dir, "node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	return string(source)
}

// A service has a page, and an hour of calls behind it. No call is sent: the page is told.
type service struct {
	*httptest.Server
	tell func(breakwater.Event)
}

func newService(t *testing.T) *service {
	status := statuspage.New()
	tracker, err := slo.New(slo.Objectives{})
	if err != nil {
		t.Fatal(err)
	}
	transport, err := breakwater.New(breakwater.WithEndpoints(breakwater.DeepSeek("sk-secret")), breakwater.WithBackup(breakwater.SiliconFlow("sk-secret")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { transport.Close() })
	status.Watch(transport, tracker)
	s := &service{Server: httptest.NewServer(status)}
	t.Cleanup(s.Close)
	s.tell = func(e breakwater.Event) {
		status.Observe(t.Context(), e)
		tracker.Observe(t.Context(), e)
	}
	for i := 55; i >= 0; i-- {
		for j := range 24 + i*i%11 + i%3 {
			s.tell(breakwater.Event{
				Kind: breakwater.KindEnd, Time: time.Now().Add(-time.Duration(i) * time.Minute), Endpoint: "deepseek", Call: "c",
				Outcome: breakwater.OutcomeOK, Class: breakwater.ClassOK, FirstToken: time.Duration(400+j*j+i*i%17*9) * time.Millisecond, Elapsed: 3 * time.Second,
			})
		}
	}
	s.tell(breakwater.Event{Kind: breakwater.KindAttempt, Time: time.Now(), Endpoint: "deepseek", Call: "c", Attempt: 1, Class: breakwater.ClassOK})
	return s
}

// breakPrimary has the first endpoint fail, and the backup answer.
func (s *service) breakPrimary() {
	for i := range 6 {
		call, now := fmt.Sprintf("1fkq2x9%dzq3", i), time.Now()
		s.tell(breakwater.Event{Kind: breakwater.KindAttempt, Time: now, Endpoint: "deepseek", Model: "deepseek-chat", Call: call, Attempt: 1, Class: breakwater.ClassUnavailable, Status: 503, Fault: breakwater.FaultHost, Verdict: breakwater.VerdictElsewhere, Elapsed: time.Second})
		s.tell(breakwater.Event{Kind: breakwater.KindAttempt, Time: now, Endpoint: "siliconflow", Model: "deepseek-ai/DeepSeek-V3", Call: call, Attempt: 2, Class: breakwater.ClassOK, Verdict: breakwater.VerdictAccept, Elapsed: time.Second})
		s.tell(breakwater.Event{Kind: breakwater.KindEnd, Time: now, Endpoint: "siliconflow", Model: "deepseek-ai/DeepSeek-V3", Call: call, Outcome: breakwater.OutcomeFailover, Class: breakwater.ClassOK, FirstToken: time.Second, Elapsed: 2 * time.Second})
	}
	s.tell(breakwater.Event{Kind: breakwater.KindKey, Time: time.Now(), Endpoint: "deepseek", Status: 401, Class: breakwater.ClassKeyRejected, Wait: 10 * time.Minute})
}
