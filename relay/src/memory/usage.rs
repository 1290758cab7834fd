//! Where the working set is, from the kernel's and the allocator's side.

use super::allocator::Allocator;

/// The working set, divided by what the kernel and the allocator know; in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// The working set, as the kubelet counts it; the resident set where no cgroup counts.
    pub working_set: u64,
    /// What the allocator holds of it.
    pub allocator: Allocator,
}
