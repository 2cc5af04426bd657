package dialect

import (
	"bytes"
	"encoding/json"
)

// Fields is a JSON object as names and values, alternating. It keeps their order.
type Fields []any

// MarshalJSON implements json.Marshaler.
func (f Fields) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := 0; i+1 < len(f); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(toJSON(f[i]))
		b.WriteByte(':')
		b.WriteString(toJSON(f[i+1]))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// JSON returns the object as text.
func (f Fields) JSON() string { return toJSON(f) }

// toJSON marshals v, which has one of our own types. Marshaling these never fails.
func toJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("dialect: " + err.Error())
	}
	return string(text)
}
