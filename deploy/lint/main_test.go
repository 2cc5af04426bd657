package lint

import (
	"fmt"
	"os"
	"testing"
)

// tempFolder has what tests build once.
var tempFolder string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if tempFolder, err = os.MkdirTemp("", "lint"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(tempFolder)
		return m.Run()
	}())
}
