//! The `relay` program.

use std::process::ExitCode;

/// One allocator for everything, RocksDB included: it gives memory back, and says what it holds.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    relay::cli::run()
}
