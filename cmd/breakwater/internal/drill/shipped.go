package drill

import (
	"embed"
	"fmt"
	"path"
	"strings"
)

//go:embed scripts/*.yaml
var scripts embed.FS

// A Shipped is a script that comes with the command. Its name has no number.
type Shipped struct {
	Name string
	File string // for mistakes
	Text []byte
}

// AllShipped returns the scripts that come with the command, in the order to play them.
func AllShipped() []Shipped {
	entries, err := scripts.ReadDir("scripts")
	if err != nil {
		panic(fmt.Sprintf("drill: reading the embedded scripts: %v", err)) // the compiler put them there
	}
	var all []Shipped
	for _, entry := range entries {
		text, err := scripts.ReadFile(path.Join("scripts", entry.Name()))
		if err != nil {
			panic(fmt.Sprintf("drill: reading an embedded script: %v", err))
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(entry.Name(), ".yaml"), "-")
		all = append(all, Shipped{Name: name, File: name + ".yaml", Text: text})
	}
	return all
}
