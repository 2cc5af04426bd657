package breakwatertest

// The faults of this file need a chat whose last message has "prefix":true. Every
// other request gets a right answer.

// PrefixRejected refuses a chat with a prefix with a 400, at any host and path.
func PrefixRejected() Fault { return Fault{name: "PrefixRejected", kind: kindPrefixRejected} }

// PrefixIgnored answers a chat with a prefix from the beginning, at any host and
// path, so that the answer contains the prefix again.
func PrefixIgnored() Fault { return Fault{name: "PrefixIgnored", kind: kindPrefixIgnored} }
