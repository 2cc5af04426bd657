module github.com/breakwater-go/breakwater/bench

go 1.26.0

require (
	github.com/breakwater-go/breakwater v0.0.0
	github.com/failsafe-go/failsafe-go v0.9.8
	github.com/gregjones/httpcache v0.0.0-20190611155906-901d90724c79
)

require (
	github.com/bits-and-blooms/bitset v1.24.4 // indirect
	github.com/cenkalti/backoff/v4 v4.3.0 // indirect
	github.com/hashicorp/golang-lru/v2 v2.0.7 // indirect
	github.com/sony/gobreaker/v2 v2.4.0 // indirect
	github.com/tidwall/gjson v1.20.1 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/breakwater-go/breakwater => ../
