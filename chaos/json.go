package chaos

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"time"
)

// plainRule is a Rule without its methods.
type plainRule Rule

// durations are the names of the fields of a Rule that are durations.
var durations = func() []string {
	var names []string
	for field := range reflect.TypeFor[Rule]().Fields() {
		if field.Type == reflect.TypeFor[time.Duration]() {
			name, _, _ := bytes.Cut([]byte(field.Tag.Get("json")), []byte(","))
			names = append(names, string(name))
		}
	}
	return names
}()

// MarshalJSON writes durations as texts, such as "1m30s".
func (r Rule) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(plainRule(r))
	if err != nil {
		return nil, err
	}
	return eachDuration(text, func(value json.RawMessage) (json.RawMessage, error) {
		var d time.Duration
		if err := json.Unmarshal(value, &d); err != nil {
			return nil, err
		}
		return json.Marshal(d.String())
	})
}

// UnmarshalJSON reads a rule. A field that does not exist is an error.
func (r *Rule) UnmarshalJSON(text []byte) error {
	text, err := eachDuration(text, func(value json.RawMessage) (json.RawMessage, error) {
		var said string
		if err := json.Unmarshal(value, &said); err != nil {
			return nil, fmt.Errorf("%s is no duration: write a text such as \"30s\"", value)
		}
		d, err := time.ParseDuration(said)
		if err != nil {
			return nil, fmt.Errorf("%q is no duration: write one such as \"30s\" or \"1m30s\"", said)
		}
		return json.Marshal(d)
	})
	if err != nil {
		return fmt.Errorf("chaos: a rule: %w", err)
	}
	read := json.NewDecoder(bytes.NewReader(text))
	read.DisallowUnknownFields()
	var plain plainRule
	if err := read.Decode(&plain); err != nil {
		return fmt.Errorf("chaos: a rule: %w", err)
	}
	*r = Rule(plain)
	return nil
}

// eachDuration replaces the durations of a rule.
func eachDuration(text []byte, change func(json.RawMessage) (json.RawMessage, error)) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	for _, name := range durations {
		value, ok := members[name]
		if !ok || string(value) == "null" {
			continue
		}
		changed, err := change(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		members[name] = changed
	}
	return json.Marshal(members)
}
