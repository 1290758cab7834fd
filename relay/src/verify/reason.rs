//! Why an event does not pass.

use crate::protocol::proof::Invalid;

/// A reason, with a stable name for metrics and the status document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not an event: framing, CBOR or fields are wrong (protocol 2, 11).
    Malformed,
    /// Longer than a message may be (protocol 6).
    Oversize,
    /// Its seq is not above the last one of its stream (protocol 11).
    OutOfOrder,
    /// It was taken before a reconnect or restart.
    Repeated,
    /// The DID is malformed or of a method that is not used (protocol 16).
    Did,
    /// The account has no working identity (protocol 17).
    IdentityAbsent,
    /// The identity could not be resolved for as long as an event may wait.
    IdentityUnavailable,
    /// The account's identity names another host (protocol 18).
    WrongHost,
    /// The host has caused as many look-ups for accounts of other hosts as it may.
    ForeignLookups,
    /// The account is not active (protocol 19).
    AccountInactive,
    /// The account is taken down here (protocol 19).
    TakenDown,
    /// The host has as many accounts as it may have.
    HostAccountLimit,
    /// The rev is not above the last one (protocol 20).
    StaleRev,
    /// The rev lies more than five minutes ahead (protocol 20).
    FutureRev,
    /// A `#sync` that states what is known (protocol 28).
    Unchanged,
    /// The signature does not verify under the account's key (protocol 22).
    Signature,
    /// The event does not hold together (protocol 21 to 26).
    Invalid(Invalid),
    /// The relay's own store failed.
    Internal,
}

impl Reason {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Oversize => "oversize",
            Reason::OutOfOrder => "out_of_order",
            Reason::Repeated => "repeated",
            Reason::Did => "did",
            Reason::IdentityAbsent => "identity_absent",
            Reason::IdentityUnavailable => "identity_unavailable",
            Reason::WrongHost => "wrong_host",
            Reason::ForeignLookups => "foreign_lookups",
            Reason::AccountInactive => "account_inactive",
            Reason::TakenDown => "taken_down",
            Reason::HostAccountLimit => "host_account_limit",
            Reason::StaleRev => "stale_rev",
            Reason::FutureRev => "future_rev",
            Reason::Unchanged => "unchanged",
            Reason::Signature => "signature",
            Reason::Invalid(invalid) => invalid.reason(),
            Reason::Internal => "internal",
        }
    }

    /// Whether it is about the event's own validity, which a policy may let pass; who may speak for an account, and
    /// in which order, is no policy.
    pub fn is_about_validity(self) -> bool {
        matches!(self, Reason::Signature | Reason::Invalid(_))
    }
}
