package diagnose

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A Language is that of the texts of a Report.
type Language string

const (
	English Language = "en"
	Chinese Language = "zh"
)

// A term is a word or a phrase that each language has.
type term string

// A phrase is a term with values of its own.
type phrase struct {
	term term
	args args
}

// args are the values for the words in braces of a text.
type args map[string]any

// wordingOf returns the texts of a Code.
func (l Language) wordingOf(code Code) wording {
	if l == Chinese {
		return chinese[code]
	}
	return english[code]
}

// say returns a term in the language.
func (l Language) say(t term, a args) string {
	text, ok := englishTerms[t]
	if l == Chinese {
		text, ok = chineseTerms[t]
	}
	if !ok {
		text = string(t)
	}
	return l.fill(text, a)
}

// fill puts values into a text. A word without a value becomes nothing.
func (l Language) fill(text string, a args) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		out.WriteString(before)
		if !found {
			break
		}
		name, after, _ := strings.Cut(rest, "}")
		if v, ok := a[name]; ok {
			out.WriteString(l.show(v))
		}
		text = after
	}
	return capital(strings.TrimSpace(out.String()))
}

// capital makes the first letter of a sentence that begins with a term a capital one.
func capital(s string) string {
	if strings.HasSuffix(s, ".") && strings.HasPrefix(s, "the ") {
		return "T" + s[1:]
	}
	return s
}

// show returns a value as text.
func (l Language) show(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case term:
		return l.say(v, nil)
	case phrase:
		return l.sayWhole(v)
	case []string:
		return l.list(v)
	case []phrase:
		all := make([]string, len(v))
		for i, p := range v {
			all[i] = l.sayWhole(p)
		}
		return l.list(all)
	case Millis:
		return spoken(time.Duration(v))
	case time.Duration:
		return spoken(v)
	case time.Time:
		return v.UTC().Format("2006-01-02 15:04 UTC")
	case float64:
		if v >= 10 {
			return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
		}
		return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// sayWhole is say for a phrase, which keeps the blank at its beginning.
func (l Language) sayWhole(p phrase) string {
	text := englishTerms[p.term]
	if l == Chinese {
		text = chineseTerms[p.term]
	}
	said := l.say(p.term, p.args)
	if strings.HasPrefix(text, " ") {
		said = " " + said
	}
	return said
}

// list joins texts.
func (l Language) list(all []string) string {
	const most = 4
	if more := len(all) - most; more > 0 {
		all = append(all[:most:most], l.say("and more", args{"n": more}))
	}
	if l == Chinese {
		return strings.Join(all, "、")
	}
	return strings.Join(all, ", ")
}

// spoken returns a duration with as many digits as anybody reads.
func spoken(d time.Duration) string {
	switch {
	case d >= time.Hour:
		return d.Round(time.Minute).String()
	case d >= 10*time.Second:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Microsecond).String()
}
