//! A full disk holds a job up, and no more.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sim::directory::{Fault, Route};
use sim::process::Setup;
use sim::{Network, Relay};

use crate::jobs::{assert_same, directory, progress, put, until, until_state};
use crate::world::{import, named, sources, union};

/// Size of the disk.
const DISK: &str = "size=96m";
/// Programs that run a command on a disk of its own, which needs no privilege where users may have namespaces.
const NAMESPACE: [&str; 4] = ["unshare", "--user", "--map-root-user", "--mount"];

/// Writes into a file until there is no room left for it.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for bytes in [1 << 20, 4 << 10, 1] {
        while file.write_all(&vec![0; bytes]).is_ok() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_waits_for_room_on_the_disk_and_then_goes_on() {
    if !Command::new(NAMESPACE[0]).args(&NAMESPACE[1..]).arg("true").status().is_ok_and(|status| status.success()) {
        eprintln!("left out: no user namespaces here");
        return;
    }
    let network = Network::start(92).await;
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    std::fs::create_dir(&data_dir).unwrap();
    let mut setup = Setup::new(env!("CARGO_BIN_EXE_relay"), &data_dir, &network.plc, &[]);
    let script = format!("mount -t tmpfs -o {DISK} tmpfs $0 && exec $@");
    let wrapper = NAMESPACE.iter().chain(&["sh", "-c", &script]).map(OsString::from).collect::<Vec<_>>();
    setup.command = wrapper.into_iter().chain([OsString::from(&data_dir)]).chain(setup.command).collect();
    let relay = Relay::start(setup).await;

    let sources = sources(20, 1000).await;
    sources.iter().for_each(|source| source.set_fault(Route::Repos, Some(Fault::Delay(Duration::from_millis(50)))));
    put(&relay, "all", &import(&sources)).await;
    until(&relay, "all", "under way", |job| progress(job, "seen") > named(&sources) / 8).await;
    let seen_from_here = format!("/proc/{}/root{}", relay.pid().as_raw_nonzero(), data_dir.display());
    let ballast = Path::new(&seen_from_here).join("ballast");
    fill(&ballast);
    let waiting = until_state(&relay, "all", "waiting").await;
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains("disk is full") || reason.contains("No space"), "{waiting:#}");
    std::fs::remove_file(&ballast).unwrap();
    let job = until_state(&relay, "all", "done").await;

    assert_same(&directory(&relay).await, &union(&sources), "the import that had no room");
    assert_eq!(progress(&job, "seen"), named(&sources), "{job:#}");
    assert_eq!(progress(&job, "added"), union(&sources).len() as u64, "{job:#}");
}
