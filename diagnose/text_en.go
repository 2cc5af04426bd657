package diagnose

// A wording has the texts of a Code in one language. Words in braces stand for what was seen.
type wording struct{ seen, means, next string }

var english = map[Code]wording{
	EndpointInvalid: {
		"breakwater refuses the endpoint: {reason}.",
		"The configuration has a mistake. Calls cannot be sent as they are meant.",
		"Correct it. What could be tried without it was tried."},
	OptionInvalid: {
		"{reason}.",
		"An option of the diagnosis cannot be meant.",
		"Correct it. It was left out."},
	KeyMissing: {
		"The endpoint has no key.",
		"A variable is not set, or the key was not passed on.",
		"Set the key{variable}. If the host needs none, set Keyless."},
	KeyMalformed: {
		"The key {reason}.",
		"It was copied or read with more than the key, or in place of it. No host takes it.",
		"Correct the key. It was not sent."},
	KeyOfAnotherHost: {
		"The key begins as keys of {owner} do, and the host is {host}.",
		"The key of another host is in its place.",
		"Use a key of {host}. This one was not sent, because its owner may not want {host} to have it."},
	KeyFunctionFailed: {
		"KeyFunc gave no key: {reason}.",
		"What it asks for keys failed, such as a file, a vault or a token service.",
		"Mend that. No request can be sent without a key."},
	RewriteFailed: {
		"Rewrite, or middleware, returned an error. {request} was not sent.",
		"The program's own code failed, at a signature for example.",
		"Look into that function. The host was not asked."},
	VerificationOff: {
		"The transport verifies no certificates (InsecureSkipVerify).",
		"Anybody on the way can read the key and the prompts.",
		"Remove InsecureSkipVerify. Add the right root to RootCAs if the host has a private one."},

	ProxyInUse: {
		"Calls go through the proxy {proxy}, from {variable}.",
		"The connection that counts is the one to the proxy.",
		"If that is not meant, unset {variable} or add {name} to NO_PROXY."},
	ProxyInvalid: {
		"{variable} has no URL of a proxy.",
		"Calls fail before they are sent.",
		"Give it as http://HOST:PORT, or unset it."},
	ProxyUnknown: {
		"The name of the proxy {proxy} has no address.",
		"The proxy is that of another network, such as the office's.",
		"Correct or unset {variable}.{direct}"},
	ProxyRefused: {
		"The proxy {proxy} refuses connections.",
		"The proxy program does not run, or has another port.",
		"Start it, or correct or unset {variable}.{direct}"},
	ProxySilent: {
		"The proxy {proxy} does not answer.",
		"It is down, or a firewall drops the way to it.",
		"Ask who runs it, or unset {variable}.{direct}"},
	ProxyWantsLogin: {
		"The proxy {proxy} answered 407: it wants a login.",
		"The variable has no user and password, or wrong ones.",
		"Write them into {variable}: http://USER:PASSWORD@HOST:PORT.{direct}"},
	ProxyDeclined: {
		"The proxy {proxy} does not connect to {name}: {answer}.",
		"Its rules forbid the host, or it cannot reach the host itself.",
		"Ask who runs it to allow {name}, or add {name} to NO_PROXY.{direct}"},

	DNSNoSuchHost: {
		"{name} has no address: {resolvers}.",
		"The name is misspelled, or this network's DNS does not know it.",
		"Compare the URL with the host's documents. Try another resolver."},
	DNSSilent: {
		"No resolver answered for {name} within {limit}: {resolvers}.",
		"The nameservers are down, or a firewall drops DNS (UDP and TCP port 53).",
		"Check the network and /etc/resolv.conf. Try another nameserver."},
	DNSFailed: {
		"No resolver has an address of {name}: {resolvers}.",
		"DNS on this network is broken.",
		"Check /etc/resolv.conf, and the VPN or proxy program that may have changed it."},
	DNSServerSilent: {
		"The nameserver {server} did not answer for {name} within {limit}.",
		"Lookups that ask it first wait for seconds, or fail.",
		"Remove it from /etc/resolv.conf, or mend it."},
	DNSServerFailed: {
		"{server} has no address of {name} ({reason}), and others have.",
		"That resolver is broken, or must not answer for this name.",
		"Remove it, or mend it. The addresses of the others were tried."},
	DNSDisagree: {
		"{with} has addresses of {name}, and {without} says that there is no such name.",
		"One of them is filtered, or the name is known in a private network only.",
		"Use one resolver for the whole network. All addresses were tried."},
	DNSForged: {
		"{server} says {name} is at {addresses}, where no public host can be.",
		"DNS is filtered or forged on this network, or an entry is left over.",
		"Use another nameserver, and look into /etc/hosts."},
	DNSFakeIP: {
		"{server} says {name} is at {addresses}, a range for tests (RFC 2544).",
		"A proxy program on this machine (Clash and the like) answers DNS by itself.",
		"It decides how the host is reached. If that fails, exempt {name} there."},
	DNSLocalEntry: {
		"The system says {name} is at {addresses}. Its nameservers say otherwise.",
		"/etc/hosts, a search domain or a service of this machine has an entry of its own.",
		"Remove the entry if the host has moved."},
	DNSSlow: {
		"The lookup of {name} took {took}.",
		"A nameserver before the one that answered is dead or overloaded.",
		"Remove it from /etc/resolv.conf. Each new connection waits for it."},

	TCPRefused: {
		"{addresses} refused the connection.",
		"Nothing listens at the port, or a firewall rejects it.",
		"Check the port in the URL. If it is your own server, start it."},
	TCPSilent: {
		"{addresses} did not answer within {limit}.",
		"A firewall drops the way there, or the host is down.",
		"Try from another network. Allow outgoing connections to port {port}, or set a proxy."},
	TCPUnreachable: {
		"There is no route to {addresses}.",
		"This machine has no network, or its VPN or routes are wrong.",
		"Check the network, the VPN and the routes."},
	TCPReset: {
		"{addresses} reset the connection at once.",
		"A firewall on the way ends it, or the server is overloaded.",
		"Try from another network."},
	TCPFailed: {
		"No connection to {addresses} could be opened: {reason}.",
		"Several causes came together.",
		"Look at each address below."},
	AddressFailed: {
		"{addresses} cannot be reached ({reason}). Other addresses can.",
		"A part of the host's servers is down, or a firewall drops the way there.",
		"Calls that try them first are late. If it lasts, tell the host."},
	IPv6Unreachable: {
		"This machine has no way to the host's IPv6 addresses.",
		"It has no IPv6. That costs nothing: calls go by IPv4.",
		"Nothing needs to be done."},

	TLSReset: {
		"The connection to {addresses} opens, and is reset at the beginning of TLS.",
		"Something on the way reads the name {name} in the handshake and forbids it.",
		"Try from another network or through a proxy. Ask who runs the firewall."},
	TLSSilent: {
		"The connection to {addresses} opens, and TLS gets no answer within {limit}.",
		"A filter drops the handshake, or large packets are lost (MTU of a VPN).",
		"Try from another network. With a VPN, try an MTU of 1400 or less."},
	TLSRefused: {
		"{addresses} ended the TLS handshake with an alert: {reason}.",
		"The server does not serve {name}, or wants a client certificate.",
		"Check the host name in the URL. The address may be that of another service."},
	TLSNotSpoken: {
		"{addresses} answers, and not in TLS.",
		"The port speaks plain HTTP, or a captive portal or proxy answers.",
		"Check scheme and port of the URL. Open a web page to see whether a login comes."},
	TLSFailed: {
		"The TLS handshake with {addresses} failed: {reason}.",
		"The server or something in between does not keep to the protocol.",
		"Try from another network."},
	TLSWrongName: {
		"The certificate is for {names}, not for {name}.",
		"Another server answers: a captive portal, a wrong address, a wrong host name.",
		"Check the URL and DNS. No key was sent there."},
	TLSExpired: {
		"The certificate of {name} has been invalid since {date}.",
		"Its owner did not renew it, or this machine's clock is ahead.",
		"Check the clock. If it is right, tell the host. No key was sent there."},
	TLSNotYetValid: {
		"The certificate of {name} is valid from {date} on, and here it is {now}.",
		"This machine's clock is behind.",
		"Set the clock, by NTP for example. No key was sent there."},
	TLSWrongClock: {
		"The certificate of {name} is not valid at {now}, the time here. The host's time is {theirs}, and then it is.",
		"This machine's clock is wrong.",
		"Set the clock, by NTP for example. No key was sent there."},
	TLSUntrusted: {
		"The certificate is from {issuer}, which this machine does not trust.",
		"The server has a private certificate, or something in between makes its own.",
		"If it is meant, install the root certificate. If not, change the network. No key was sent there."},
	TLSIntercepted: {
		"The certificate of {name} is from {issuer}{trust}.",
		"Something in between opens the connection and reads keys and prompts.",
		"Ask who runs the network to exempt {name}. Install its root only if you trust it."},
	TLSExpiresSoon: {
		"The certificate of {name} expires on {date}.",
		"It was not renewed yet.",
		"If it is your own server, renew it."},
	TLSAddressDiffers: {
		"TLS fails at {addresses} ({reason}), and works at other addresses.",
		"That address is not the host's, or one of its servers is broken.",
		"Check who answers DNS. Calls that reach it fail."},
	ConnectionReset: {
		"The connection was reset when {request} had been sent.",
		"The server crashed, or a firewall ended the connection.",
		"Try again. If it lasts, try from another network, and ask the host."},
	ConnectionClosed: {
		"The connection was closed when {request} had been sent, without an answer.",
		"A server or gateway stopped at that moment, or is overloaded.",
		"Try again. If it lasts, ask the host."},
	HostSilent: {
		"The connection stands, and {request} got no byte of an answer within {limit}.",
		"The host hangs behind its front door, or a gateway lost the request.",
		"Use another endpoint meanwhile. Look at the host's status page."},
	ReuseBroken: {
		"A connection that had been kept was closed when it was used again.",
		"A server or gateway closes idle connections without saying so.",
		"breakwater sends again. For other clients, shorten the time that connections are kept."},
	ConnectionFailed: {
		"No connection for {request}: {reason}.",
		"The connection fails in a way that is not known.",
		"Try again, and from another network."},

	HTTP2GoAway: {
		"The host ended the HTTP/2 connection (GOAWAY) at {request}.",
		"It is drained for maintenance, or its front is broken.",
		"Try again in a minute. If it lasts, ask the host."},
	HTTP2RefusedStream: {
		"The host refused {request} by HTTP/2 (REFUSED_STREAM).",
		"Its front takes no more requests.",
		"Try again in a minute, with fewer calls at once."},
	HTTP2Error: {
		"HTTP/2 broke at {request}, by an error of the protocol.",
		"The host or a gateway does not keep to HTTP/2, or its headers are too large.",
		"Tell the host. Until then, HTTP/1.1 may work: GODEBUG=http2client=0."},
	HTTPMalformed: {
		"The answer to {request} is no HTTP.",
		"The port is that of another service, or something in between answers.",
		"Check scheme and port of the URL."},
	HeadersTooLarge: {
		"The headers of the answer to {request} are larger than {limit}.",
		"The host or a gateway is broken, or means harm.",
		"Tell the host. breakwater gives such answers up."},
	BodyBroken: {
		"The answer to {request} broke off.",
		"A server or gateway ended the connection too early.",
		"Try again. If it lasts, ask the host."},
	BodyTooLong: {
		"The answer to {request} did not end within {limit}.",
		"The host or the network is very slow.",
		"Try again, with a longer --timeout."},
	Redirected: {
		"{request} was redirected ({status}) to {location}.",
		"The URL is old or not that of the API, or a login page is in between.",
		"Correct the URL. breakwater does not follow: prompts must not go to a stranger."},
	WebPage: {
		"{request} got a 200 with a web page.",
		"A captive portal or a proxy answers, or the URL is that of a web site.",
		"Open a web page to see whether a login comes. Check the base URL."},
	EdgeError: {
		"{request} got {status}, and not in the API's form{edge}.",
		"A gateway answers in place of the host: the servers behind it are down or slow.",
		"Use another endpoint meanwhile. Look at the host's status page."},
	Blocked: {
		"{request} was refused with {status} by something in front of the host{edge}.",
		"A firewall, a challenge for browsers, or a block of this address or region.",
		"Try from another network. Ask the host to allow this address."},
	ClockSkew: {
		"This machine's clock is {skew} {direction} the host's.",
		"The clock is not kept by NTP. Certificates and signed requests may fail.",
		"Set the clock, by NTP for example."},

	WrongPath: {
		"{request} got {status}: the host has nothing at {path}.",
		"The base URL lacks a part of its path, or has too much.",
		"{suggestion}"},
	NotAnAPI: {
		"{request} got a 200 that is no answer of the API.",
		"Another service answers at the URL, or a gateway changes the answer.",
		"Check the base URL."},
	HostError: {
		"{request} got {status}{code}.",
		"The host fails. Nothing is wrong on this side.",
		"Use another endpoint meanwhile. Look at the host's status page."},
	Overloaded: {
		"{request} got {status}{code}: the host is overloaded.",
		"More people ask than it can serve.",
		"Wait and send fewer calls at once, or use another endpoint."},
	RateLimited: {
		"{request} got {status}{code}: a rate limit{wait}.",
		"The account sends more than the host allows. With insufficient_quota, its money may be used up.",
		"Send fewer calls, or ask the host for a higher limit."},
	ConcurrencyLimited: {
		"{request} got {status}: the account may have {limit} calls at once.",
		"More are under way. At DeepSeek, the number falls with the balance.",
		"Limit calls in flight to {limit}, end those that hang, or top up the balance."},
	KeyRejected: {
		"{request} got {status}{code}: the host refuses the key.",
		"The key is wrong, was deleted, or has no right to this.",
		"Make a new key on the host's console. Check that the right one is set."},
	KeyNotReceived: {
		"{request} got {status} in plain text, as requests without a key do.",
		"Something on the way removed the key, or the host's front refuses it.",
		"Check proxies and gateways: they must pass Authorization on."},
	NoFunds: {
		"The host says that the account has no money{amount}.",
		"The balance is used up, or a bill is not paid.",
		"Top it up on the host's console."},
	BalanceLow: {
		"The account has {amount} left.",
		"Calls will be refused when it is used up.",
		"Top it up on the host's console."},
	ModelNotListed: {
		"The host does not list {models}.",
		"The name is misspelled, retired, or open to other accounts only.",
		"It lists {listed}. Correct the name, or map it in Models."},
	ModelUnknown: {
		"{request} got {status}{code}: the host does not have the model {model}.",
		"The name is misspelled, retired, or open to other accounts only.",
		"{listed}"},
	ModelRetired: {
		"{request} got {status}: the host has retired the model {model}.",
		"The program still uses the old name.",
		"Use {successor}. breakwater replaces the name if Host is {host}."},
	ModelRenamed: {
		"The model name {model} is retired.",
		"breakwater asks for {successor} in its place.",
		"Use the new name in the program, so that it works without breakwater, too."},
	NoModels: {
		"The host lists no models.",
		"The account has access to none, or the server has loaded none.",
		"Load a model, or ask for access to one."},
	ContentRefused: {
		"{request} was refused for its content, with {status}{code}.",
		"The host's filter refuses even a harmless prompt.",
		"Try again. If it lasts, ask the host."},
	ContextTooLong: {
		"{request} was refused as too long for the model, with {status}{code}.",
		"The prompt has a few words. The server allows next to nothing, or is misconfigured.",
		"If it is your own server, look at its maximum model length."},
	ReasoningMissing: {
		"{request} was refused with {status}{code}: reasoning_content is missing.",
		"The host takes the request for one of a conversation. A gateway may have changed it.",
		"Check what stands in front of the host."},
	RequestUnsuited: {
		"{request} was refused with {status}{code}: it asks for more than the host can do.",
		"The model or the operation is limited there.",
		"Try another model."},
	RequestRefused: {
		"{request} was refused with {status}{code}.",
		"The host does not understand a plain request.",
		"Check the base URL and Host: another API may be there."},
	AnswerNotStarted: {
		"{request} got no response within {limit}. The list of models came.",
		"The host's models hang or are overloaded. Its front is well.",
		"Use another endpoint meanwhile, or try again with a longer --timeout."},
	AnswerQueued: {
		"{request} was still queued after {limit}: {count} keep-alives, no answer.",
		"The host is overloaded. DeepSeek queues a call for up to ten minutes.",
		"Wait longer (--timeout), or use another endpoint meanwhile."},
	AnswerSilent: {
		"{request} got a 200, and then nothing for {limit}.",
		"The host's model hangs. Nothing is wrong on this side.",
		"Use another endpoint meanwhile, or try again with a longer --timeout."},
	AnswerEmpty: {
		"{request} got a 200 without an answer in it.",
		"The host or a gateway fails without saying so.",
		"Try again. breakwater takes it for a failure."},
	AnswerBlank: {
		"{request} got a 200 with blank lines, and then the end.",
		"The host is overloaded and gave the call up in its queue.",
		"Use another endpoint meanwhile. breakwater takes it for a failure."},
	AnswerError: {
		"{request} got a 200 with an error in it{code}.",
		"The host failed when it had begun to answer.",
		"Try again. breakwater takes it for a failure."},
	AnswerMalformed: {
		"{request} got an answer that cannot be read.",
		"The host or a gateway breaks the JSON.",
		"Try again. If it lasts, tell the host."},
	AnswerCut: {
		"{request} got an answer that ends in the middle, as if it were whole.",
		"The host or a gateway ended it too early.",
		"Try again. Most clients do not notice; breakwater does."},
	AnswerBroken: {
		"The connection broke in the middle of the answer to {request}.",
		"The host or a gateway stopped, or the network failed.",
		"Try again. breakwater continues such streams."},
	AnswerStalled: {
		"The answer to {request} stopped in the middle: nothing for {limit}.",
		"The host's model hangs. The connection stands.",
		"Use another endpoint meanwhile. breakwater continues such streams elsewhere."},
	OutOfResources: {
		"{request} got half an answer: insufficient_system_resource.",
		"The host ran out of machines in the middle.",
		"Try again, or use another endpoint meanwhile."},
	FirstTokenSlow: {
		"The first token of {request} came after {took}.",
		"The host is busy, or the model thinks first.",
		"Use another endpoint at such times. A hedge or FirstToken of StreamPolicy helps."},
	TokensSlow: {
		"{request} got {rate} tokens a second.",
		"The host is busy, or this model is slow there.",
		"Compare with another model or endpoint."},
	StreamGaps: {
		"{request} had a gap of {gap} between two parts of the stream.",
		"The host is busy, or something in between collects events.",
		"Check proxies: they must not buffer streams."},
	NoAnswer: {
		"{request} failed: {reason}.",
		"It failed in a way that is not known.",
		"Try again. If it lasts, ask the host."},
	OutOfTime: {
		"The time for the diagnosis, {limit}, was over before {stage}.",
		"What came before took too long.",
		"Mend what is above first, or give a longer --timeout."},
	Incident: {
		"The host's status page says: {indicator}, {count} incidents open.",
		"The host knows of trouble. The page is often late, so it decides nothing here.",
		"See {url}."},
}

// englishTerms are words that stand in texts.
var englishTerms = map[term]string{
	"models request": "the request for the models", "balance request": "the request for the balance",
	"json request": "the request for a JSON answer", "stream request": "the request for a stream",
	"ahead": "ahead of", "behind": "behind",
	"direct works": " Without the proxy, the host can be reached.", "direct fails": " Without it, the host cannot be reached either.",
	"in variable": " in {variable}", "asks to wait": ". It asks to wait for {wait}", "edge": " (by {edge})", "code": " ({code})", "amount": ": {amount}",
	"local root": ", by a root that only this machine knows, without the proofs that public certificates have", "not trusted": ", which is not trusted here",
	"add path": "Try {url}: it answers.", "compare path": "Compare the base URL with the host's documents. It is the part before /chat/completions.",
	"try roots": "Its API is below {roots}. Correct the base URL.",
	"it lists":  "It lists {listed}. Correct the name, or map it in Models.", "no list": "See which models the host lists, and correct the name or map it in Models.",
	"and more": "{n} more", "transport": "the transport's Proxy", "system": "the system's resolver", "nowhere": "nowhere",
	"refused": "refused", "timeout": "no answer", "unreachable": "no route", "reset": "reset", "failed": "failed",
	"nxdomain": "no such name", "no-data": "no address", "servfail": "SERVFAIL", "refuses": "it refuses", "malformed": "malformed answer",
	"all is well": "All is well.", "works but": "Calls work, but: {seen}", "calls fail": "Calls fail: {seen}",
	"addresses": "{v4} IPv4, {v6} IPv6 by {n} resolvers", "addresses of one": "{v4} IPv4, {v6} IPv6",
	"own dialer": "the transport has a dialer of its own", "is address": "the URL has an address", "plain http": "plain http",
	"no proxy": "none", "bypassed": "none ({why})", "through": "{proxy}", "connected": "{n} of {all} addresses",
	"models listed": "{n} models listed", "model found": "{model}", "needs key": "no key", "not verified": "no connection whose certificate is right",
	"no connection": "no connection", "not told": "the host does not tell it", "no time": "no time left", "no date": "the host tells no time",
	"key accepted": "accepted", "keyless": "none is needed", "form right": "the form is right", "from function": "from KeyFunc", "in header": "in Header or Rewrite",
	"clock right": "within {n} s", "answered": "{tokens} tokens in {took}{queued}", "streamed": "first token {first}, {rate} tokens/s{queued}", "page says": "{indicator}, {count} open", "page silent": "not reached",
	"config right": "valid", "not listed": "not listed: {models}", "endpoint refused": "not valid", "right but for the key": "valid, but for the key", "tls done": "{version}, {issuer}, {days} days left", "no answer": "no answer",
	"list came": "the list came, which some hosts give without a key", "no operation": "the host does not have this API", "no model": "no model is known: see --model",
	"resolver says": "{resolver}: {what}",
	"not known":     "the answer does not tell it",
	"queued":        ", queued {queue}",
}
