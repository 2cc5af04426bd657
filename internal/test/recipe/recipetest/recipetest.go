// Package recipetest compares the recipes' programs with their pages.
package recipetest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/recipe"
)

// A Program is a recipe's program over a fleet of fakes.
type Program func(ctx context.Context, out io.Writer, start recipe.Starter) error

// Run runs a program in virtual time, and compares it with its page.
func Run(t *testing.T, page string, program Program) {
	synctest.Test(t, func(t *testing.T) { compare(t, page, program, kit.NewPipeFleet) })
}

// RunOnLoopback does the same in real time, for programs that listen themselves.
func RunOnLoopback(t *testing.T, page string, program Program) {
	compare(t, page, program, kit.NewFleet)
}

// compare checks that the page shows the program's output, and that its Go is the
// program's own.
func compare(t *testing.T, page string, program Program, start recipe.Starter) {
	var out strings.Builder
	if err := program(t.Context(), &out, start); err != nil {
		t.Errorf("the program ends in %v", err)
	}
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "recipes", page))
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const command = "$ go run ./examples/"
	shown := ""
	for _, b := range blocks(string(text)) {
		if rest, ok := strings.CutPrefix(b.text, command+filepath.Base(here)+"\n"); ok {
			shown = rest
		}
	}
	if shown != out.String() {
		t.Errorf("docs/recipes/%s does not show what the program prints:\n%s", page, out.String())
	}
	source, err := os.ReadFile("service.go")
	if err != nil {
		t.Fatal(err)
	}
	pieces := 0
	for _, b := range blocks(string(text)) {
		if b.language != "go" || !strings.Contains(b.text, "options := ") {
			continue
		}
		pieces++
		if !strings.Contains(unindented(string(source)), unindented(b.text)) {
			t.Errorf("docs/recipes/%s shows options that are not those of service.go:\n%s", page, b.text)
		}
	}
	if pieces == 0 {
		t.Errorf("docs/recipes/%s shows no options of service.go", page)
	}
}

// A block is a fenced code block of a page.
type block struct{ language, text string }

func blocks(page string) (found []block) {
	parts := strings.Split("\n"+page, "\n```")
	for i := 1; i < len(parts); i += 2 {
		language, text, _ := strings.Cut(parts[i], "\n")
		found = append(found, block{language, text + "\n"})
	}
	return found
}

// unindented returns code without the indentation of its lines.
func unindented(code string) string {
	var b strings.Builder
	for line := range strings.Lines(code) {
		b.WriteString(strings.TrimLeft(line, "\t "))
	}
	return b.String()
}
