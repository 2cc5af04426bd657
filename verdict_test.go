package breakwater

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// The verdict table: what follows a refusal with a backup elsewhere and without
// one; whose rest it earns. What the words of each host mean is in the tests of
// internal/host (TestClassify), what the circuit hears in those of
// internal/outcome (TestClass_Outcomes).
func TestFailover_Verdicts(t *testing.T) {
	const (
		again = "again"
		on    = "elsewhere"
		stop  = "stop"
	)
	nested := func(message, kind, code string) string {
		return fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, message, kind, code)
	}
	tooLong := "This model's maximum context length is 131072 tokens. However, you requested 131134 tokens"
	for _, tt := range []struct {
		name   string
		host   Host
		status int
		body   string // not JSON: text without a type
		header string // Name: value
		class  Class
		then   string // with a backup: the verdicts on the host's attempts
		rests  string // with a backup: endpoint, account, model (of the account), model of the endpoint, or nobody
	}{
		// DeepSeek: quick_start/error_codes, and bodies as seen.
		{"DeepSeek 400", HostDeepSeek, 400, nested("Failed to deserialize the JSON body into the target type", "invalid_request_error", "invalid_request_error"), "", ClassRefused, stop, ""},
		{"DeepSeek 401", HostDeepSeek, 401, nested("Authentication Fails, Your api key: ****xxxx is invalid", "authentication_error", "invalid_request_error"), "", ClassKeyRejected, on, "endpoint"},
		{"DeepSeek 401 in plain text", HostDeepSeek, 401, "Authentication Fails (governor)", "", ClassKeyRejected, on, "endpoint"},
		{"DeepSeek 402", HostDeepSeek, 402, nested("Insufficient Balance", "unknown_error", "invalid_request_error"), "", ClassNoFunds, on, "account"},
		{"DeepSeek 422", HostDeepSeek, 422, nested("Invalid parameters", "invalid_request_error", "invalid_request_error"), "", ClassRefused, stop, ""},
		{"DeepSeek 429 that speaks of the balance", HostDeepSeek, 429, nested("Your current concurrency is 40, which exceeds your concurrency limit of 39 based on your remaining balance. Please top up your balance to restore your concurrency.", "rate_limit_error", "rate_limit_error"), "", ClassRateLimited, "again again elsewhere", "model"},
		{"DeepSeek 500", HostDeepSeek, 500, nested("Server error", "server_error", "server_error"), "", ClassUnavailable, "again elsewhere", ""},
		{"DeepSeek 503", HostDeepSeek, 503, nested("Service is too busy.", "service_unavailable_error", "service_unavailable_error"), "", ClassUnavailable, "again elsewhere", ""},
		{"DeepSeek retired model", HostDeepSeek, 400, nested("The supported API model names are deepseek-v4-pro or deepseek-v4-flash, but you passed deepseek-chat.", "invalid_request_error", "invalid_request_error"), "", ClassNoModel, on, "model of the endpoint"},
		{"DeepSeek unknown model", HostDeepSeek, 400, nested("Model Not Exist", "invalid_request_error", "invalid_request_error"), "", ClassNoModel, on, "model of the endpoint"},
		{"DeepSeek context length", HostDeepSeek, 400, nested(tooLong, "invalid_request_error", "invalid_request_error"), "", ClassUnsuited, on, ""},
		{"DeepSeek misses the reasoning", HostDeepSeek, 400, nested("The `reasoning_content` in the thinking mode must be passed back to the API.", "invalid_request_error", "invalid_request_error"), "", ClassUnsuited, on, ""},
		{"DeepSeek content filter", HostDeepSeek, 400, nested("Content Exists Risk", "invalid_request_error", "invalid_request_error"), "", ClassFiltered, stop, ""},

		{"Ark no money", HostVolcengine, 403, nested("The request failed because your account has an overdue balance", "Forbidden", "AccountOverdueError"), "", ClassNoFunds, on, "account"},
		{"Ark content filter", HostVolcengine, 400, nested("sensitive", "BadRequest", "SensitiveContentDetected.SevereViolation"), "", ClassFiltered, stop, ""},
		{"Bailian arrears", HostBailian, 400, `{"error":{"code":"Arrearage","param":null,"message":"Access denied, please make sure your account is in good standing.","type":"Arrearage"},"id":"x","request_id":"x"}`, "", ClassNoFunds, on, "account"},
		{"Qianfan unknown model", HostQianfan, 401, `{"error":{"code":"invalid_model","message":"No permission to use the model","type":"invalid_request_error"},"id":"as-x"}`, "", ClassNoModel, on, "model of the endpoint"},
		{"Azure rate limit in milliseconds", HostAzure, 429, `{"error":{"code":"429","message":"Requests have exceeded call rate limit"}}`, "Retry-After-Ms: 700", ClassRateLimited, "again again elsewhere", "model"},
		{"OpenRouter 402 to come back to", HostOpenRouter, 402, `{"error":{"code":402,"message":"in flight","metadata":{"limit_source":"openrouter_in_flight_budget"}}}`, "Retry-After: 30", ClassRateLimited, on, "model"},
		{"OpenRouter 408", HostOpenRouter, 408, `{"error":{"code":408,"message":"timed out"}}`, "", ClassUnavailable, "again elsewhere", ""},
		{"OpenRouter error inside a 200", HostOpenRouter, 200, `{"error":{"code":502,"message":"Provider returned error"}}`, "", ClassUnavailable, "again elsewhere", ""},
		{"OpenRouter rate limit inside a 200", HostOpenRouter, 200, `{"error":{"code":429,"message":"m"}}`, "", ClassRateLimited, "again again elsewhere", "model"},
		{"Together without a key", HostTogether, 401, "Missing API key", "", ClassKeyRejected, on, "endpoint"},
		{"Together says when the limit ends", HostTogether, 429, nested("rate limit", "x", "x"), "X-Ratelimit-Reset: 90", ClassRateLimited, on, "model"},
		{"Fireworks 429", HostFireworks, 429, nested("slow down", "x", "x"), "Retry-After: 30", ClassRateLimited, on, "model"},
		{"vLLM context length", HostVLLM, 400, `{"object":"error","message":"` + tooLong + `","type":"BadRequestError","param":null,"code":400}`, "", ClassUnsuited, on, ""},

		// Any host.
		{"words decide nothing", HostOpenAI, 400, nested("insufficient balance, quota exceeded, model does not exist", "x", "x"), "", ClassRefused, stop, ""},
		{"404", HostOpenAI, 404, nested("no such page", "x", "x"), "", ClassRefused, stop, ""},
		{"413", HostOpenAI, 413, "too large", "", ClassUnsuited, on, ""},
		{"413 of a rate", HostOpenAI, 413, nested("Request too large for the model on tokens per minute", "tokens", "rate_limit_exceeded"), "", ClassUnsuited, on, ""},
		{"413 in HTML", HostOpenAI, 413, "<html>413 Request Entity Too Large", "", ClassUnsuited, on, ""},
		{"414", HostOpenAI, 414, "", "", ClassUnsuited, on, ""},
		{"431", HostOpenAI, 431, "", "", ClassUnsuited, on, ""},
		{"410", HostOpenAI, 410, nested("The model has reached the end of its life", "x", "x"), "", ClassNoModel, on, "model of the endpoint"},
		{"410 without a word", HostDeepSeek, 410, "", "", ClassNoModel, on, "model of the endpoint"},
		{"421", HostOpenAI, 421, "", "", ClassUnavailable, "again elsewhere", ""},
		{"425", HostOpenAI, 425, "", "", ClassUnavailable, "again elsewhere", ""},
		{"499 of a gateway", HostOpenAI, 499, "", "", ClassUnavailable, "again elsewhere", ""},
		{"444 of a gateway", HostOpenAI, 444, "", "", ClassUnavailable, "again elsewhere", ""},
		{"420", HostOpenAI, 420, nested("calm down", "x", "x"), "Retry-After: 30", ClassRateLimited, on, "model"},
		{"407", HostOpenAI, 407, "", "", ClassBlocked, on, "endpoint"},
		{"404 of a provider", HostOpenRouter, 404, `{"error":{"message":"Provider returned error","code":404,"metadata":{"provider_name":"x"}}}`, "", ClassUnavailable, "again elsewhere", ""},
		{"404 of a provider, by an unknown gateway", HostOpenAI, 404, nested("Provider returned error", "x", "x"), "", ClassUnavailable, "again elsewhere", ""},
		{"404 of an upstream", HostOpenAI, 404, nested("m", "upstream_error", "bad_response_status_code"), "", ClassUnavailable, "again elsewhere", ""},
		{"400 of a provider", HostOpenRouter, 400, `{"error":{"message":"Provider returned error","code":400}}`, "", ClassUnsuited, on, ""},
		{"401 of a provider", HostOpenAI, 401, nested("m", "upstream_error", "x"), "", ClassUnavailable, "again elsewhere", ""},
		{"403 of a provider", HostOpenRouter, 403, `{"error":{"message":"Provider returned error","code":403}}`, "", ClassUnavailable, "again elsewhere", ""},
		{"429 of a provider", HostOpenRouter, 429, `{"error":{"message":"Provider returned error","code":429}}`, "Retry-After: 30", ClassRateLimited, on, "model"},
		{"403 of a rate", HostOpenAI, 403, nested("m", "x", "rate_limit_exceeded"), "Retry-After: 30", ClassRateLimited, on, "model"},
		{"403 without money", HostOpenAI, 403, nested("m", "new_api_error", "insufficient_user_quota"), "", ClassNoFunds, on, "account"},

		// Something in front of the host.
		{"403 with a challenge", HostOpenAI, 403, "<!DOCTYPE html><title>Just a moment...</title>", "Cf-Mitigated: challenge", ClassBlocked, on, "endpoint"},
		{"403 in JSON with a challenge", HostDeepSeek, 403, `{"error":{"code":"x"}}`, "Cf-Mitigated: challenge", ClassBlocked, on, "endpoint"},
		{"503 with a challenge", HostOpenAI, 503, "<html>Checking your browser", "Cf-Mitigated: challenge", ClassBlocked, on, "endpoint"},
		{"503 in HTML", HostOpenAI, 503, "<html>503 Service Temporarily Unavailable", "", ClassUnavailable, "again elsewhere", ""},
		{"429 with a challenge", HostOpenAI, 429, "<html>Security Checkpoint", "X-Vercel-Mitigated: challenge", ClassBlocked, on, "endpoint"},
		{"405 with a captcha", HostOpenAI, 405, "", "X-Amzn-Waf-Action: captcha", ClassBlocked, on, "endpoint"},
		{"403 with a captcha in JSON", HostOpenAI, 403, `{"url":"https://captcha.example"}`, "X-Datadome: protected", ClassBlocked, on, "endpoint"},
		{"403 in HTML", HostDeepSeek, 403, "<html><head><title>403 Forbidden</title>", "", ClassBlocked, on, "endpoint"},
		{"403 in text", HostOpenAI, 403, "error code: 1020", "", ClassBlocked, on, "endpoint"},
		{"403 without a word", HostOpenAI, 403, "", "", ClassBlocked, on, "endpoint"},
		{"405 in HTML", HostOpenAI, 405, "<!doctypehtml><html>blocked", "", ClassBlocked, on, "endpoint"},
		{"404 in XML", HostOpenAI, 404, " \n<?xml version=\"1.0\"?><Error><Code>NoSuchKey", "", ClassBlocked, on, "endpoint"},
		{"404 in text", HostOpenAI, 404, "404 page not found", "", ClassRefused, stop, ""},
		{"406 in HTML", HostOpenAI, 406, "<html>Not Acceptable", "", ClassBlocked, on, "endpoint"},
		{"404 in HTML", HostOpenAI, 404, "<html><center>nginx</center>", "", ClassBlocked, on, "endpoint"},
		{"400 in HTML", HostOpenAI, 400, "<html><center>nginx</center>", "", ClassBlocked, on, "endpoint"},
		{"401 in HTML", HostOpenAI, 401, "<html>401 Authorization Required", "", ClassKeyRejected, on, "endpoint"},
		{"block that says how long", HostOpenAI, 403, "<html>", "Retry-After: 30", ClassBlocked, on, "endpoint model of the endpoint"},
		{"424", HostOpenAI, 424, nested("model not ready", "x", "x"), "", ClassUnavailable, "again elsewhere", ""},
		{"504 in HTML", HostOpenAI, 504, "<html>504</html>", "", ClassUnavailable, "again elsewhere", ""},
		{"529", HostOpenAI, 529, "", "", ClassUnavailable, "again elsewhere", ""},
		{"503 that asks for a rest", HostOpenAI, 503, "", "Retry-After: 30", ClassUnavailable, on, "model of the endpoint"},
		{"429 that asks for little", HostOpenAI, 429, "", "Retry-After: 1", ClassRateLimited, "again again elsewhere", "model"},
		{"429 that asks for much", HostOpenAI, 429, "", "Retry-After: 1000000000", ClassRateLimited, on, "model"},
		{"429 with a date", HostOpenAI, 429, "", "Retry-After: Sat, 01 Jan 2000 00:05:00 GMT", ClassRateLimited, on, "model"},
		{"302", HostOpenAI, 302, "", "Location: https://stranger.example/", ClassRedirected, on, ""},
		{"307", HostOpenAI, 307, "", "Location: https://stranger.example/", ClassRedirected, on, ""},
		{"403", HostOpenAI, 403, nested("no", "x", "x"), "", ClassKeyRejected, on, "endpoint"},
		{"flat error inside a 200", HostOpenAI, 200, `{"code":500,"message":"m"}`, "", ClassUnavailable, "again elsewhere", ""},
		{"error as text inside a 200", HostOpenAI, 200, `{"error":"m"}`, "", ClassUnavailable, "again elsewhere", ""},
		{"401 inside a 200", HostOpenAI, 200, `{"error":{"code":401}}`, "", ClassKeyRejected, on, "endpoint"},
		{"400 inside a 200", HostOpenAI, 200, `{"error":{"code":400}}`, "", ClassRefused, stop, ""},
		{"malformed inside a 200", HostOpenAI, 200, `{"choices":[}`, "", ClassBadResponse, "again elsewhere", ""},
		{"empty inside a 200", HostOpenAI, 200, ``, "", ClassBadResponse, "again elsewhere", ""},
		{"out of resources", HostOpenAI, 200, `{"choices":[{"index":0,"message":{"content":"a"},"finish_reason":"insufficient_system_resource"}]}`, "", ClassUnavailable, "again elsewhere", ""},
	} {
		contentType := ""
		if strings.HasPrefix(tt.body, "{") {
			contentType = asJSON
		}
		var header []string
		if name, value, ok := strings.Cut(tt.header, ": "); ok {
			header = []string{name, value}
		}
		own := gives(tt.status, contentType, tt.body, header...)
		world := func(t *testing.T, backup, ours bool) (*Transport, *fakehost.Base, seen, *Trail) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", own)
			a := Endpoint{Name: "a", URL: "https://a", APIKey: "sk-a", Host: tt.host, Account: "acc"}
			if !ours {
				a.APIKey = ""
			}
			opts := []Option{WithEndpoints(a)}
			if backup {
				opts = append(opts, WithBackup(Endpoint{Name: "b", URL: "https://b", APIKey: "sk-b", Host: HostDeepSeek, Models: map[string]string{"m": "theirs"}}))
			}
			rt := over(t, base, opts...)
			trail := &Trail{}
			got := asks(WithCall(context.Background(), Call{Trail: trail}), rt, chatJSON)
			return rt, base, got, trail
		}
		t.Run(tt.name+"/with a backup", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, base, got, trail := world(t, true, true)
				var then []string
				for _, a := range trail.Attempts() {
					if a.Endpoint == "a" {
						then = append(then, string(a.Verdict))
						if a.Class != tt.class {
							t.Errorf("class %s, want %s", a.Class, tt.class)
						}
					}
				}
				if strings.Join(then, " ") != tt.then {
					t.Errorf("verdicts %v, want %s", then, tt.then)
				}
				if answered := tt.then != stop; answered != (got.body == goodJSON) || answered != (base.Count("b") == 1) {
					t.Errorf("the caller got %v, the backup was asked %d times", got, base.Count("b"))
				}
				if rests := rests(rt); rests != tt.rests {
					t.Errorf("%q rests, want %q", rests, tt.rests)
				}
			})
		})
		// With nobody else, the caller sees what came, and a refused key rests nobody.
		t.Run(tt.name+"/alone", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, _, got, trail := world(t, false, true)
				if tt.status != 200 && (got.status() != tt.status || got.body != tt.body) || got.status() == 200 {
					t.Errorf("the caller got %v, want %d %s", got, tt.status, tt.body)
				}
				attempts := trail.Attempts()
				if tries := map[bool]int{false: 1, true: 3}[outcome.Of(tt.class).Passing]; tt.header == "" && len(attempts) != tries {
					t.Errorf("%d attempts of class %s, want %d", len(attempts), tt.class, tries)
				}
				if rests := rests(rt); rests == "endpoint" && tt.class == ClassKeyRejected || rests == "account" || rests == "model of the endpoint" && tt.class != ClassUnavailable && tt.class != ClassBlocked {
					t.Errorf("%q rests, and nobody else could serve", rests)
				}
			})
		})
		if tt.class != ClassKeyRejected && tt.class != ClassNoFunds {
			continue
		}
		// The caller's own key is the caller's own affair.
		t.Run(tt.name+"/the caller's key", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt, base, got, trail := world(t, true, false)
				if len(trail.Attempts()) != 1 || base.Count("b") != 0 || tt.status != 200 && got.status() != tt.status || rests(rt) != "" {
					t.Errorf("the caller got %v after %d attempts, %q rests; want what came, at once", got, len(trail.Attempts()), rests(rt))
				}
			})
		})
	}
}

// rests tells whose pause is on.
func rests(rt *Transport) string {
	var who []string
	for key := range rt.now().failover.pauses.List(time.Now()) {
		switch {
		case key.endpoint != "" && key.model != "":
			who = append(who, "model of the endpoint")
		case key.endpoint != "":
			who = append(who, "endpoint")
		case key.model != "":
			who = append(who, "model")
		default:
			who = append(who, "account")
		}
	}
	slices.Sort(who)
	return strings.Join(who, " ")
}

// A limit of the model goes elsewhere only where another host or model has
// other limits; a missing model wherever another account may have it.
func TestFailover_GoesOnlyWhereItDiffers(t *testing.T) {
	tooLong := gives(400, asJSON, `{"error":{"message":"This model's maximum context length is 8 tokens","code":"invalid_request_error"}}`)
	unknown := gives(400, asJSON, `{"error":{"message":"Model Not Exist","code":"invalid_request_error"}}`)
	same := Endpoint{Name: "b", URL: "https://b", APIKey: "sk-b", Host: HostDeepSeek}
	larger := Endpoint{Name: "b", URL: "https://b", APIKey: "sk-b", Host: HostDeepSeek, Models: map[string]string{"m": "larger"}}
	other := Endpoint{Name: "b", URL: "https://b", APIKey: "sk-b", Host: HostVLLM}
	tooLarge := gives(413, asJSON, `{"error":{"message":"Request too large","type":"tokens","code":"rate_limit_exceeded"}}`)
	for _, tt := range []struct {
		name   string
		says   handler
		backup Endpoint
		goes   bool
	}{
		{"too large, another account", tooLarge, same, true},
		{"too large, another host", tooLarge, other, true},
		{"too long, the same model of the same host", tooLong, same, false},
		{"too long, another model", tooLong, larger, true},
		{"too long, another host", tooLong, other, true},
		{"no such model, another account", unknown, same, true},
		{"no such model, another host", unknown, other, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("a", tt.says)
			rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a", APIKey: "sk-a", Host: HostDeepSeek}), WithBackup(tt.backup))
			got := asks(t.Context(), rt, chatJSON)
			if base.Count("a") != 1 || (base.Count("b") == 1) != tt.goes || (got.status() == 200) != tt.goes {
				t.Errorf("%v after %d and %d attempts, want it to go on: %v", got, base.Count("a"), base.Count("b"), tt.goes)
			}
			if !tt.goes && got.status() != 400 {
				t.Errorf("the caller got %v, want the refusal as it came", got)
			}
		})
	}
}

// A fallback that lacks the operation says so with 404: no word on the call.
func TestFailover_BackupWithoutTheOperation(t *testing.T) {
	base := newHosts(gives(200, asJSON, goodJSON))
	base.Set("a", gives(503, asJSON, "{}"))
	base.Set("b", gives(404, "text/plain", "404 page not found"))
	rt := over(t, base, once, WithEndpoints(at("a", "b", "c")...))
	for range 6 { // whatever comes first
		if got := asks(t.Context(), rt, chatJSON); got.body != goodJSON {
			t.Errorf("the caller got %v, want the answer of c", got)
		}
	}
}
