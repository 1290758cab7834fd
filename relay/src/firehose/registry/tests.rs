#![allow(clippy::unwrap_used)]

use super::*;

fn admit(registry: &Arc<Registry>, address: &str) -> Result<Registration, Full> {
    registry.admit(4, 2, address.parse().unwrap(), "test")
}

#[test]
fn places_are_limited_and_come_back() {
    let registry = Registry::new();
    let first = admit(&registry, "192.0.2.1").unwrap();
    let _second = admit(&registry, "192.0.2.1").unwrap();
    assert_eq!(admit(&registry, "192.0.2.1").unwrap_err(), Full::Address);
    drop(first);
    let _third = admit(&registry, "192.0.2.1").unwrap();
    let _fourth = admit(&registry, "192.0.2.2").unwrap();
    let fifth = admit(&registry, "192.0.2.3").unwrap();
    assert_eq!(admit(&registry, "192.0.2.4").unwrap_err(), Full::Relay);
    assert_eq!(registry.len(), 4);
    assert_eq!(registry.list().iter().map(|info| info.id).collect::<Vec<_>>(), [2, 3, 4, 5]);
    drop(fifth);
    assert_eq!(registry.len(), 3);
    assert_eq!(registry.lock().per_network.len(), 2, "networks without consumers are forgotten");
}

#[test]
fn user_agents_are_cut() {
    let registry = Registry::new();
    let long = format!("{}é", "x".repeat(USER_AGENT_BYTES_MAX - 1));
    let _place = registry.admit(1, 1, "192.0.2.1".parse().unwrap(), &long).unwrap();
    assert_eq!(registry.list()[0].user_agent.len(), USER_AGENT_BYTES_MAX - 1);
}
