package breakwater

import "time"

// A Status is a snapshot of a Transport: see [Transport.Status]. It can be encoded as
// JSON, for a health page.
type Status struct {
	Calls    int64 // inference calls so far, and GETs and HEADs of endpoints
	Failed   int64 // calls that neither an endpoint nor the cache answered, without those that the caller ended
	Passed   int64 // requests that were sent once, without protection: see KindPassed
	Attempts int64 // attempts sent, including those of rescues and of the cache's renewals

	// Outcomes are the calls that are over, by how they ended; Calls less their sum is how
	// many are under way. A call is over when its body has ended, been closed or left: so a
	// stream that breaks counts as truncated, for example, although it is not in Failed.
	Outcomes map[Outcome]int64

	Cost      CostStatus // of all attempts since New, also at endpoints that are not there any more
	Endpoints []EndpointStatus
	Tenants   []TenantStatus // with WithTenants: those that have used most today, at most 20 of them
	Cache     CacheStatus
}

// A CostStatus is what attempts have cost that are over: see [Cost]. It is zero if no endpoint
// has a price. The sums begin anew if Update changes the currency.
type CostStatus struct {
	Amount    float64 // in Currency; without what is not known
	Estimated float64 // the part of Amount that is estimated
	Unknown   int64   // attempts whose cost is not known
	Currency  string  // of the prices, such as USD
}

// An EndpointStatus is the state of one endpoint.
type EndpointStatus struct {
	Name     string
	URL      string   // without a user and a key
	Tags     []string // of Endpoint, as Region
	Region   string
	Tier     int // 0 for WithEndpoints, 1 for the first WithBackup, and so on
	Circuits []CircuitStatus
	Shares   []ShareStatus // of models of which it has lost a part of the first attempts: see BalancePolicy.Shift
	Limits   []LimitStatus
	Pauses   []PauseStatus
	Cost     CostStatus    // of its attempts since it is there
	Health   *HealthStatus // what probes have shown; nil without WithProbes
}

// A HealthStatus is what is known of an endpoint by probes: see [WithProbes]. What nobody knows
// is empty.
type HealthStatus struct {
	Checked    time.Time      // when a probe or an answer last told something; zero: never yet
	Reachable  Finding        // the host answers
	Credential Finding        // the host takes the endpoint's key, as far as it looks at keys
	Funds      Finding        // the host says that the account has money
	Balance    *BalanceStatus // of the account; nil: not known
	Missing    []string       // models that the endpoint should serve and the host does not list, by the host's names
}

// A BalanceStatus is the balance of an account, as its host tells it.
type BalanceStatus struct {
	Amount   float64
	Currency string        // a code of ISO 4217
	At       time.Time     // when the host said so
	PerHour  float64       // how much less it became in an hour, over a day at most; 0: not known yet, or nothing
	Left     time.Duration // how long it lasts if it goes on like that; 0: not known
}

// A Finding answers a question about an endpoint.
type Finding string

// The findings. The empty Finding means that nobody knows.
const (
	FindingYes Finding = "yes"
	FindingNo  Finding = "no"
)

// A CircuitStatus is the state of the circuit of one model at the endpoint.
type CircuitStatus struct {
	Model string    // the endpoint's name for it; GET: the circuit of GETs and HEADs
	State string    // closed, half-open or open
	Until time.Time // when an open circuit may be probed
}

// A ShareStatus is what the endpoint keeps of the first attempts for one model, while too many
// are late or refused.
type ShareStatus struct {
	Model   string  // the endpoint's name for it
	Share   float64 // from 1-BalancePolicy.Shift to below 1
	Trouble float64 // the part of its recent attempts that were late or refused
}

// A LimitStatus is the state of the limits of one model of the endpoint's account.
type LimitStatus struct {
	Model             string  // the endpoint's name for it
	InFlight, Waiting int     // attempts that are open, and that wait to begin
	MaxInFlight       int     // how many may be open: of RatePolicy, lowered by Adaptive, or learned; 0: unlimited
	PerSecond         float64 // how many may begin in a second: of RatePolicy, or learned; 0: unlimited
}

// A PauseStatus is a pause of the endpoint or its account.
type PauseStatus struct {
	Model string    // the endpoint's name for the paused model; empty: all models; GET: GETs and HEADs
	Until time.Time // when the pause ends
}

// A TenantStatus is the state of one tenant. Its counts begin at midnight: see TenantPolicy.
type TenantStatus struct {
	Name              string // as in Call.Tenant, at most 128 bytes of it; empty: of calls that name none
	InFlight, Waiting int    // calls that are under way, and that wait for its limits
	Calls             int64  // that have ended
	Refused           int64  // calls that were over its limits
	Tokens            int64  // of prompts and answers
	Cost              Cost   // by Endpoint.Price: what is known of it
}

// A CacheStatus says what the cache holds in memory, and counts what it did.
type CacheStatus struct {
	Entries   int   // answers in memory
	Bytes     int64 // their size
	Hits      int64 // calls that got a fresh answer
	Stale     int64 // calls that got a stale answer
	Shared    int64 // calls that shared the attempt of another call
	Misses    int64 // calls that were sent to the endpoints
	Stores    int64 // answers kept
	Evictions int64 // answers removed to make room
}
