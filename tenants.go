package breakwater

import (
	"errors"
	"net/http"

	"github.com/breakwater-go/breakwater/internal/limit"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/tenant"
)

// A tenantLayer is the layer of the tenants' limits. It stands below the cache, so that kept
// and shared answers count nothing, and below the rescues, each of which passes it: they count
// for their call.
type tenantLayer struct {
	next     http.RoundTripper
	tenants  *tenant.Table
	counts   bool // tokens are limited, so prompts are estimated
	asErrors bool
}

// newTenants returns the layer. Without a policy there is none.
func newTenants(c *config, table *tenant.Table) Middleware {
	return func(next http.RoundTripper) http.RoundTripper {
		if c.tenants == nil {
			return next
		}
		return &tenantLayer{next: next, tenants: table, counts: c.tenants.countsTokens(), asErrors: c.asErrors}
	}
}

// follow makes the policy that of the table.
func (p *TenantPolicy) follow(table *tenant.Table) {
	all := tenant.Policy{Default: tenant.Limits(p.Default), Named: make(map[string]tenant.Limits, len(p.Limits)), Zone: p.Zone}
	for name, l := range p.Limits {
		all.Named[name] = tenant.Limits(l)
	}
	table.Follow(&all)
}

// RoundTrip makes the call if its tenant's limits allow it. Nobody's limits count for a renewal
// in the background.
func (l *tenantLayer) RoundTrip(req *http.Request) (*http.Response, error) {
	c := callOf(req.Context())
	if c.renewal != nil {
		return l.next.RoundTrip(req)
	}
	of, hold := l.tenants.Get(c.Tenant), new(tenantHold)
	need := tenant.Need{Answer: c.params.MaxTokens, Priority: limit.Priority(c.Priority)}
	if l.counts && c.upload == nil && !c.encoded {
		need.Prompt = request.EstimatePrompt(c.body(), &c.params)
	}
	if c.resumption != nil {
		of.Force(&hold.Hold, need)
	} else if err := of.Acquire(c, &hold.Hold, need); err != nil {
		return nil, l.refuse(c, err)
	}
	defer hold.Leave(tenant.Result{})
	c.excluded.holds(hold)
	return l.next.RoundTrip(req)
}

// refuse ends a call that is over its tenant's limits, or that its caller has left.
func (l *tenantLayer) refuse(c *call, err error) error {
	if c.upload != nil {
		c.upload.Close()
	}
	full, ok := errors.AsType[*tenant.Error](err)
	if !ok {
		return err
	}
	failure := c.newError(ClassLimited)
	failure.RetryAfter = full.RetryAfter
	failure.limit = &LimitError{Tenant: c.Tenant, Limit: full.Limit, InUse: full.InUse, Max: full.Max, Waiting: full.Waiting, RetryAfter: full.RetryAfter}
	failure.why = "the tenant is at its limit: " + failure.limit.use()
	c.setFailure(failure)
	x := &exhausted{failure: failure}
	if !l.asErrors {
		x.resp = c.ownAnswer(failure)
	}
	return x
}

// nameTenant finds out whose call it is, if that was not said. It must be called before the
// call is shared with other goroutines.
func (p *TenantPolicy) nameTenant(c *call) {
	if p == nil || p.Of == nil || c.Tenant != "" && c.Priority != 0 {
		return
	}
	named := false
	defer func() {
		if !named && c.upload != nil { // user code panicked
			c.upload.Close()
		}
	}()
	name, priority := p.Of(c.req)
	named = true
	options := *c.Call
	if options.Tenant == "" {
		options.Tenant = name
	}
	if options.Priority == 0 {
		options.Priority = priority
	}
	c.Call = &options
}
