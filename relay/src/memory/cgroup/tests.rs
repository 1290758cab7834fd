//! The files were recorded: those of version 1 on Linux 6.18, those of version 2 on Linux 6.1, each of a group `container`
//! inside one with a limit of 64 MiB, and after its kernel had killed a process. That kernel had no pressure stall
//! information; `memory.pressure` is written as others write it.

use super::*;

const MIB: u64 = 1 << 20;

/// A file system of cgroups with these files.
pub(in crate::memory) fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }
    root
}

/// A group of version 2 in a container that has these files, and those that make it one.
pub(in crate::memory) fn container(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
    let root = group(&[("memory.current", "1000\n")]);
    for (name, text) in files {
        std::fs::write(root.path().join(name), text).expect("a file");
    }
    let cgroup = Cgroup::find("0::/\n", root.path()).expect("a group");
    (root, cgroup)
}

/// Paths below the root, and what they say.
type Files = [(&'static str, &'static str); 6];

const V1: Files = [
    ("memory/pod/memory.limit_in_bytes", include_str!("fixtures/v1/memory.limit_in_bytes")),
    ("memory/pod/container/memory.limit_in_bytes", include_str!("fixtures/v1/container/memory.limit_in_bytes")),
    ("memory/pod/container/memory.usage_in_bytes", include_str!("fixtures/v1/container/memory.usage_in_bytes")),
    ("memory/pod/container/memory.stat", include_str!("fixtures/v1/container/memory.stat")),
    ("memory/pod/container/memory.oom_control", include_str!("fixtures/v1/container/memory.oom_control")),
    (
        "memory/pod/container/memory.kmem.usage_in_bytes",
        include_str!("fixtures/v1/container/memory.kmem.usage_in_bytes"),
    ),
];

const V2: Files = [
    ("pod/memory.max", include_str!("fixtures/v2/memory.max")),
    ("pod/container/memory.max", include_str!("fixtures/v2/container/memory.max")),
    ("pod/container/memory.current", include_str!("fixtures/v2/container/memory.current")),
    ("pod/container/memory.stat", include_str!("fixtures/v2/container/memory.stat")),
    ("pod/container/memory.events", include_str!("fixtures/v2/container/memory.events")),
    ("pod/container/memory.pressure", include_str!("fixtures/v2/container/memory.pressure")),
];

/// The same files as a container sees them: its group is the root, and nothing is around it.
fn inside(files: &Files) -> Vec<(String, &'static str)> {
    let inside = |path: &str| path.contains("container").then(|| path.replace("pod/container/", ""));
    files.iter().filter_map(|(path, text)| Some((inside(path)?, *text))).collect()
}

/// The recorded groups, and the folders that they are in.
pub(in crate::memory) fn recorded() -> [(tempfile::TempDir, Cgroup); 2] {
    let cases: [(&[(&str, &str)], &str); 2] = [(&V2, "0::/pod/container\n"), (&V1, "4:memory:/pod/container\n")];
    cases.map(|(files, own)| {
        let root = group(files);
        let cgroup = Cgroup::find(own, root.path()).expect("a group");
        (root, cgroup)
    })
}

#[test]
fn version_2_is_read() {
    let root = group(&V2);
    let cgroup = Cgroup::find("0::/pod/container\n", root.path()).expect("a group");
    assert_eq!(cgroup.source(), LimitSource::Cgroup2);
    let stat = Stat {
        usage: 30_539_776,
        anon: 29_351_936,
        file: 1_122_304,
        inactive_file: 73_728,
        active_file: 0,
        file_mapped: 1_085_440,
        shmem: 1_048_576,
        kernel: 65_536,
        sock: 0,
        kernel_parts: Some(KernelParts { stacks: 0, page_tables: 57_344, slab: 4_632 }),
    };
    assert_eq!(cgroup.stat(), Some(stat));
    assert_eq!(stat.anon + stat.file + stat.kernel + stat.sock, stat.usage, "the kinds are the whole");
    assert_eq!(cgroup.working_set(), Some(30_539_776 - 73_728));
    assert_eq!(cgroup.oom_kills(), Some(1));
    assert_eq!(cgroup.pressure(), Some(Pressure { some_avg10: 3.27, full_avg10: 0.91 }));
}

#[test]
fn version_1_is_read() {
    let root = group(&V1);
    let cgroup = Cgroup::find("5:cpu,cpuacct:/pod\n4:memory:/pod/container\n0::/\n", root.path()).expect("a group");
    assert_eq!(cgroup.source(), LimitSource::Cgroup1);
    let stat = Stat {
        usage: 43_511_808,
        anon: 29_356_032,
        file: 13_635_584,
        inactive_file: 12_587_008,
        active_file: 0,
        file_mapped: 1_048_576,
        shmem: 1_048_576,
        kernel: 409_600,
        sock: 0,
        kernel_parts: None,
    };
    assert_eq!(cgroup.stat(), Some(stat));
    let in_advance = stat.usage - stat.anon - stat.file - stat.kernel;
    assert!(in_advance < MIB, "the kinds are the whole, but for {in_advance} bytes charged in advance");
    assert_eq!(cgroup.working_set(), Some(43_511_808 - 12_587_008));
    assert_eq!(cgroup.oom_kills(), Some(1));
    assert_eq!(cgroup.pressure(), None, "version 1 does not say");
}

#[test]
fn the_limit_of_a_group_around_it_counts() {
    for (_root, cgroup) in recorded() {
        assert_eq!(cgroup.own_limit().expect("a file"), None, "{cgroup:?}");
        assert_eq!(cgroup.limit(), Some(64 * MIB), "{cgroup:?}");
    }
}

#[test]
fn in_a_container_version_1_alone_tells_of_groups_around_it() {
    let cases: [(&Files, &str, Option<u64>); 2] =
        [(&V2, "0::/\n", None), (&V1, "4:memory:/kubepods/burstable/pod1/c1\n", Some(64 * MIB))];
    for (files, own, limit) in cases {
        let files = inside(files);
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let root = group(&files);
        let cgroup = Cgroup::find(own, root.path()).expect("a group");
        assert_eq!(cgroup.limit(), limit, "{own}");
        assert!(cgroup.stat().is_some(), "{own}");
    }
}

#[test]
fn the_smaller_limit_holds_whichever_group_has_it() {
    for (own, around, expected) in [
        ("max", "max", None),
        ("4096", "max", Some(4096)),
        ("max", "8192", Some(8192)),
        ("4096", "8192", Some(4096)),
        ("8192", "4096", Some(4096)),
        ("nonsense", "4096", Some(4096)),
    ] {
        let files = [("pod/c/memory.current", "1000"), ("pod/c/memory.max", own), ("pod/memory.max", around)];
        let root = group(&files);
        let cgroup = Cgroup::find("0::/pod/c\n", root.path()).expect("a group");
        assert_eq!(cgroup.limit(), expected, "{own} in {around}");
    }
}

#[test]
fn files_that_do_not_say_what_they_should() {
    let max = |text| container(&[("memory.max", text)]);
    for (text, expected) in [
        ("", "says \"\", which is no number of bytes"),
        ("\n", "says \"\", which is no number of bytes"),
        ("-1\n", "says \"-1\", which is no number of bytes"),
        ("99999999999999999999\n", "says \"99999999999999999999\", which is no number of bytes"),
        ("max 4096\n", "says \"max 4096\", which is no number of bytes"),
    ] {
        let (_root, cgroup) = max(text);
        let error = cgroup.own_limit().expect_err(text).to_string();
        assert!(error.contains("memory.max") && error.ends_with(expected), "{text:?}: {error}");
        assert_eq!(cgroup.limit(), None, "{text:?}");
    }
    let (_root, cgroup) = container(&[]);
    let error = cgroup.own_limit().expect_err("no file").to_string();
    assert!(error.starts_with("cannot read ") && error.contains("memory.max: "), "{error}");
    let (_root, cgroup) = max("0\n");
    assert_eq!(cgroup.limit(), Some(0), "a limit all the same");
}

#[test]
fn without_memory_stat_there_is_no_working_set() {
    for text in [None, Some(""), Some("anon 500\n"), Some("anon x\nfile y\ninactive_file z\n")] {
        let (_root, cgroup) = match text {
            Some(text) => container(&[("memory.stat", text)]),
            None => container(&[]),
        };
        assert_eq!((cgroup.stat(), cgroup.working_set()), (None, None), "{text:?}");
    }
}

#[test]
fn an_older_kernel_has_no_line_for_the_whole_of_its_memory() {
    let text = "anon 500\nfile 400\ninactive_file 300\nkernel_stack 10\npagetables 20\nslab 30\npercpu 5\nsock 7\n";
    let (_root, cgroup) = container(&[("memory.stat", text)]);
    let stat = cgroup.stat().expect("a stat");
    assert_eq!((stat.kernel, stat.sock), (65, 7));
}

#[test]
fn what_is_missing_is_nothing() {
    let (_root, cgroup) = container(&[]);
    assert_eq!((cgroup.pressure(), cgroup.oom_kills()), (None, None));
    let (_root, cgroup) = container(&[("memory.events", "low 0\n"), ("memory.pressure", "")]);
    assert_eq!((cgroup.pressure(), cgroup.oom_kills()), (None, None));
}

#[test]
fn the_group_is_the_innermost_with_a_memory_controller() {
    let root = group(&[("user/memory.current", "1000"), ("user/memory.max", "4096"), ("user/app/cgroup.procs", "1")]);
    let cgroup = Cgroup::find("0::/user/app\n", root.path()).expect("a group");
    assert_eq!(cgroup.limit(), Some(4096));
}

#[test]
fn a_path_that_leads_out_is_not_followed() {
    let root = group(&[
        ("in/memory.current", "1000"),
        ("in/memory.max", "max"),
        ("out/memory.current", "1"),
        ("out/memory.max", "1"),
    ]);
    let cgroup = Cgroup::find("0::/../out\n", &root.path().join("in")).expect("a group");
    assert_eq!(cgroup.limit(), None);
}

#[test]
fn without_a_memory_controller_there_is_no_group() {
    let root = group(&[]);
    assert!(Cgroup::find("0::/\n3:cpu:/\n", root.path()).is_none());
    assert!(Cgroup::find("", root.path()).is_none());
}
