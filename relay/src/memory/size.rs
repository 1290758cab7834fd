//! What things take of the allocator, which is more than they ask it for.

/// Size of the two counters in front of what an `Arc` points to.
const ARC_BYTES: usize = 2 * size_of::<usize>();

/// The largest request that shares a page with others, in bytes.
const SMALL_BYTES_MAX: usize = 14 << 10;
const PAGE_BYTES: usize = 4 << 10;

/// Bytes that jemalloc gives for a request of this size: its size classes are 16 bytes apart up to 128 bytes, and above,
/// four to each doubling; large requests get whole pages.
pub const fn allocated_bytes(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        129..=SMALL_BYTES_MAX => bytes.next_multiple_of(1 << ((bytes - 1).ilog2() - 2)),
        _ => bytes.next_multiple_of(PAGE_BYTES),
    }
}

/// Bytes behind an `Arc` of a value of this size.
pub const fn arc_bytes(bytes: usize) -> usize {
    allocated_bytes(ARC_BYTES + bytes)
}

/// Bytes of the table of a `HashMap` or `HashSet` with entries of type `T` and this capacity: a power of two of places of
/// which an eighth stays empty, with a byte for each and 16 more at the end.
pub const fn table_bytes<T>(capacity: usize) -> usize {
    let places = match capacity {
        0 => return 0,
        1..=3 => 4,
        4..=7 => 8,
        _ => (capacity * 8 / 7).next_power_of_two(),
    };
    allocated_bytes((places * size_of::<T>()).next_multiple_of(16) + places + 16)
}

/// How much this thread has asked of the allocator and not given back since `begin`, for tests that compare a count with
/// it. Exact where whatever the thread gives back is its own.
#[cfg(test)]
pub(crate) mod measured {
    use tikv_jemalloc_ctl::thread::{allocatedp, deallocatedp};

    fn of_thread() -> u64 {
        let allocated = allocatedp::read().expect("jemalloc").get();
        allocated.wrapping_sub(deallocatedp::read().expect("jemalloc").get())
    }

    /// What `make` makes, and the bytes that it takes.
    pub(crate) fn of<T>(make: impl FnOnce() -> T) -> (T, usize) {
        let before = of_thread();
        let made = make();
        (made, of_thread().wrapping_sub(before) as usize)
    }

    /// Fails unless `counted` is within so many percent of what was measured.
    #[track_caller]
    pub(crate) fn assert_near(counted: usize, measured: usize, percent: usize) {
        let apart = counted.abs_diff(measured);
        assert!(apart * 100 <= measured * percent, "{counted} bytes are counted, {measured} are taken");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn requests_are_rounded_up_as_the_allocator_does() {
        for bytes in (1..5000).chain((5000..3_000_000).step_by(7919)) {
            let (request, taken) = measured::of(|| Vec::<u8>::with_capacity(bytes));
            assert_eq!(allocated_bytes(bytes), taken, "{} bytes", request.capacity());
        }
    }

    #[test]
    fn an_arc_is_counted_with_its_counters() {
        for text in ["", "a", "did:plc:7iza6de2dwap2sbkpav7c6c6", &"x".repeat(300)] {
            let (arc, taken) = measured::of(|| Arc::<str>::from(text));
            assert_eq!(arc_bytes(arc.len()), taken, "{text}");
        }
    }

    #[test]
    fn a_table_is_counted_by_its_capacity() {
        let mut capacities = Vec::new();
        let (map, _) = measured::of(HashMap::<u64, [u8; 40]>::new);
        let (_, taken) = measured::of(|| {
            let mut map = map;
            for number in 0..10_000 {
                map.insert(number, [0; 40]);
                if capacities.last() != Some(&map.capacity()) {
                    capacities.push(map.capacity());
                }
            }
        });
        assert!(taken < 1 << 10, "the map is gone, the capacities are left: {taken}");
        for capacity in capacities {
            let (map, taken) = measured::of(|| HashMap::<u64, [u8; 40]>::with_capacity(capacity));
            assert_eq!(map.capacity(), capacity);
            assert_eq!(table_bytes::<(u64, [u8; 40])>(capacity), taken, "{capacity}");
        }
    }
}
