#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::protocol::cbor::Writer;

type Store = HashMap<Cid, Vec<u8>>;

/// A key with this number on this layer.
fn key_on(wanted: u8, number: usize) -> String {
    let mut keys = (0..).map(|try_| format!("com.example.record/{number:06}{try_:06}"));
    keys.find(|key| layer(key.as_bytes()) == wanted).unwrap()
}

fn build(keys: impl IntoIterator<Item = impl AsRef<[u8]>>) -> (Store, Cid) {
    let mut store = Store::new();
    let mut tree = Tree::empty();
    for key in keys {
        tree.insert(&store, key.as_ref(), Cid::of(b"value")).unwrap();
    }
    let root = tree.write(|cid, block| {
        store.insert(cid, block.to_vec());
    });
    (store, root)
}

/// Encodes a node as it is told, right or wrong: `k`, `p`, `t`, `v` of each entry, and `l`.
fn node_block(entries: &[(&[u8], u64, Option<Cid>, Cid)], left: Option<Cid>) -> Vec<u8> {
    let mut block = Vec::new();
    let mut writer = Writer::new(&mut block);
    writer.map(2).text("e").array(entries.len());
    for (suffix, shared, right, value) in entries {
        writer.map(4).text("k").bytes(suffix).text("p").uint(*shared);
        writer.text("t").nullable_cid(right.as_ref()).text("v").cid(value);
    }
    writer.text("l").nullable_cid(left.as_ref());
    block
}

fn store(blocks: impl IntoIterator<Item = Vec<u8>>) -> Store {
    blocks.into_iter().map(|block| (Cid::of(&block), block)).collect()
}

#[test]
fn empty_tree_has_its_known_root() {
    let root = Tree::empty().write(|_, block| assert_eq!(block, node_block(&[], None)));
    assert_eq!(root.to_string(), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
    let mut tree = Tree::at(root);
    let store = store([node_block(&[], None)]);
    assert_eq!(tree.get(&store, b"a"), Err(MstError::NoSuchKey));
    tree.insert(&store, b"a", Cid::of(b"value")).unwrap();
    assert_eq!(tree.remove(&store, b"a"), Ok(Cid::of(b"value")));
    assert_eq!(tree.write(|_, _| ()), root, "a stored empty root can be filled and emptied");
}

/// Protocol 25.
#[test]
fn known_trees_have_their_known_roots() {
    let cases: [(&[&str], &str, &str); 7] = [
        (&["3fo"], "bafyreibj4lsc3aqnrvphp5xmrnfoorvru4wynt6lwidqbm2623a6tatzdu", "one key on layer 0"),
        (&["3fx"], "bafyreih7wfei65pxzhauoibu3ls7jgmkju4bspy4t2ha2qdjnzqvoy33ai", "one key on layer 2"),
        (
            &["3fp", "3fr", "3fs", "3ft", "4fc"],
            "bafyreicmahysq4n6wfuxo522m6dpiy7z7qzym3dzs756t5n7nfdgccwq7m",
            "two layers",
        ),
        (
            &["3fn", "3fo", "3fp", "3fs", "3ft", "3fu"],
            "bafyreifnqrwbk6ffmyaz5qtujqrzf5qmxf7cbxvgzktl4e3gabuxbtatv4",
            "one key on top",
        ),
        (
            &["3fn", "3fo", "3fp", "3ft", "3fu"],
            "bafyreie4kjuxbwkhzg2i5dljaswcroeih4dgiqq6pazcmunwt2byd725vi",
            "the key on top is gone",
        ),
        (
            &["3fo", "3fp", "3fr", "3fs", "3ft", "3fx", "3fz", "4fc", "4fd", "4ff", "4fg", "4fh"],
            "bafyreid2x5eqs4w4qxvc5jiwda4cien3gw2q6cshofxwnvv7iucrmfohpm",
            "a key that splits two layers",
        ),
        (
            &["3ft", "3fx", "3fz", "4fd"],
            "bafyreig4jv3vuajbsybhyvb7gggvpwh2zszwfyttjrj6qwvcsp24h6popu",
            "nodes of no keys",
        ),
    ];
    let value = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454".parse().unwrap();
    for (keys, root, what) in cases {
        let mut tree = Tree::empty();
        for key in keys {
            let key = format!("com.example.record/3jqfcqzm{key}2j");
            tree.insert(&Store::new(), key.as_bytes(), value).unwrap();
        }
        assert_eq!(tree.write(|_, _| ()).to_string(), root, "{what}");
    }
}

#[test]
fn keys_are_found_replaced_and_missed() {
    let keys: Vec<String> = (0..100).map(|number| format!("com.example.record/{number:03}")).collect();
    let (store, root) = build(&keys);
    let mut tree = Tree::at(root);
    assert_eq!(tree.get(&store, keys[50].as_bytes()), Ok(Cid::of(b"value")));
    assert_eq!(tree.get(&store, b"com.example.record/absent"), Err(MstError::NoSuchKey));
    assert_eq!(tree.remove(&store, b"com.example.record/absent"), Err(MstError::NoSuchKey));
    assert_eq!(tree.update(&store, b"com.example.record/absent", root), Err(MstError::NoSuchKey));
    assert_eq!(tree.insert(&store, keys[50].as_bytes(), root), Err(MstError::KeyExists));
    assert_eq!(tree.write(|_, _| panic!("failed changes change nothing")), root);
    assert_eq!(tree.update(&store, keys[50].as_bytes(), root), Ok(Cid::of(b"value")));
    assert_eq!(tree.get(&store, keys[50].as_bytes()), Ok(root));
}

#[test]
fn only_changed_nodes_are_written() {
    let (store, root) = build((0..1000).map(|number| format!("com.example.record/{number:04}")));
    let mut tree = Tree::at(root);
    tree.insert(&store, b"com.example.record/0500a", root).unwrap();
    let mut written = 0;
    tree.write(|_, _| written += 1);
    assert!((1..12).contains(&written), "{written} nodes of {}", store.len());
    tree.write(|_, _| panic!("nothing has changed since"));
}

#[test]
fn high_keys_raise_the_tree_and_low_ones_remain() {
    let (low, high) = (key_on(0, 1), key_on(4, 2));
    let (store, root) = build([&low, &high]);
    let mut tree = Tree::at(root);
    tree.remove(&store, high.as_bytes()).unwrap();
    assert_eq!(tree.write(|_, _| ()), build([&low]).1, "nodes without entries at the top go");
    tree.insert(&store, high.as_bytes(), Cid::of(b"value")).unwrap();
    assert_eq!(tree.write(|_, _| ()), root);
}

#[test]
fn top_is_trimmed_without_the_block_below() {
    let (low, high) = (key_on(0, 1), key_on(1, 2));
    let (mut store, root) = build([&low, &high]);
    let below = build([&low]).1;
    store.retain(|cid, _| *cid != below);
    let mut tree = Tree::at(root);
    tree.remove(&store, high.as_bytes()).unwrap();
    assert_eq!(tree.write(|_, _| ()), below);
    assert_eq!(tree.get(&store, low.as_bytes()), Err(MstError::MissingBlock(below)));
}

#[test]
fn recorder_names_the_blocks_of_a_proof() {
    let (store, root) = build((0..1000).map(|number| format!("com.example.record/{number:04}")));
    let recorder = Recorder::new(&store);
    Tree::at(root).remove(&recorder, b"com.example.record/0500").unwrap();
    let proof: Store = recorder.into_read().into_iter().map(|cid| (cid, store[&cid].clone())).collect();
    assert!(proof.contains_key(&root) && proof.len() < 20, "{} blocks of {}", proof.len(), store.len());
    assert!(Tree::at(root).remove(&proof, b"com.example.record/0500").is_ok(), "the proof is enough");
    for cid in proof.keys() {
        let mut without = proof.clone();
        without.remove(cid);
        let result = Tree::at(root).remove(&without, b"com.example.record/0500");
        assert_eq!(result, Err(MstError::MissingBlock(*cid)), "and all of it is needed");
    }
}

/// Protocol 25.
#[test]
fn malformed_nodes_are_refused() {
    let value = Cid::of(b"value");
    let (a, b) = (key_on(0, 1), key_on(0, 2));
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let shared = shared_prefix_bytes(a, b);
    let layer_1 = key_on(1, 3);
    let long = vec![b'a'; KEY_BYTES_MAX + 1];
    let many = vec![(a, 0, None, value); NODE_ENTRIES_MAX as usize + 1];
    let cases = [
        (node_block(&[(b, 0, None, value), (a, 0, None, value)], None), MstError::KeyOrder, "keys out of order"),
        (node_block(&[(a, 0, None, value), (a, 0, None, value)], None), MstError::KeyOrder, "key twice"),
        (node_block(&[(a, 0, None, value), (b"", a.len() as u64, None, value)], None), MstError::KeyOrder, "key twice"),
        (node_block(&[(a, 0, None, value), (b, 0, None, value)], None), MstError::KeyOrder, "not compressed"),
        (
            node_block(&[(a, 0, None, value), (&b[shared - 1..], shared as u64 - 1, None, value)], None),
            MstError::KeyOrder,
            "compressed by too little",
        ),
        (node_block(&[(a, 1, None, value)], None), MstError::KeyOrder, "prefix of nothing"),
        (node_block(&[(a, u64::MAX, None, value)], None), MstError::KeyOrder, "prefix of 2^64-1 bytes"),
        (node_block(&[(b"", 0, None, value)], None), MstError::KeyOrder, "empty key"),
        (node_block(&[(&long, 0, None, value)], None), MstError::KeyTooLong(831), "long key"),
        (node_block(&many, None), MstError::TooManyEntries(1025), "too many entries"),
        (node_block(&[], Some(value)), MstError::EmptyNode, "root without entries"),
        (node_block(&[(a, 0, Some(value), value)], None), MstError::Layer, "subtree below layer 0"),
        (node_block(&[(a, 0, None, value)], Some(value)), MstError::Layer, "left subtree below layer 0"),
        (
            node_block(&[(a, 0, None, value), (layer_1.as_bytes()[19..].as_ref(), 19, None, value)], None),
            MstError::KeyOrder,
            "not compressed by all that is shared",
        ),
        (b"\xa0".to_vec(), MstError::Fields, "no fields"),
        (b"\xa2ae\x80am\xf6".to_vec(), MstError::Fields, "field m in place of l"),
        (b"\xa2ae\x81\xa1ap\x00al\xf6".to_vec(), MstError::Fields, "entry without fields"),
        (b"\xa3ae\x80al\xf6am\xf6".to_vec(), MstError::Fields, "field too many"),
        (b"\xa2ae\x9b\x10\0\0\0\0\0\0\0al\xf6".to_vec(), MstError::TooManyEntries(1 << 60), "claim of 2^60 entries"),
    ];
    for (block, error, what) in cases {
        let root = Cid::of(&block);
        assert_eq!(Tree::at(root).get(&store([block]), a), Err(error), "{what}");
    }
}

/// Protocol 25.
#[test]
fn keys_on_the_wrong_layer_are_refused() {
    let value = Cid::of(b"value");
    let (low, high) = (key_on(0, 1), key_on(1, 2));
    let shared = shared_prefix_bytes(low.as_bytes(), high.as_bytes());
    let mixed =
        node_block(&[(low.as_bytes(), 0, None, value), (&high.as_bytes()[shared..], shared as u64, None, value)], None);
    assert_eq!(Tree::at(Cid::of(&mixed)).get(&store([mixed]), low.as_bytes()), Err(MstError::Layer), "two layers");
    let child = node_block(&[(low.as_bytes(), 0, None, value)], None);
    let top = key_on(2, 3);
    let parent = node_block(&[(top.as_bytes(), 0, None, value)], Some(Cid::of(&child)));
    let root = Cid::of(&parent);
    let result = Tree::at(root).get(&store([child, parent]), low.as_bytes());
    assert_eq!(result, Err(MstError::Layer), "a subtree that skips a layer");
}

/// Protocol 25.
#[test]
fn subtrees_must_lie_between_their_neighbours() {
    let value = Cid::of(b"value");
    let (before, low, high) = (key_on(0, 0), key_on(0, 1), key_on(1, 2));
    let child = node_block(&[(low.as_bytes(), 0, None, value)], None);
    let cid = Cid::of(&child);
    let twice = node_block(&[(high.as_bytes(), 0, Some(cid), value)], Some(cid));
    let blocks = store([child, twice.clone()]);
    let mut tree = Tree::at(Cid::of(&twice));
    assert_eq!(tree.get(&blocks, before.as_bytes()), Err(MstError::NoSuchKey), "on the left it is in order");
    let after = key_on(0, 3);
    assert_eq!(tree.get(&blocks, after.as_bytes()), Err(MstError::KeyOrder), "the same node again on the right");
    let mut tree = Tree::at(Cid::of(&twice));
    assert_eq!(tree.remove(&blocks, high.as_bytes()), Err(MstError::KeyOrder), "and joined with itself");
}

#[test]
fn key_cannot_hide_that_its_neighbours_are_out_of_order() {
    let value = Cid::of(b"value");
    let (low, middle, late) = (key_on(0, 1), key_on(2, 2), key_on(0, 3));
    let shared = shared_prefix_bytes(low.as_bytes(), late.as_bytes());
    let both = [(low.as_bytes(), 0, None, value), (&late.as_bytes()[shared..], shared as u64, None, value)];
    let both_sides = node_block(&both, None);
    let between = node_block(&[], Some(Cid::of(&both_sides)));
    let below = Cid::of(&between);
    for (left, right) in [(Some(below), None), (None, Some(below))] {
        let parent = node_block(&[(middle.as_bytes(), 0, right, value)], left);
        let root = Cid::of(&parent);
        let mut blocks = store([both_sides.clone(), between.clone(), parent]);
        let result = Tree::at(root).remove(&blocks, middle.as_bytes());
        assert_eq!(result, Err(MstError::KeyOrder), "a subtree with keys on both sides");
        blocks.remove(&Cid::of(&both_sides));
        assert_eq!(Tree::at(root).remove(&blocks, middle.as_bytes()), Ok(value), "what is not there is not needed");
    }
}

/// Protocol 25.
#[test]
fn empty_nodes_below_the_top_are_refused() {
    let (high, empty) = (key_on(1, 1), node_block(&[], None));
    let parent = node_block(&[(high.as_bytes(), 0, None, Cid::of(b"value"))], Some(Cid::of(&empty)));
    let root = Cid::of(&parent);
    let low = key_on(0, 0);
    assert_eq!(Tree::at(root).get(&store([empty, parent]), low.as_bytes()), Err(MstError::EmptyNode));
}

/// Keys with many on high layers, as a shuffled list.
fn keys() -> impl Strategy<Value = Vec<String>> {
    let key = (0..3u8, 0..60usize).prop_map(|(layer, number)| key_on(layer, number));
    prop::collection::btree_set(key, 1..40).prop_map(|keys| keys.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #[test]
    fn root_depends_on_the_keys_alone(keys in keys(), extra in keys()) {
        let root = build(&keys).1;
        let mut sorted = keys.clone();
        sorted.sort();
        prop_assert_eq!(build(&sorted).1, root, "order of insertion");
        let (store, _) = build(&keys);
        let mut tree = Tree::at(root);
        let extra: Vec<_> = extra.iter().filter(|key| !keys.contains(key)).collect();
        for key in &extra {
            tree.insert(&store, key.as_bytes(), root).unwrap();
        }
        for key in extra.iter().rev() {
            prop_assert_eq!(tree.remove(&store, key.as_bytes()), Ok(root));
        }
        prop_assert_eq!(tree.write(|_, _| ()), root, "insertion and removal");
    }

    #[test]
    fn written_nodes_are_new(keys in keys(), number in 0..60usize, layer in 0..3u8) {
        let (store, root) = build(&keys);
        let key = key_on(layer, number);
        let mut tree = Tree::at(root);
        if keys.contains(&key) {
            tree.remove(&store, key.as_bytes()).unwrap();
        } else {
            tree.insert(&store, key.as_bytes(), root).unwrap();
        }
        let mut written = Vec::new();
        tree.write(|cid, _| written.push(cid));
        prop_assert!(written.iter().all(|cid| !store.contains_key(cid)), "a node that was there is written again");
    }

    #[test]
    fn stored_tree_reads_back(keys in keys()) {
        let values: BTreeMap<&String, Cid> = keys.iter().map(|key| (key, Cid::of(key.as_bytes()))).collect();
        let mut store = Store::new();
        let mut tree = Tree::empty();
        for (key, value) in &values {
            tree.insert(&store, key.as_bytes(), *value).unwrap();
        }
        let root = tree.write(|cid, block| {
            store.insert(cid, block.to_vec());
        });
        let mut tree = Tree::at(root);
        for (key, value) in values {
            prop_assert_eq!(tree.remove(&store, key.as_bytes()), Ok(value));
        }
        prop_assert_eq!(tree.write(|_, _| ()), Tree::empty().write(|_, _| ()));
    }

    #[test]
    fn any_block_is_read_without_panic(block in prop::collection::vec(any::<u8>(), 0..200), flip in any::<prop::sample::Index>()) {
        let _ = Tree::at(Cid::of(&block)).get(&store([block]), b"a");
        let mut block = node_block(&[(b"com.example.record/1", 0, None, Cid::of(b"value"))], Some(Cid::of(b"left")));
        let place = flip.index(block.len());
        block[place] ^= 0x20;
        let _ = Tree::at(Cid::of(&block)).insert(&store([block]), b"com.example.record/2", Cid::of(b"value"));
    }
}
