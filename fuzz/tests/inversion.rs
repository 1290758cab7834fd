//! Undoing operations: the relay, a model of it and indigo agree on random repositories, operations and lies.

use proptest::collection::vec;
use proptest::prelude::*;

/// Cases without `PROPTEST_CASES` or with a small one; these take two seconds.
const CASES_MIN: u32 = 2000;

fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(CASES_MIN), ..config }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn operations_are_undone_as_in_a_list_of_records(bytes in vec(any::<u8>(), 0..200)) {
        relay_fuzz::inversion(&bytes);
    }

    #[test]
    fn operations_are_undone_as_by_indigo(bytes in vec(any::<u8>(), 0..200)) {
        relay_fuzz::inversion_indigo(&bytes);
    }
}
