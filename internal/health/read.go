package health

import (
	"math"
	"strconv"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/wire"
)

const (
	maxNames = 10_000 // of models that a list may have
	maxName  = 256    // bytes of a model's name
)

// ReadModels reads a list of models in the form of OpenAI's API. It returns nil if the body
// is none.
func ReadModels(body []byte) *Models {
	if !wire.Valid(body) {
		return nil
	}
	list := gjson.ParseBytes(body)
	data := list.Get("data")
	if !data.IsArray() {
		return nil
	}
	m := &Models{Names: make(map[string]bool), Partial: list.Get("has_more").Bool()}
	data.ForEach(func(_, item gjson.Result) bool {
		if id := item.Get("id"); id.Type == gjson.String && len(id.Str) <= maxName {
			m.Names[id.Str] = true
		}
		m.Partial = m.Partial || len(m.Names) >= maxNames
		return len(m.Names) < maxNames
	})
	return m
}

// ReadBalance reads what a host says of an account's money, in DeepSeek's form (GET
// /user/balance) or Novita's. funds is Unknown if the body is neither.
//
// DeepSeek may name several currencies. The balance is that of the one with most: an account
// pays in one of them.
func ReadBalance(body []byte) (funds Finding, balance *Balance) {
	if !wire.Valid(body) {
		return Unknown, nil
	}
	all := gjson.ParseBytes(body)
	if available := all.Get("is_available"); available.IsBool() {
		funds = No
		if available.Bool() {
			funds = Yes
		}
		all.Get("balance_infos").ForEach(func(_, info gjson.Result) bool {
			amount, ok := number(info.Get("total_balance"))
			currency := info.Get("currency").String()
			if ok && isCode(currency) && (balance == nil || amount > balance.Amount) {
				balance = &Balance{Amount: amount, Currency: currency}
			}
			return true
		})
		return funds, balance
	}
	const perUSD = 10_000 // Novita counts in ten-thousandths
	if amount, ok := number(all.Get("availableBalance")); ok {
		funds = No
		if amount > 0 {
			funds = Yes
		}
		return funds, &Balance{Amount: amount / perUSD, Currency: "USD"}
	}
	return Unknown, nil
}

// number returns a number that may be written as a text.
func number(r gjson.Result) (float64, bool) {
	switch r.Type {
	case gjson.Number:
		return r.Num, !math.IsInf(r.Num, 0) && !math.IsNaN(r.Num)
	case gjson.String:
		n, err := strconv.ParseFloat(r.Str, 64)
		return n, err == nil && !math.IsInf(n, 0) && !math.IsNaN(n)
	}
	return 0, false
}

// isCode reports whether a currency is named by a code of ISO 4217.
func isCode(currency string) bool {
	if len(currency) != 3 {
		return false
	}
	for _, c := range currency {
		if c < 'A' || c > 'Z' {
			return false
		}
	}
	return true
}
