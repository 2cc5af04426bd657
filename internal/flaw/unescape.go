package flaw

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape appends to dst the text that the inside of a JSON string stands for.
func unescape(dst, inner []byte) []byte {
	for {
		n := bytes.IndexByte(inner, '\\')
		if n < 0 || n+1 == len(inner) {
			return append(dst, inner...)
		}
		dst = append(dst, inner[:n]...)
		inner = inner[n+1:]
		switch b := inner[0]; b {
		case 'u':
			r, size := unicodeEscape(inner)
			dst = utf8.AppendRune(dst, r)
			inner = inner[size:]
			continue
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		default:
			dst = append(dst, b)
		}
		inner = inner[1:]
	}
}

// unicodeEscape returns the character of an escape that begins with u, and the length of the
// escape. Two escapes may stand for one character.
func unicodeEscape(text []byte) (rune, int) {
	first, ok := hex4(text)
	if !ok {
		return utf8.RuneError, 1
	}
	if !utf16.IsSurrogate(first) {
		return first, 5
	}
	if len(text) >= 11 && text[5] == '\\' {
		if second, ok := hex4(text[6:]); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return r, 11
			}
		}
	}
	return utf8.RuneError, 5
}

// hex4 reads u and four hexadecimal digits.
func hex4(text []byte) (r rune, ok bool) {
	if len(text) < 5 || text[0] != 'u' {
		return 0, false
	}
	for _, b := range text[1:5] {
		switch {
		case '0' <= b && b <= '9':
			r = r<<4 | rune(b-'0')
		case 'a' <= b|0x20 && b|0x20 <= 'f':
			r = r<<4 | rune(b|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
