package breakwatertest

import (
	"fmt"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// A Dialect is a host's form of errors and extra fields.
type Dialect int

const (
	// DialectDeepSeek thinks by default and sends x-ds-trace-id.
	DialectDeepSeek Dialect = iota
	// DialectOpenAI answers an unknown model with 404 model_not_found.
	DialectOpenAI
	// DialectSiliconFlow has flat errors: {"code":…,"message":…,"data":null}.
	DialectSiliconFlow
	// DialectArk has codes in PascalCase, and answers 403 to an account in debt.
	DialectArk
	// DialectBailian answers 429 insufficient_quota at a rate limit that ends within
	// a minute, and 400 Arrearage to an account in debt.
	DialectBailian
	// DialectTokenHub is like DialectOpenAI, as far as we know.
	DialectTokenHub
	// DialectQianfan has an id beside the error, and answers 403 account_overdue.
	DialectQianfan
	// DialectAzure sends retry-after-ms beside Retry-After.
	DialectAzure
	// DialectOpenRouter has the status as a number in error.code, and metadata.
	DialectOpenRouter
	// DialectTogether answers a missing key in plain text.
	DialectTogether
	// DialectFireworks is like DialectOpenAI, with a few codes of its own.
	DialectFireworks
	// DialectOllama has a string as the error.
	DialectOllama
	// DialectVLLM has the status as a number in error.code.
	DialectVLLM
	// DialectSGLang has flat errors: {"object":"error","message":…,"code":400}.
	DialectSGLang
)

// String returns the name of the dialect.
func (d Dialect) String() string {
	if !d.known() {
		return fmt.Sprintf("Dialect(%d)", int(d))
	}
	return d.row().Name
}

func (d Dialect) known() bool { return dialect.Dialect(d).Known() }

func (d Dialect) row() *dialect.Row { return dialect.Dialect(d).Row() }

// words returns the host's own refusal.
func (d Dialect) words(r dialect.Refusal) dialect.Failure { return dialect.Dialect(d).Words(r) }
