//! Which hosts the relay crawls, and what they may do.

use super::{Invalid, check, within};
use crate::api::patterns::{ANY_HOST, DOMAIN, DURATION, HOSTS_OF, PUBLIC_HOST, SERVICE, URL};
use crate::api::{LimitsSpec, SIBLING_TOKEN_NEEDS_SIBLINGS, UpstreamSpec};

/// Streams of hosts that one relay could have.
const MAX_HOSTS: std::ops::RangeInclusive<i32> = 1..=100_000;

pub(super) fn upstream(spec: &UpstreamSpec) -> Result<UpstreamSpec, Invalid> {
    // Without "..": a new field cannot be forgotten here.
    let UpstreamSpec {
        bootstrap_relays,
        discovery_interval,
        hosts,
        allow_insecure_hosts,
        trusted_domains,
        banned_domains,
        sibling_relays,
        sibling_token_secret_ref,
        limits,
    } = spec;
    for url in bootstrap_relays {
        check("spec.upstream.bootstrapRelays", url, URL)?;
    }
    check("spec.upstream.discoveryInterval", discovery_interval, DURATION)?;
    for host in hosts {
        check("spec.upstream.hosts", host, ANY_HOST)?;
        if !allow_insecure_hosts {
            check("spec.upstream.hosts", host, PUBLIC_HOST)?;
        }
    }
    for pattern in trusted_domains {
        check("spec.upstream.trustedDomains", pattern, HOSTS_OF)?;
    }
    for domain in banned_domains {
        check("spec.upstream.bannedDomains", domain, DOMAIN)?;
    }
    for url in sibling_relays {
        check("spec.upstream.siblingRelays", url, SERVICE)?;
    }
    if sibling_token_secret_ref.is_some() && sibling_relays.is_empty() {
        return Err(Invalid::Spec(format!("spec.{SIBLING_TOKEN_NEEDS_SIBLINGS}")));
    }
    check_limits(limits)?;
    Ok(spec.clone())
}

fn check_limits(limits: &LimitsSpec) -> Result<(), Invalid> {
    let LimitsSpec { accounts_per_host, events_per_second, new_hosts_per_day, max_hosts } = limits;
    let switched = [
        ("accountsPerHost", accounts_per_host),
        ("eventsPerSecond", events_per_second),
        ("newHostsPerDay", new_hosts_per_day),
    ];
    for (name, limit) in switched {
        if limit.is_some_and(|limit| limit < 0) {
            return Err(Invalid::Spec(format!(
                "spec.upstream.limits.{name} must not be negative; 0 switches the limit off"
            )));
        }
    }
    max_hosts.map_or(Ok(()), |hosts| within("spec.upstream.limits.maxHosts", hosts, &MAX_HOSTS))
}
