package main

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// writes are what a writer got, one write each.
type writes []string

// Write notes a write.
func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// Lines of requests wait for others, but not for long. Warnings do not wait, and nothing is lost.
func TestLog_LinesAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got writes
		log, flush, err := newLogger("text", &got)
		if err != nil {
			t.Fatal(err)
		}
		log = log.With(slog.Int("a", 1)).WithGroup("g")
		expect := func(when string, want ...string) {
			t.Helper()
			var texts []string
			for _, w := range got {
				var text []string
				for line := range strings.Lines(w) {
					_, line, _ = strings.Cut(line, "msg=")
					text = append(text, strings.TrimSpace(line))
				}
				texts = append(texts, strings.Join(text, ","))
			}
			if strings.Join(texts, "|") != strings.Join(want, "|") {
				t.Errorf("%s there are the writes %q, want %q", when, texts, want)
			}
			got = nil
		}
		log.Info("one")
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		log.Info("two")
		expect("after 99 ms")
		time.Sleep(time.Millisecond)
		synctest.Wait()
		expect("after 100 ms", "one a=1,two a=1")
		time.Sleep(time.Second)
		synctest.Wait()
		expect("without a line")
		log.Info("three", slog.Int("b", 2))
		log.Warn("four")
		expect("after a warning", "three a=1 g.b=2,four a=1")
		time.Sleep(time.Second)
		synctest.Wait()
		expect("later")
		log.Info("five")
		flush()
		flush()
		expect("at the end", "five a=1")
		for range 500 {
			log.Info(strings.Repeat("x", 100))
		}
		if len(got) != 2 || len(got[0]) < linesHeld || len(got[0]) > linesHeld+200 {
			t.Errorf("of many lines, %d writes were made, want 2 of %d bytes", len(got), linesHeld)
		}
		flush()
		if n := strings.Count(strings.Join(got, ""), "\n"); n != 500 {
			t.Errorf("%d lines of 500 were written", n)
		}
	})
}
