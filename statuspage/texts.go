package statuspage

// chinese has the texts of the page.
var chinese = map[string]string{
	"Users are served": "服务正常", "Users are served by ": "正在提供服务：", "Users are not served": "服务中断", "No calls in the last 5 minutes": "最近 5 分钟没有调用",
	"Down: ": "中断：", "Paused: ": "暂停：", "Not well: ": "异常：", "Some calls failed": "部分调用失败", ". ": "。", ", ": "、",
	"This page no longer refreshes: the service does not answer.": "页面已停止刷新：服务没有响应。", "No event has come: see Page.Observe.": "没有收到事件：见 Page.Observe。",

	"Last 5 minutes": "最近 5 分钟", "Last hour": "最近一小时", "answered": "成功", "failed": "失败", "canceled": "已取消", "callers' mistakes": "调用方错误", "under way": "进行中",
	"Served by": "服务来源", "updated": "更新于", "now": "现在", "%s ago": "%s前", "in %s": "%s后", " s": " 秒", " min": " 分钟", " h": " 小时", " d": " 天",

	"Endpoints": "端点", "Endpoint": "端点", "tier": "层级", "cost": "费用", "balance": "余额", ", for about %s": "，约可用 %s", "cannot be reached": "无法连接", "key rejected": "密钥被拒", "no funds": "余额不足", "models not listed: %s": "未列出的模型：%s", ", %s of it estimated": "，其中 %s 为估算", ", %d attempts not known": "，%d 次尝试费用未知", "State": "状态", "Since": "开始时间", "Why": "原因", "Last answer": "最近成功", "Circuits, pauses, limits": "熔断、暂停、限流",
	"until": "至", "all models": "所有模型", "in flight": "进行中", "waiting": "排队", "circuit": "熔断器",

	"Calls a minute": "每分钟调用数", "First token, by minute": "首 token 延迟（按分钟）", "As a table": "以表格查看", "Minute": "分钟",
	"Failovers": "故障转移", "Failed calls": "失败的调用", "none": "无", "Time": "时间", "Call": "调用", "Outcome": "结果", "Trail": "尝试轨迹", "passed over": "跳过", "more": "更多",

	"Objectives": "服务目标", "Objective": "目标", "Window": "窗口", "Availability": "可用性", "Burn rate": "消耗速率", "Error budget of 30 days": "30 天错误预算",
	"%s spent: the objective is missed": "已用 %s：未达目标", "%s spent, %s of outage left": "已用 %s，还可中断 %s",

	"Cache": "缓存", "cache": "缓存", "entries": "条", "hits": "命中", "misses": "未命中", "stale": "陈旧", "shared": "共享", "Build": "构建", "running since": "启动于",
}

// words has the values of the constants of package breakwater, and the states, in Chinese.
var words = map[string]string{
	"ok": "正常", "degraded": "异常", "down": "中断", "paused": "暂停", "idle": "空闲",
	"closed": "关闭", "half-open": "半开", "open": "打开",

	"canceled": "已取消", "deadline": "超过期限", "unreachable": "无法连接", "unavailable": "不可用", "rate_limited": "被限流", "key_rejected": "密钥被拒",
	"no_funds": "余额不足", "blocked": "被拦截", "unsuited": "请求不适合", "no_model": "无此模型", "filtered": "内容被过滤", "refused": "请求被拒", "redirected": "重定向",
	"bad_response": "响应异常", "no_first_token": "无首 token", "stalled": "流停滞", "truncated": "流中断", "flawed": "回答有缺陷", "outrun": "被更快的尝试取代", "rewrite": "改写失败",
	"no_key":       "没有密钥",
	"circuit_open": "熔断中", "limited": "本地限流", "spent": "预算用尽", "not_cached": "缓存中没有", "unserved": "无可用端点",
	"idempotency_key_invalid": "幂等键无效", "idempotency_key_reused": "幂等键已用于其他请求",

	"retry": "重试成功", "failover": "故障转移", "hedge": "对冲成功", "rescued": "流已续接", "hit": "缓存命中", "stale": "陈旧缓存", "collapsed": "共享结果",
	"caller": "调用方", "host": "服务方", "network": "网络", "local": "本程序",
	"accept": "采用", "again": "重试", "elsewhere": "换端点", "stop": "停止",

	"circuit": "熔断中", "quarantine": "隔离中", "limit": "本地限流", "spill": "不溢出", "shift": "份额转移",
}
