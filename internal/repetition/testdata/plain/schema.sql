BEGIN;
CREATE TABLE IF NOT EXISTS timeout (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX timeout_name ON timeout (name);
CREATE INDEX timeout_created_at ON timeout (created_at);

CREATE TABLE IF NOT EXISTS retries (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX retries_name ON retries (name);
CREATE INDEX retries_created_at ON retries (created_at);

CREATE TABLE IF NOT EXISTS backoff (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX backoff_name ON backoff (name);
CREATE INDEX backoff_created_at ON backoff (created_at);

CREATE TABLE IF NOT EXISTS jitter (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX jitter_name ON jitter (name);
CREATE INDEX jitter_created_at ON jitter (created_at);

CREATE TABLE IF NOT EXISTS limit (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX limit_name ON limit (name);
CREATE INDEX limit_created_at ON limit (created_at);

CREATE TABLE IF NOT EXISTS burst (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX burst_name ON burst (name);
CREATE INDEX burst_created_at ON burst (created_at);

CREATE TABLE IF NOT EXISTS window (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX window_name ON window (name);
CREATE INDEX window_created_at ON window (created_at);

CREATE TABLE IF NOT EXISTS probe (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX probe_name ON probe (name);
CREATE INDEX probe_created_at ON probe (created_at);

CREATE TABLE IF NOT EXISTS ratio (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ratio_name ON ratio (name);
CREATE INDEX ratio_created_at ON ratio (created_at);

CREATE TABLE IF NOT EXISTS hedge (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX hedge_name ON hedge (name);
CREATE INDEX hedge_created_at ON hedge (created_at);

CREATE TABLE IF NOT EXISTS stall (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX stall_name ON stall (name);
CREATE INDEX stall_created_at ON stall (created_at);

CREATE TABLE IF NOT EXISTS queue (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX queue_name ON queue (name);
CREATE INDEX queue_created_at ON queue (created_at);

CREATE TABLE IF NOT EXISTS cache (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX cache_name ON cache (name);
CREATE INDEX cache_created_at ON cache (created_at);

CREATE TABLE IF NOT EXISTS ttl (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ttl_name ON ttl (name);
CREATE INDEX ttl_created_at ON ttl (created_at);

CREATE TABLE IF NOT EXISTS scope (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX scope_name ON scope (name);
CREATE INDEX scope_created_at ON scope (created_at);

CREATE TABLE IF NOT EXISTS store (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX store_name ON store (name);
CREATE INDEX store_created_at ON store (created_at);

CREATE TABLE IF NOT EXISTS weight (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX weight_name ON weight (name);
CREATE INDEX weight_created_at ON weight (created_at);

CREATE TABLE IF NOT EXISTS tier (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX tier_name ON tier (name);
CREATE INDEX tier_created_at ON tier (created_at);

CREATE TABLE IF NOT EXISTS ramp (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX ramp_name ON ramp (name);
CREATE INDEX ramp_created_at ON ramp (created_at);

CREATE TABLE IF NOT EXISTS key (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE INDEX key_name ON key (name);
CREATE INDEX key_created_at ON key (created_at);

COMMIT;
