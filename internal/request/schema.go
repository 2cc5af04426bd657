package request

import "github.com/tidwall/gjson"

// Schema returns the JSON schema that the answer to a request should have, nil if the request
// has none: a part of the body.
func Schema(body []byte) []byte {
	for _, path := range []string{
		"response_format.json_schema.schema", // chats
		"response_format.schema",             // of Fireworks and Together
		"text.format.schema",                 // the Responses API
		"output_config.format.schema",        // the Messages API
		"output_format.schema",               // its earlier form
	} {
		if schema := gjson.GetBytes(body, path); schema.IsObject() {
			return body[schema.Index : schema.Index+len(schema.Raw)]
		}
	}
	return nil
}
