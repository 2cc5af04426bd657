package config

import "github.com/breakwater-go/breakwater"

// validate notes what the library finds wrong.
func (d *decoder) validate(c *Config) {
	t, err := breakwater.New(c.Options()...)
	if err != nil {
		d.wrong(d.nodes[""], "", err.Error(), "")
		return
	}
	t.Close()
}
