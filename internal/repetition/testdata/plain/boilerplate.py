import dataclasses
import typing


@dataclasses.dataclass(frozen=True)
class TimeoutPolicy:
    """How the timeout behaves."""

    enabled: bool = False
    timeout: float = 0.0
    name: str = "timeout"

    def __post_init__(self) -> None:
        if self.timeout < 0:
            raise ValueError("timeout must not be negative")

    def with_timeout(self, timeout: float) -> "TimeoutPolicy":
        return dataclasses.replace(self, timeout=timeout)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "timeout": self.timeout, "name": self.name}


@dataclasses.dataclass(frozen=True)
class RetriesPolicy:
    """How the retries behaves."""

    enabled: bool = False
    retries: float = 0.0
    name: str = "retries"

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError("retries must not be negative")

    def with_retries(self, retries: float) -> "RetriesPolicy":
        return dataclasses.replace(self, retries=retries)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "retries": self.retries, "name": self.name}


@dataclasses.dataclass(frozen=True)
class BackoffPolicy:
    """How the backoff behaves."""

    enabled: bool = False
    backoff: float = 0.0
    name: str = "backoff"

    def __post_init__(self) -> None:
        if self.backoff < 0:
            raise ValueError("backoff must not be negative")

    def with_backoff(self, backoff: float) -> "BackoffPolicy":
        return dataclasses.replace(self, backoff=backoff)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "backoff": self.backoff, "name": self.name}


@dataclasses.dataclass(frozen=True)
class JitterPolicy:
    """How the jitter behaves."""

    enabled: bool = False
    jitter: float = 0.0
    name: str = "jitter"

    def __post_init__(self) -> None:
        if self.jitter < 0:
            raise ValueError("jitter must not be negative")

    def with_jitter(self, jitter: float) -> "JitterPolicy":
        return dataclasses.replace(self, jitter=jitter)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "jitter": self.jitter, "name": self.name}


@dataclasses.dataclass(frozen=True)
class LimitPolicy:
    """How the limit behaves."""

    enabled: bool = False
    limit: float = 0.0
    name: str = "limit"

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise ValueError("limit must not be negative")

    def with_limit(self, limit: float) -> "LimitPolicy":
        return dataclasses.replace(self, limit=limit)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "limit": self.limit, "name": self.name}


@dataclasses.dataclass(frozen=True)
class BurstPolicy:
    """How the burst behaves."""

    enabled: bool = False
    burst: float = 0.0
    name: str = "burst"

    def __post_init__(self) -> None:
        if self.burst < 0:
            raise ValueError("burst must not be negative")

    def with_burst(self, burst: float) -> "BurstPolicy":
        return dataclasses.replace(self, burst=burst)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "burst": self.burst, "name": self.name}


@dataclasses.dataclass(frozen=True)
class WindowPolicy:
    """How the window behaves."""

    enabled: bool = False
    window: float = 0.0
    name: str = "window"

    def __post_init__(self) -> None:
        if self.window < 0:
            raise ValueError("window must not be negative")

    def with_window(self, window: float) -> "WindowPolicy":
        return dataclasses.replace(self, window=window)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "window": self.window, "name": self.name}


@dataclasses.dataclass(frozen=True)
class ProbePolicy:
    """How the probe behaves."""

    enabled: bool = False
    probe: float = 0.0
    name: str = "probe"

    def __post_init__(self) -> None:
        if self.probe < 0:
            raise ValueError("probe must not be negative")

    def with_probe(self, probe: float) -> "ProbePolicy":
        return dataclasses.replace(self, probe=probe)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "probe": self.probe, "name": self.name}


@dataclasses.dataclass(frozen=True)
class RatioPolicy:
    """How the ratio behaves."""

    enabled: bool = False
    ratio: float = 0.0
    name: str = "ratio"

    def __post_init__(self) -> None:
        if self.ratio < 0:
            raise ValueError("ratio must not be negative")

    def with_ratio(self, ratio: float) -> "RatioPolicy":
        return dataclasses.replace(self, ratio=ratio)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "ratio": self.ratio, "name": self.name}


@dataclasses.dataclass(frozen=True)
class HedgePolicy:
    """How the hedge behaves."""

    enabled: bool = False
    hedge: float = 0.0
    name: str = "hedge"

    def __post_init__(self) -> None:
        if self.hedge < 0:
            raise ValueError("hedge must not be negative")

    def with_hedge(self, hedge: float) -> "HedgePolicy":
        return dataclasses.replace(self, hedge=hedge)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "hedge": self.hedge, "name": self.name}


@dataclasses.dataclass(frozen=True)
class StallPolicy:
    """How the stall behaves."""

    enabled: bool = False
    stall: float = 0.0
    name: str = "stall"

    def __post_init__(self) -> None:
        if self.stall < 0:
            raise ValueError("stall must not be negative")

    def with_stall(self, stall: float) -> "StallPolicy":
        return dataclasses.replace(self, stall=stall)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "stall": self.stall, "name": self.name}


@dataclasses.dataclass(frozen=True)
class QueuePolicy:
    """How the queue behaves."""

    enabled: bool = False
    queue: float = 0.0
    name: str = "queue"

    def __post_init__(self) -> None:
        if self.queue < 0:
            raise ValueError("queue must not be negative")

    def with_queue(self, queue: float) -> "QueuePolicy":
        return dataclasses.replace(self, queue=queue)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "queue": self.queue, "name": self.name}


@dataclasses.dataclass(frozen=True)
class CachePolicy:
    """How the cache behaves."""

    enabled: bool = False
    cache: float = 0.0
    name: str = "cache"

    def __post_init__(self) -> None:
        if self.cache < 0:
            raise ValueError("cache must not be negative")

    def with_cache(self, cache: float) -> "CachePolicy":
        return dataclasses.replace(self, cache=cache)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "cache": self.cache, "name": self.name}


@dataclasses.dataclass(frozen=True)
class TtlPolicy:
    """How the ttl behaves."""

    enabled: bool = False
    ttl: float = 0.0
    name: str = "ttl"

    def __post_init__(self) -> None:
        if self.ttl < 0:
            raise ValueError("ttl must not be negative")

    def with_ttl(self, ttl: float) -> "TtlPolicy":
        return dataclasses.replace(self, ttl=ttl)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "ttl": self.ttl, "name": self.name}


@dataclasses.dataclass(frozen=True)
class ScopePolicy:
    """How the scope behaves."""

    enabled: bool = False
    scope: float = 0.0
    name: str = "scope"

    def __post_init__(self) -> None:
        if self.scope < 0:
            raise ValueError("scope must not be negative")

    def with_scope(self, scope: float) -> "ScopePolicy":
        return dataclasses.replace(self, scope=scope)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "scope": self.scope, "name": self.name}


@dataclasses.dataclass(frozen=True)
class StorePolicy:
    """How the store behaves."""

    enabled: bool = False
    store: float = 0.0
    name: str = "store"

    def __post_init__(self) -> None:
        if self.store < 0:
            raise ValueError("store must not be negative")

    def with_store(self, store: float) -> "StorePolicy":
        return dataclasses.replace(self, store=store)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "store": self.store, "name": self.name}


@dataclasses.dataclass(frozen=True)
class WeightPolicy:
    """How the weight behaves."""

    enabled: bool = False
    weight: float = 0.0
    name: str = "weight"

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight must not be negative")

    def with_weight(self, weight: float) -> "WeightPolicy":
        return dataclasses.replace(self, weight=weight)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "weight": self.weight, "name": self.name}


@dataclasses.dataclass(frozen=True)
class TierPolicy:
    """How the tier behaves."""

    enabled: bool = False
    tier: float = 0.0
    name: str = "tier"

    def __post_init__(self) -> None:
        if self.tier < 0:
            raise ValueError("tier must not be negative")

    def with_tier(self, tier: float) -> "TierPolicy":
        return dataclasses.replace(self, tier=tier)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "tier": self.tier, "name": self.name}


@dataclasses.dataclass(frozen=True)
class RampPolicy:
    """How the ramp behaves."""

    enabled: bool = False
    ramp: float = 0.0
    name: str = "ramp"

    def __post_init__(self) -> None:
        if self.ramp < 0:
            raise ValueError("ramp must not be negative")

    def with_ramp(self, ramp: float) -> "RampPolicy":
        return dataclasses.replace(self, ramp=ramp)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "ramp": self.ramp, "name": self.name}


@dataclasses.dataclass(frozen=True)
class KeyPolicy:
    """How the key behaves."""

    enabled: bool = False
    key: float = 0.0
    name: str = "key"

    def __post_init__(self) -> None:
        if self.key < 0:
            raise ValueError("key must not be negative")

    def with_key(self, key: float) -> "KeyPolicy":
        return dataclasses.replace(self, key=key)

    def to_dict(self) -> dict[str, typing.Any]:
        return {"enabled": self.enabled, "key": self.key, "name": self.name}


