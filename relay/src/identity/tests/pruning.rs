//! What the derived store keeps of identities.

use super::super::coverage::Position;
use super::*;
use crate::store::{Column, Sizes, Store};

#[tokio::test]
async fn identities_that_are_of_no_use_go_from_the_disk() {
    let day = Duration::from_secs(24 * 3600);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Sizes { block_cache: 1 << 20, memtables: 1 << 20 }).unwrap();
    let database = store.database();
    let column = database.cf_handle(Column::Identity.name()).unwrap();
    let put = |did: &Did, age: Duration| {
        let fetched_at_ms = now_ms() - millis(age);
        let row = row::encode(&Identity { key: None, pds: None, handle: None, fetched_at_ms });
        database.put_cf(column, did.as_str(), row).unwrap();
    };
    let [new, old, renewed] = [plc(0), plc(1), plc(2)];
    put(&new, 20 * day);
    put(&old, 40 * day);
    put(&renewed, 40 * day);
    store.flush().unwrap();
    put(&renewed, day);
    let position = Position { after_ms: 1, since_ms: 1, until_ms: 1 };
    database.put_cf(column, "export", position.encode("https://plc.example.com")).unwrap();
    store.flush().unwrap();
    database.compact_range_cf(column, None::<&[u8]>, None::<&[u8]>);

    let is_kept = |key: &str| database.get_cf(column, key).unwrap().is_some();
    assert!(is_kept(new.as_str()) && is_kept(renewed.as_str()));
    assert!(!is_kept(old.as_str()));
    assert!(is_kept("export"), "the position in the export is none");
}
