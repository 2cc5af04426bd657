package main

import (
	"testing"

	"github.com/breakwater-go/breakwater/internal/test/recipe/recipetest"
)

func TestPage(t *testing.T) { recipetest.Run(t, "retries.md", run) }
