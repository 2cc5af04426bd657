package diagnose

var chinese = map[Code]wording{
	EndpointInvalid: {
		"breakwater 拒绝该端点的配置：{reason}。",
		"配置有误，调用无法按预期发出。",
		"请改正配置。不依赖它的检查已经做完。"},
	OptionInvalid: {
		"{reason}。",
		"诊断的一个选项不对。",
		"请改正它。该选项没有生效。"},
	KeyMissing: {
		"该端点没有密钥。",
		"环境变量没有设置，或密钥没有传进来。",
		"请设置密钥{variable}。如果服务方不需要密钥，请设置 Keyless。"},
	KeyMalformed: {
		"密钥格式不对：{reason}。",
		"复制或读取时多带了内容，或放错了内容。没有服务方会接受它。",
		"请改正密钥。它没有被发送。"},
	KeyOfAnotherHost: {
		"密钥的前缀属于 {owner}，而服务方是 {host}。",
		"这里放了另一家的密钥。",
		"请使用 {host} 的密钥。这个密钥没有发送，以免泄露给 {host}。"},
	KeyFunctionFailed: {
		"KeyFunc 没有给出密钥：{reason}。",
		"它读取密钥的地方出错了，例如文件、密钥库或令牌服务。",
		"请先修复它。没有密钥就无法发送请求。"},
	RewriteFailed: {
		"Rewrite 或中间件返回了错误，{request}没有发送。",
		"程序自己的代码出错，例如签名失败。",
		"请检查该函数。服务方没有收到请求。"},
	VerificationOff: {
		"传输层不验证证书（InsecureSkipVerify）。",
		"途中的任何人都能读到密钥和提示词。",
		"请去掉 InsecureSkipVerify。如果服务方使用私有根证书，请把它加入 RootCAs。"},

	ProxyInUse: {
		"调用经过代理 {proxy}（来自 {variable}）。",
		"真正起作用的是到代理的连接。",
		"如果不是本意，请取消 {variable}，或把 {name} 加入 NO_PROXY。"},
	ProxyInvalid: {
		"{variable} 里不是代理的 URL。",
		"调用在发送之前就会失败。",
		"请写成 http://HOST:PORT，或取消它。"},
	ProxyUnknown: {
		"代理 {proxy} 的名称没有地址。",
		"这是另一个网络（例如办公室）的代理。",
		"请改正或取消 {variable}。{direct}"},
	ProxyRefused: {
		"代理 {proxy} 拒绝连接。",
		"代理程序没有运行，或端口不对。",
		"请启动代理程序，或改正、取消 {variable}。{direct}"},
	ProxySilent: {
		"代理 {proxy} 没有响应。",
		"代理已停，或防火墙丢弃了到它的连接。",
		"请询问代理的管理员，或取消 {variable}。{direct}"},
	ProxyWantsLogin: {
		"代理 {proxy} 返回 407：需要登录。",
		"变量里没有用户名和密码，或者不正确。",
		"请把它们写进 {variable}：http://USER:PASSWORD@HOST:PORT。{direct}"},
	ProxyDeclined: {
		"代理 {proxy} 不连接 {name}：{answer}。",
		"代理的规则禁止该主机，或代理自己也连不上。",
		"请让代理的管理员放行 {name}，或把 {name} 加入 NO_PROXY。{direct}"},

	DNSNoSuchHost: {
		"{name} 没有地址：{resolvers}。",
		"名称写错了，或本网络的 DNS 不认识它。",
		"请对照服务方文档检查 URL，并换一个解析器试试。"},
	DNSSilent: {
		"在 {limit} 内没有解析器回答 {name}：{resolvers}。",
		"域名服务器已停，或防火墙丢弃了 DNS（UDP 和 TCP 53 端口）。",
		"请检查网络和 /etc/resolv.conf，并换一个域名服务器试试。"},
	DNSFailed: {
		"没有解析器给出 {name} 的地址：{resolvers}。",
		"本网络的 DNS 有故障。",
		"请检查 /etc/resolv.conf，以及可能改动它的 VPN 或代理程序。"},
	DNSServerSilent: {
		"域名服务器 {server} 在 {limit} 内没有回答 {name}。",
		"先问它的查询会等待几秒，或者失败。",
		"请把它从 /etc/resolv.conf 中删除，或修复它。"},
	DNSServerFailed: {
		"{server} 没有 {name} 的地址（{reason}），其他解析器有。",
		"该解析器有故障，或不允许回答这个名称。",
		"请删除或修复它。其他解析器给出的地址已经试过。"},
	DNSDisagree: {
		"{with} 有 {name} 的地址，{without} 却说没有这个名称。",
		"其中之一被过滤，或该名称只在内网有效。",
		"请让整个网络使用同一个解析器。所有地址都已试过。"},
	DNSForged: {
		"{server} 说 {name} 在 {addresses}，公网主机不可能在那里。",
		"本网络的 DNS 被过滤或被伪造，或留有旧的条目。",
		"请换一个域名服务器，并检查 /etc/hosts。"},
	DNSFakeIP: {
		"{server} 说 {name} 在 {addresses}，这是测试用网段（RFC 2544）。",
		"本机的代理程序（如 Clash）自己回答 DNS（fake-ip）。",
		"如何连到服务方由它决定。如果失败，请在其中把 {name} 设为直连。"},
	DNSLocalEntry: {
		"系统说 {name} 在 {addresses}，而域名服务器的回答不同。",
		"/etc/hosts、搜索域或本机服务里有单独的条目。",
		"如果服务方换了地址，请删除该条目。"},
	DNSSlow: {
		"查询 {name} 用了 {took}。",
		"排在前面的域名服务器已停或过载。",
		"请把它从 /etc/resolv.conf 中删除。每个新连接都要等它。"},

	TCPRefused: {
		"{addresses} 拒绝连接。",
		"端口上没有服务，或防火墙拒绝了连接。",
		"请检查 URL 里的端口。如果是自己的服务，请启动它。"},
	TCPSilent: {
		"{addresses} 在 {limit} 内没有响应。",
		"防火墙丢弃了连接，或服务方已停。",
		"请换一个网络试试。请放行到 {port} 端口的出站连接，或设置代理。"},
	TCPUnreachable: {
		"没有到 {addresses} 的路由。",
		"本机没有网络，或 VPN、路由设置不对。",
		"请检查网络、VPN 和路由。"},
	TCPReset: {
		"{addresses} 立即重置了连接。",
		"途中的防火墙切断了它，或服务器过载。",
		"请换一个网络试试。"},
	TCPFailed: {
		"无法连接 {addresses}：{reason}。",
		"同时有几种原因。",
		"请逐个查看下面的地址。"},
	AddressFailed: {
		"{addresses} 无法连接（{reason}），其他地址可以。",
		"服务方的部分服务器停了，或防火墙丢弃了到那里的连接。",
		"先尝试它们的调用会变慢。如果持续，请告知服务方。"},
	IPv6Unreachable: {
		"本机没有到服务方 IPv6 地址的路由。",
		"本机没有 IPv6。没有影响，调用走 IPv4。",
		"不需要处理。"},

	TLSReset: {
		"到 {addresses} 的连接可以建立，但在 TLS 开始时被重置。",
		"途中的设备读取握手中的名称 {name} 并加以阻断。",
		"请换一个网络或通过代理试试，并询问防火墙的管理员。"},
	TLSSilent: {
		"到 {addresses} 的连接可以建立，但 TLS 在 {limit} 内没有响应。",
		"过滤设备丢弃了握手，或大的数据包丢失（VPN 的 MTU）。",
		"请换一个网络试试。使用 VPN 时，请把 MTU 设为 1400 或更小。"},
	TLSRefused: {
		"{addresses} 以警报结束了 TLS 握手：{reason}。",
		"该服务器不提供 {name}，或要求客户端证书。",
		"请检查 URL 里的主机名。该地址可能属于另一个服务。"},
	TLSNotSpoken: {
		"{addresses} 有响应，但不是 TLS。",
		"该端口使用明文 HTTP，或由登录门户、代理应答。",
		"请检查 URL 的协议和端口，并打开一个网页看是否要求登录。"},
	TLSFailed: {
		"与 {addresses} 的 TLS 握手失败：{reason}。",
		"服务器或途中的设备不遵守协议。",
		"请换一个网络试试。"},
	TLSWrongName: {
		"证书属于 {names}，不是 {name}。",
		"应答的是另一台服务器：登录门户、错误的地址或错误的主机名。",
		"请检查 URL 和 DNS。密钥没有发到那里。"},
	TLSExpired: {
		"{name} 的证书自 {date} 起失效。",
		"对方没有更新证书，或本机时钟偏快。",
		"请检查时钟。如果时钟正确，请告知服务方。密钥没有发到那里。"},
	TLSNotYetValid: {
		"{name} 的证书从 {date} 起有效，而本机时间是 {now}。",
		"本机时钟偏慢。",
		"请校准时钟，例如使用 NTP。密钥没有发到那里。"},
	TLSWrongClock: {
		"按本机时间 {now}，{name} 的证书无效；按服务方时间 {theirs}，它是有效的。",
		"本机时钟不对。",
		"请校准时钟，例如使用 NTP。密钥没有发到那里。"},
	TLSUntrusted: {
		"证书由 {issuer} 签发，本机不信任它。",
		"服务器使用私有证书，或途中的设备自行签发证书。",
		"如果是本意，请安装根证书；否则请换一个网络。密钥没有发到那里。"},
	TLSIntercepted: {
		"{name} 的证书由 {issuer} 签发{trust}。",
		"途中的设备解开了连接，能读到密钥和提示词。",
		"请让网络管理员对 {name} 免于检查。只有信任它时才安装其根证书。"},
	TLSExpiresSoon: {
		"{name} 的证书将于 {date} 到期。",
		"证书尚未更新。",
		"如果是自己的服务器，请更新证书。"},
	TLSAddressDiffers: {
		"在 {addresses} 上 TLS 失败（{reason}），在其他地址上正常。",
		"该地址不属于服务方，或其中一台服务器有故障。",
		"请检查 DNS 由谁回答。连到该地址的调用会失败。"},
	ConnectionReset: {
		"{request}发出后，连接被重置。",
		"服务器崩溃，或防火墙切断了连接。",
		"请重试。如果持续，请换一个网络试试，并询问服务方。"},
	ConnectionClosed: {
		"{request}发出后，连接被关闭，没有响应。",
		"服务器或网关恰好停止，或已过载。",
		"请重试。如果持续，请询问服务方。"},
	HostSilent: {
		"连接正常，但{request}在 {limit} 内没有收到任何字节。",
		"服务方的前端之后卡住了，或网关丢失了请求。",
		"请暂时使用其他端点，并查看服务方的状态页。"},
	ReuseBroken: {
		"保持的连接在再次使用时被关闭。",
		"服务器或网关不通知就关闭空闲连接。",
		"breakwater 会重新发送。其他客户端请缩短连接的保持时间。"},
	ConnectionFailed: {
		"{request}没有连接：{reason}。",
		"连接以未知的方式失败。",
		"请重试，并换一个网络试试。"},

	HTTP2GoAway: {
		"服务方在{request}时结束了 HTTP/2 连接（GOAWAY）。",
		"它正在为维护而排空，或前端有故障。",
		"请一分钟后重试。如果持续，请询问服务方。"},
	HTTP2RefusedStream: {
		"服务方通过 HTTP/2 拒绝了{request}（REFUSED_STREAM）。",
		"其前端不再接受更多请求。",
		"请一分钟后重试，并减少同时的调用。"},
	HTTP2Error: {
		"HTTP/2 在{request}时因协议错误中断。",
		"服务方或网关不遵守 HTTP/2，或响应头过大。",
		"请告知服务方。在此之前可以试试 HTTP/1.1：GODEBUG=http2client=0。"},
	HTTPMalformed: {
		"{request}得到的不是 HTTP。",
		"该端口属于另一个服务，或由途中的设备应答。",
		"请检查 URL 的协议和端口。"},
	HeadersTooLarge: {
		"{request}的响应头超过 {limit}。",
		"服务方或网关有故障，或怀有恶意。",
		"请告知服务方。breakwater 会放弃这样的响应。"},
	BodyBroken: {
		"{request}的响应中途断开。",
		"服务器或网关过早结束了连接。",
		"请重试。如果持续，请询问服务方。"},
	BodyTooLong: {
		"{request}的响应在 {limit} 内没有结束。",
		"服务方或网络非常慢。",
		"请用更长的 --timeout 重试。"},
	Redirected: {
		"{request}被重定向（{status}）到 {location}。",
		"URL 已过时或不是 API 的地址，或途中有登录页面。",
		"请改正 URL。breakwater 不会跟随：提示词不能发给陌生的主机。"},
	WebPage: {
		"{request}得到 200，内容却是网页。",
		"由登录门户或代理应答，或 URL 是网站的地址。",
		"请打开一个网页看是否要求登录，并检查基础 URL。"},
	EdgeError: {
		"{request}得到 {status}，但不是 API 的格式{edge}。",
		"由网关代替服务方应答：其后的服务器停了或太慢。",
		"请暂时使用其他端点，并查看服务方的状态页。"},
	Blocked: {
		"{request}被服务方前面的设备拒绝（{status}）{edge}。",
		"防火墙、浏览器验证，或本地址、本地区被屏蔽。",
		"请换一个网络试试，并请服务方放行本地址。"},
	ClockSkew: {
		"本机时钟比服务方{direction} {skew}。",
		"时钟没有用 NTP 校准。证书和带签名的请求可能失败。",
		"请校准时钟，例如使用 NTP。"},

	WrongPath: {
		"{request}得到 {status}：服务方在 {path} 下没有内容。",
		"基础 URL 的路径缺了一部分，或多了一部分。",
		"{suggestion}"},
	NotAnAPI: {
		"{request}得到 200，但不是 API 的回答。",
		"该 URL 上是另一个服务，或网关改动了响应。",
		"请检查基础 URL。"},
	HostError: {
		"{request}得到 {status}{code}。",
		"服务方出错，本机没有问题。",
		"请暂时使用其他端点，并查看服务方的状态页。"},
	Overloaded: {
		"{request}得到 {status}{code}：服务方过载。",
		"请求的人超过它的能力。",
		"请等待并减少同时的调用，或使用其他端点。"},
	RateLimited: {
		"{request}得到 {status}{code}：达到速率限制{wait}。",
		"账户发送的请求超过服务方的允许。如果代码是 insufficient_quota，也可能是余额用完。",
		"请减少调用，或向服务方申请更高的限制。"},
	ConcurrencyLimited: {
		"{request}得到 {status}：该账户同时只能有 {limit} 个调用。",
		"正在进行的调用超过了它。在 DeepSeek，这个数随余额下降。",
		"请把并发限制为 {limit}，结束卡住的调用，或充值。"},
	KeyRejected: {
		"{request}得到 {status}{code}：服务方拒绝该密钥。",
		"密钥错误、已删除，或没有权限。",
		"请在服务方控制台新建密钥，并检查设置的是否正确。"},
	KeyNotReceived: {
		"{request}得到纯文本的 {status}，与没有密钥的请求相同。",
		"途中的设备去掉了密钥，或服务方前端拒绝了它。",
		"请检查代理和网关：它们必须转发 Authorization。"},
	NoFunds: {
		"服务方说该账户余额不足{amount}。",
		"余额已用完，或有未付账单。",
		"请在服务方控制台充值。"},
	BalanceLow: {
		"该账户还剩 {amount}。",
		"用完后调用会被拒绝。",
		"请在服务方控制台充值。"},
	ModelNotListed: {
		"服务方没有列出 {models}。",
		"名称写错、已下线，或只对其他账户开放。",
		"它列出 {listed}。请改正名称，或在 Models 中映射。"},
	ModelUnknown: {
		"{request}得到 {status}{code}：服务方没有模型 {model}。",
		"名称写错、已下线，或只对其他账户开放。",
		"{listed}"},
	ModelRetired: {
		"{request}得到 {status}：服务方已下线模型 {model}。",
		"程序仍在使用旧名称。",
		"请使用 {successor}。Host 为 {host} 时，breakwater 会替换该名称。"},
	ModelRenamed: {
		"模型名称 {model} 已下线。",
		"breakwater 会改为请求 {successor}。",
		"请在程序中使用新名称，这样不用 breakwater 时也能工作。"},
	NoModels: {
		"服务方没有列出任何模型。",
		"该账户没有可用的模型，或服务器没有加载模型。",
		"请加载模型，或申请权限。"},
	ContentRefused: {
		"{request}因内容被拒绝：{status}{code}。",
		"服务方的过滤器连无害的提示词也拒绝。",
		"请重试。如果持续，请询问服务方。"},
	ContextTooLong: {
		"{request}因超过模型的长度被拒绝：{status}{code}。",
		"提示词只有几个词。服务器几乎不允许任何长度，或配置有误。",
		"如果是自己的服务器，请检查最大模型长度。"},
	ReasoningMissing: {
		"{request}因缺少 reasoning_content 被拒绝：{status}{code}。",
		"服务方把请求当作多轮对话。可能有网关改动了它。",
		"请检查服务方前面的设备。"},
	RequestUnsuited: {
		"{request}因超出服务方的能力被拒绝：{status}{code}。",
		"那里的模型或操作有限制。",
		"请换一个模型试试。"},
	RequestRefused: {
		"{request}被拒绝：{status}{code}。",
		"服务方不理解普通的请求。",
		"请检查基础 URL 和 Host：那里可能是另一种 API。"},
	AnswerNotStarted: {
		"{request}在 {limit} 内没有响应，而模型列表可以取得。",
		"服务方的模型卡住或过载，前端正常。",
		"请暂时使用其他端点，或用更长的 --timeout 重试。"},
	AnswerQueued: {
		"{request}在 {limit} 后仍在排队：收到 {count} 个保活信号，没有回答。",
		"服务方过载。DeepSeek 的排队最长十分钟。",
		"请等待更久（--timeout），或暂时使用其他端点。"},
	AnswerSilent: {
		"{request}得到 200，之后 {limit} 没有内容。",
		"服务方的模型卡住，本机没有问题。",
		"请暂时使用其他端点，或用更长的 --timeout 重试。"},
	AnswerEmpty: {
		"{request}得到 200，但没有回答。",
		"服务方或网关出错却没有说明。",
		"请重试。breakwater 会把它当作失败。"},
	AnswerBlank: {
		"{request}得到 200，只有空行，然后结束。",
		"服务方过载，在排队中放弃了调用。",
		"请暂时使用其他端点。breakwater 会把它当作失败。"},
	AnswerError: {
		"{request}得到 200，内容却是错误{code}。",
		"服务方在开始回答后出错。",
		"请重试。breakwater 会把它当作失败。"},
	AnswerMalformed: {
		"{request}得到的回答无法解析。",
		"服务方或网关破坏了 JSON。",
		"请重试。如果持续，请告知服务方。"},
	AnswerCut: {
		"{request}的回答在中途结束，却像是完整的。",
		"服务方或网关过早结束了它。",
		"请重试。多数客户端察觉不到，breakwater 能察觉。"},
	AnswerBroken: {
		"{request}的回答中途连接断开。",
		"服务方或网关停止，或网络故障。",
		"请重试。breakwater 会续接这样的流。"},
	AnswerStalled: {
		"{request}的回答中途停止：{limit} 没有内容。",
		"服务方的模型卡住，连接仍在。",
		"请暂时使用其他端点。breakwater 会在别处续接这样的流。"},
	OutOfResources: {
		"{request}只得到一半的回答：insufficient_system_resource。",
		"服务方中途资源不足。",
		"请重试，或暂时使用其他端点。"},
	FirstTokenSlow: {
		"{request}的首 token 在 {took} 后才到。",
		"服务方繁忙，或模型先思考。",
		"此时请使用其他端点。StreamPolicy 的对冲或 FirstToken 有帮助。"},
	TokensSlow: {
		"{request}每秒得到 {rate} 个 token。",
		"服务方繁忙，或该模型在那里较慢。",
		"请与其他模型或端点比较。"},
	StreamGaps: {
		"{request}的流中有 {gap} 的间隔。",
		"服务方繁忙，或途中的设备攒积事件。",
		"请检查代理：它们不能缓冲流。"},
	NoAnswer: {
		"{request}失败：{reason}。",
		"它以未知的方式失败。",
		"请重试。如果持续，请询问服务方。"},
	OutOfTime: {
		"诊断的时间（{limit}）在{stage}之前用完。",
		"前面的步骤用时太长。",
		"请先解决上面的问题，或给出更长的 --timeout。"},
	Incident: {
		"服务方的状态页显示：{indicator}，{count} 个事件未解决。",
		"服务方知道有故障。状态页往往滞后，所以在这里不作判断。",
		"见 {url}。"},
}

// chineseTerms are the terms of englishTerms, and the texts of other packages.
var chineseTerms = map[term]string{
	"models request": "模型列表请求", "balance request": "余额请求",
	"json request": "JSON 请求", "stream request": "流式请求",
	"ahead": "快", "behind": "慢",
	"direct works": "不经过代理可以连到服务方。", "direct fails": "不经过代理也连不到服务方。",
	"in variable": "（变量 {variable}）", "asks to wait": "，需等待 {wait}", "edge": "（来自 {edge}）", "code": "（{code}）", "amount": "：{amount}",
	"local root": "，其根证书只有本机认识，也没有公开证书应有的证明", "not trusted": "，本机不信任它",
	"add path": "请试 {url}：它有响应。", "compare path": "请对照服务方文档检查基础 URL。它是 /chat/completions 之前的部分。",
	"try roots": "它的 API 在 {roots} 之下。请改正基础 URL。",
	"it lists":  "它列出 {listed}。请改正名称，或在 Models 中映射。", "no list": "请查看服务方列出的模型，改正名称或在 Models 中映射。",
	"and more": "另外 {n} 个", "transport": "传输层的 Proxy", "system": "系统解析器", "nowhere": "无处",
	"refused": "拒绝", "timeout": "没有响应", "unreachable": "没有路由", "reset": "被重置", "failed": "失败",
	"nxdomain": "没有这个名称", "no-data": "没有地址", "servfail": "SERVFAIL", "refuses": "拒绝回答", "malformed": "回答格式错误",
	"all is well": "一切正常。", "works but": "调用可以进行，但是：{seen}", "calls fail": "调用失败：{seen}",
	"addresses": "{v4} 个 IPv4，{v6} 个 IPv6，来自 {n} 个解析器", "addresses of one": "{v4} 个 IPv4，{v6} 个 IPv6",
	"own dialer": "传输层有自己的拨号函数", "is address": "URL 里就是地址", "plain http": "明文 http",
	"no proxy": "无", "bypassed": "无（{why}）", "through": "{proxy}", "connected": "{all} 个地址中的 {n} 个",
	"models listed": "列出 {n} 个模型", "model found": "{model}", "needs key": "没有密钥", "not verified": "没有证书正确的连接",
	"no connection": "没有连接", "not told": "服务方不提供", "no time": "没有时间了", "no date": "服务方没有给出时间",
	"key accepted": "已接受", "keyless": "不需要", "form right": "格式正确", "from function": "来自 KeyFunc", "in header": "在 Header 或 Rewrite 中",
	"clock right": "相差不到 {n} 秒", "answered": "{took} 内 {tokens} 个 token{queued}", "streamed": "首 token {first}，每秒 {rate} 个 token{queued}", "page says": "{indicator}，{count} 个未解决", "page silent": "未能访问",
	"config right": "有效", "not listed": "没有列出：{models}", "endpoint refused": "无效", "right but for the key": "除密钥外有效", "tls done": "{version}，{issuer}，还有 {days} 天", "no answer": "没有响应",
	"list came": "得到了列表（有些服务方不需要密钥也给）", "no operation": "服务方没有这种 API", "no model": "不知道用哪个模型：见 --model",
	"resolver says": "{resolver}：{what}",
	"not known":     "从回答中看不出",
	"queued":        "，排队 {queue}",
}

// chineseReasons has what package mistake says of keys, in Chinese.
var chineseReasons = map[string]string{
	"is blank": "是空白",
	"has a line break: if it comes from a file, use strings.TrimSpace": "含有换行；如果来自文件，请去掉首尾空白",
	"has a line break or control character in it":                      "含有换行或控制字符",
	"has blanks around it: use strings.TrimSpace":                      "首尾有空白",
	"has quotes around it: give it without them":                       "带有引号",
	`begins with "Bearer ": give the key alone`:                        "以“Bearer ”开头；只要密钥本身",
	"begins with the name of a header: give the key alone":             "以请求头的名称开头；只要密钥本身",
	"is a URL: are the key and the URL exchanged?":                     "是一个 URL；密钥和 URL 是否放反了？",
	"is a placeholder: is a variable not expanded?":                    "是占位符；变量是否没有展开？",
	"begins with the name of a variable and =: give the key alone":     "以“变量名=”开头；只要密钥本身",
	"has a blank in it, which no key has":                              "中间有空白，密钥里不会有",
	"has a character that is not ASCII, which no key has":              "含有非 ASCII 字符，密钥里不会有",
}
