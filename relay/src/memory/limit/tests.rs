use super::*;
use crate::memory::cgroup::tests::container as group;

const MIB: u64 = 1 << 20;
const MACHINE: Option<u64> = Some(16 << 30);

/// A group that says what is charged to it, with these files besides.
fn container(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
    let stat = ("memory.stat", "anon 500\nfile 400\ninactive_file 300\n");
    group(&[&[stat], files].concat())
}

fn limit(mib: u64, source: LimitSource) -> Limit {
    Limit { bytes: mib * MIB, source }
}

#[test]
fn the_smallest_holds() {
    use LimitSource::*;
    let cases = [
        // memory-limit, memory.max, the machine; what holds. In MiB.
        (None, Some(1024), Some(16384), limit(1024, Cgroup2)),
        (Some(512), Some(1024), Some(16384), limit(512, Setting)),
        (Some(1024), Some(1024), Some(16384), limit(1024, Cgroup2)),
        (Some(2048), Some(1024), Some(16384), limit(1024, Cgroup2)),
        (Some(2048), None, Some(16384), limit(2048, Setting)),
        (Some(32768), None, Some(16384), limit(16384, Machine)),
        (None, Some(32768), Some(16384), limit(16384, Machine)),
        (None, None, Some(16384), limit(8192, Machine)),
        (None, None, None, limit(1024, Machine)),
        (Some(32768), None, None, limit(32768, Setting)),
    ];
    for (setting, max, machine, expected) in cases {
        let max = max.map_or("max".to_owned(), |mib: u64| (mib * MIB).to_string());
        let (_root, cgroup) = container(&[("memory.max", &max)]);
        let bytes = |mib: Option<u64>| mib.map(|mib| mib * MIB);
        let found = Limit::of(bytes(setting), Some(&cgroup), bytes(machine));
        assert_eq!(found, expected, "memory-limit {setting:?}, memory.max {max}, machine {machine:?}");
    }
    assert_eq!(Limit::of(None, None, MACHINE), limit(8192, Machine), "without a cgroup");
}

#[test]
fn a_limit_that_is_plain_needs_no_remark() {
    let (_root, cgroup) = container(&[("memory.max", "1073741824\n")]);
    for setting in [None, Some(512 * MIB), Some(1024 * MIB)] {
        assert_eq!(remarks(setting, Some(&cgroup), MACHINE), [""; 0], "{setting:?}");
    }
    assert_eq!(remarks(Some(512 * MIB), None, MACHINE), [""; 0], "a setting without a cgroup");
}

#[test]
fn a_setting_above_the_limit_is_remarked() {
    let (_root, cgroup) = container(&[("memory.max", "1073741824\n")]);
    assert_eq!(
        remarks(Some(2048 * MIB), Some(&cgroup), MACHINE),
        ["memory-limit of 2048 MiB does not hold: the relay plans for 1024 MiB (memory.max of the cgroup)"]
    );
    assert_eq!(
        remarks(Some(32 << 30), None, MACHINE),
        ["memory-limit of 32768 MiB does not hold: the relay plans for 16384 MiB (the machine)"]
    );
}

#[test]
fn a_cgroup_that_allows_more_than_the_machine_has_is_remarked() {
    let (_root, cgroup) = container(&[("memory.max", "34359738368\n")]);
    assert_eq!(
        remarks(None, Some(&cgroup), MACHINE),
        ["memory.max of the cgroup of 32768 MiB does not hold: the relay plans for 16384 MiB (the machine)"]
    );
}

#[test]
fn a_file_that_is_missing_or_says_something_else_is_named() {
    let (root, cgroup) = container(&[]);
    let path = root.path().join("memory.max").display().to_string();
    let said = remarks(Some(512 * MIB), Some(&cgroup), MACHINE);
    assert!(said[0].starts_with(&format!("cannot read {path}: ")), "{said:?}");
    assert!(said[0].ends_with(": the relay plans for 512 MiB (memory-limit)"), "{said:?}");
    std::fs::write(&path, "much\n").expect("a file");
    let said = remarks(None, Some(&cgroup), MACHINE);
    assert_eq!(
        said[0],
        format!(
            "{path} says \"much\", which is no number of bytes: the relay plans for 8192 MiB, half of the machine's 16384 \
             MiB; memory-limit sets another"
        )
    );
}

#[test]
fn without_memory_stat_the_resident_set_is_taken() {
    let (root, cgroup) = container(&[("memory.max", "1073741824\n"), ("memory.stat", "")]);
    let path = root.path().join("memory.stat").display().to_string();
    let expected =
        format!("{path} is missing or does not say what is charged: the resident set is taken for the working set");
    assert_eq!(remarks(None, Some(&cgroup), MACHINE), [expected]);
}

#[test]
fn without_any_limit_half_of_the_machine_is_planned_for_and_said() {
    let (_root, cgroup) = container(&[("memory.max", "max\n")]);
    assert_eq!(
        remarks(None, Some(&cgroup), MACHINE),
        [
            "the cgroup sets no memory limit: the relay plans for 8192 MiB, half of the machine's 16384 MiB; memory-limit \
          sets another"
        ]
    );
    assert_eq!(
        remarks(None, None, None),
        [
            "there is no cgroup with a memory controller: the relay plans for 1024 MiB, since /proc/meminfo does not say \
          what the machine has; memory-limit sets another"
        ]
    );
}
