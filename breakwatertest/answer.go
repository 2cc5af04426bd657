package breakwatertest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// words contain characters of several bytes, because faulty clients break these.
// Answer adds a newline and quotes, which JSON must escape.
var words = [16]string{
	"harbour", "晴天", "lantern", "海浪", "granite", "café", "meadow", "防波堤",
	"copper", "灯塔", "saffron", "naïve", "thunder", "深海", "willow", "港口",
}

func digest(kind, prompt string) (string, [sha256.Size]byte) {
	sum := sha256.Sum256([]byte(kind + "\x00" + prompt))
	return hex.EncodeToString(sum[:]), sum
}

func pick(sum [sha256.Size]byte, i int) string { return words[sum[i]%16] }

// Answer returns the content of every host's answer to a request whose last user
// message is prompt.
func Answer(prompt string) string {
	text, sum := digest("answer", prompt)
	return fmt.Sprintf("回答: \"%s %s\"\n%s %s, %s", pick(sum, 0), pick(sum, 1), pick(sum, 2), pick(sum, 3), text)
}

// Choice returns the content of choice i of an answer. Choice 0 is [Answer].
func Choice(prompt string, i int) string { return Answer(ofChoice(prompt, i)) }

// ofChoice returns another prompt for each choice, so that the choices differ and a
// test notices a client that mixes them up.
func ofChoice(prompt string, i int) string {
	if i == 0 {
		return prompt
	}
	return fmt.Sprintf("%s\x00choice %d", prompt, i)
}

// Reasoning returns the reasoning_content of an answer to prompt with thinking.
func Reasoning(prompt string) string {
	text, sum := digest("reasoning", prompt)
	return fmt.Sprintf("思考: %s %s\n%s", pick(sum, 0), pick(sum, 1), text)
}

// ToolArguments returns the arguments, a JSON object, of the tool call in an answer
// to prompt, if the request has tools.
func ToolArguments(prompt string) string {
	text, sum := digest("tool", prompt)
	return fmt.Sprintf(`{"place": "%s", "digest": "%s"}`, pick(sum, 0), text)
}

// split cuts text on rune boundaries into n pieces of about the same size. If the
// text has fewer than n runes, each rune is a piece.
func split(text string, n int) []string {
	runes := []rune(text)
	n = max(1, min(n, len(runes)))
	pieces := make([]string, n)
	for i := range pieces {
		pieces[i] = string(runes[i*len(runes)/n : (i+1)*len(runes)/n])
	}
	return pieces
}
