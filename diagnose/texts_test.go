package diagnose

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/breakwater-go/breakwater/internal/mistake"
)

var values = regexp.MustCompile(`\{[a-z0-9]+\}`)

func valuesOf(text string) []string {
	all := values.FindAllString(text, -1)
	slices.Sort(all)
	return slices.Compact(all)
}

// Each code has a rule and texts in both languages, which stand for the same values.
func TestTexts_AreWhole(t *testing.T) {
	seen := make(map[Code]bool)
	for _, r := range rules {
		if seen[r.code] {
			t.Errorf("%s has two rules", r.code)
		}
		seen[r.code] = true
		en, zh := english[r.code], chinese[r.code]
		for _, pair := range [][2]string{{en.seen, zh.seen}, {en.means, zh.means}, {en.next, zh.next}} {
			if pair[0] == "" || pair[1] == "" {
				t.Errorf("%s lacks a text", r.code)
			}
			if a, b := valuesOf(pair[0]), valuesOf(pair[1]); !slices.Equal(a, b) {
				t.Errorf("%s has %v in English and %v in Chinese", r.code, a, b)
			}
		}
	}
	if len(english) != len(rules) || len(chinese) != len(rules) {
		t.Errorf("%d rules, %d English and %d Chinese texts", len(rules), len(english), len(chinese))
	}
	for name, text := range englishTerms {
		if zh, ok := chineseTerms[name]; !ok || !slices.Equal(valuesOf(text), valuesOf(zh)) {
			t.Errorf("%q is %q in English and %q in Chinese", name, text, zh)
		}
	}
	if len(englishTerms) != len(chineseTerms) {
		t.Errorf("%d English and %d Chinese terms", len(englishTerms), len(chineseTerms))
	}
}

// Each code that the source names has a rule.
func TestTexts_AllCodes(t *testing.T) {
	source, err := os.ReadFile("codes.go")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^\t\w+ +Code += "([a-z0-9-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(named) != len(rules) {
		t.Errorf("%d codes and %d rules", len(named), len(rules))
	}
	for _, n := range named {
		if !slices.ContainsFunc(rules[:], func(r rule) bool { return r.code == Code(n[1]) }) {
			t.Errorf("%s has no rule", n[1])
		}
	}
}

// What is wrong with a key has a text in Chinese.
func TestTexts_KeysInChinese(t *testing.T) {
	for _, key := range []string{
		"  ", "sk-1\n", "sk\x01-1", " sk-1", `"sk-1"`, "Bearer sk-1", "Authorization: x", "https://x", "<key>", "DEEPSEEK_API_KEY=sk-1", "sk- 1", "sk-é",
	} {
		reason := mistake.Key(key)
		if _, ok := chineseReasons[reason]; !ok {
			t.Errorf("%q: %q has no Chinese", key, reason)
		}
	}
}
