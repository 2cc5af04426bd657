package statuspage

import "testing"

func TestWantsJSON(t *testing.T) {
	for accept, want := range map[string]bool{
		"":    false,
		"*/*": false,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": false, // browsers
		"application/json, text/plain, */*":                               true,  // axios
		"application/json":                                                true,
		"Application/JSON; charset=utf-8":                                 true,
		"application/*":                                                   true,
		"application/json;q=0":                                            false,
		"application/json;q=0, */*":                                       false,
		"application/json;q=0.5,text/html":                                false,
		"application/json,text/html;q=0.9":                                true,
		"application/json,text/html":                                      false,
		"text/*;q=0.4,application/json;q=0.3,*/*;q=0.9":                   false,
		"text/html;q=0.2,*/*;q=0.8":                                       true,
		"application/json;q=x":                                            false,
		"application/json;q=NaN":                                          false,
		"application/json;q=7":                                            false,
		"application/json;v=1;q=0.9, text/html;Q=0.8":                     true,
		",;,/;q": false,
	} {
		if got := wantsJSON(accept); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

func TestLanguage(t *testing.T) {
	for accept, want := range map[string]string{
		"": "en", "*": "en", "fr": "en", "zh": "zh", "zh-CN,zh;q=0.9,en;q=0.8": "zh", "ZH-Hant": "zh", "en,zh": "en", "zh,en": "zh",
		"en;q=0.5,zh;q=0.6": "zh", "zh;q=0": "en", "zh;q=0,*": "en", "fr,zh;q=0.1": "zh", "zhx": "en", "zh;q=NaN": "en",
	} {
		if got := language(accept); got != want {
			t.Errorf("%q: %s", accept, got)
		}
	}
}
