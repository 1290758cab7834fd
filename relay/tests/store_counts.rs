//! What the store says that it holds against what the allocator says. Alone in its process, since that counts for all of
//! it.

#![allow(clippy::unwrap_used)]

use relay::store::{Column, Sizes, Store};
use rocksdb::{IteratorMode, WriteBatch};
use tikv_jemalloc_ctl::{epoch, stats};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What RocksDB holds beside what it counts: its threads, open files and WAL, buffers of flushes and compactions.
const UNCOUNTED_BYTES_MAX: usize = 24 << 20;

fn allocated() -> usize {
    epoch::advance().unwrap();
    stats::allocated::read().unwrap()
}

/// Writes rows of columns of both kinds in an order that makes compactions work, and reads them.
#[test]
fn the_store_holds_what_it_counts_and_a_bounded_rest() {
    let folder = tempfile::tempdir().unwrap();
    let before = allocated();
    let store = Store::open(folder.path(), Sizes { block_cache: 32 << 20, memtables: 24 << 20 }).unwrap();
    let (mut least, mut most) = (isize::MAX, isize::MIN);
    for round in 0..600u64 {
        let mut rows = WriteBatch::default();
        for number in 0..1000u64 {
            let key = (round * 1000 + number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let did = [key.to_be_bytes(), key.rotate_left(17).to_be_bytes()].concat();
            let value: [u8; 112] = std::array::from_fn(|at| (key.rotate_left(at as u32) ^ number) as u8);
            store.put(&mut rows, Column::Account, &did, &value);
            store.put(&mut rows, Column::Repo, &[did.as_slice(), &[0, 0, 0, 7]].concat(), &[]);
            store.put(&mut rows, Column::Collection, &[&[0, 0, 0, 7], did.as_slice()].concat(), &[]);
        }
        store.write(&rows).unwrap();
        drop(rows);
        if round % 10 == 0 {
            assert_eq!(
                store.iterate(Column::Account, IteratorMode::Start).take(20_000).filter(Result::is_err).count(),
                0
            );
            let uncounted = allocated() as isize - before as isize - store.memory_bytes() as isize;
            (least, most) = (least.min(uncounted), most.max(uncounted));
        }
    }
    println!(
        "cache {}, memtables {}, readers {}; beside them {least} to {most}",
        store.block_cache_bytes(),
        store.memtable_bytes(),
        store.table_reader_bytes(),
    );
    assert!(store.block_cache_bytes() > 8 << 20, "the test has used the cache");
    assert!(least > -(2 << 20), "{least}: more is counted than there is");
    assert!(most < UNCOUNTED_BYTES_MAX as isize, "{most} bytes are not counted");
}
