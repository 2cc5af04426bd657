package request

import (
	"hash/crc32"
	"math/bits"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

// ConversationKey returns a hash of the model, the user, the tools and the first messages
// of a body, which the requests of a conversation share however long it grows. It is the
// same in all processes.
func ConversationKey(body []byte) uint64 {
	var sum uint64
	add := func(text []byte) {
		sum = mix(sum ^ (uint64(crc32.Checksum(text, castagnoli))<<32 | uint64(crc32.ChecksumIEEE(text))))
	}
	wire.Members(body, func(m wire.Member) {
		switch string(m.Name) {
		case "model", "user", "user_id", "tools", "system", "instructions", "prompt":
			add(m.Value)
		case "messages", "input":
			first := true // in most, the system prompt
			parsed(m.Value).ForEach(func(_, message gjson.Result) bool {
				add([]byte(message.Raw))
				more := first && message.Get("role").Str != "user"
				first = false
				return more
			})
		}
	})
	return sum
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mix scatters the bits of x, so that each of them changes the whole sum.
func mix(x uint64) uint64 {
	hi, lo := bits.Mul64(x^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}
