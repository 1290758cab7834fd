//! Undoing operations: the relay, a model of it and indigo agree on random repositories, operations and lies.

use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn operations_are_undone_as_in_a_list_of_records(bytes in vec(any::<u8>(), 0..200)) {
        relay_fuzz::inversion(&bytes);
    }

    #[test]
    fn operations_are_undone_as_by_indigo(bytes in vec(any::<u8>(), 0..200)) {
        relay_fuzz::inversion_indigo(&bytes);
    }
}
