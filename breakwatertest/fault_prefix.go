package breakwatertest

// The faults of this file show only in a chat whose last message has "prefix":true;
// every other request is answered rightly.

// PrefixRejected refuses such a chat with a 400, whichever the host and its root.
func PrefixRejected() Fault { return Fault{name: "PrefixRejected", kind: kindPrefixRejected} }

// PrefixIgnored answers such a chat from the beginning, whichever the host and its
// root: what it says holds the prefix once more.
func PrefixIgnored() Fault { return Fault{name: "PrefixIgnored", kind: kindPrefixIgnored} }
