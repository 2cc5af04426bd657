package lint

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
)

// TestCompose_Loads has Compose's own loader check each file against its schema.
func TestCompose_Loads(t *testing.T) {
	files, err := filepath.Glob("../compose/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	projects := 0
	for _, file := range files {
		if filepath.Base(file) == "shared-breakwater.yaml" { // what the proxy of shared.yaml reads
			requireConfig(t, file, read(t, file))
			continue
		}
		projects++
		options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv([]string{"DEEPSEEK_API_KEY=sk-test"}))
		if err != nil {
			t.Fatal(err)
		}
		project, err := options.LoadProject(t.Context())
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		s, err := project.GetService("breakwater")
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= time.Minute {
			t.Errorf("%s: stop_grace_period is %v, want more than the drain of a minute", file, s.StopGracePeriod)
		}
		if !s.ReadOnly || len(s.CapDrop) == 0 || len(s.SecurityOpt) == 0 {
			t.Errorf("%s: the container has more rights than it needs", file)
		}
	}
	if projects != 2 {
		t.Errorf("%d files of Compose, want 2", projects)
	}
}
