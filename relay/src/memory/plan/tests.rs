use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::memory::LimitSource;

const MIB: u64 = 1 << 20;

fn limit(bytes: u64) -> Limit {
    Limit { bytes, source: LimitSource::Setting }
}

fn plan(mib: u64) -> Plan {
    Plan::new(limit(mib * MIB), Marks::default(), &Needs::default()).expect("a limit that fits")
}

fn misfit(result: Result<Plan, PlanError>) -> Box<Misfit> {
    match result.expect_err("too much") {
        PlanError::DoesNotFit(misfit) => misfit,
        error => panic!("{error}"),
    }
}

fn with(needs: &Needs, setting: Setting) -> Needs {
    match setting {
        Setting::MaxHosts(count) => Needs { hosts: Some(count), ..*needs },
        Setting::MaxConsumers(count) => Needs { consumers: Some(count), ..*needs },
        Setting::IdentityCache(bytes) => Needs { identities: Some(bytes), ..*needs },
        Setting::BlockCache(bytes) => Needs { block_cache: Some(bytes), ..*needs },
    }
}

fn all_fit_below_the_soft_mark(plan: &Plan) {
    assert!(plan.sum() <= plan.soft_bytes(), "{plan}");
    assert!(plan.sum() <= plan.limit.bytes, "{plan}");
}

#[test]
fn the_smallest_limit_holds_a_relay() {
    let plan = plan(128);
    all_fit_below_the_soft_mark(&plan);
    assert!(plan.hosts_max >= 100 && plan.consumers_max >= 16, "{plan}");
}

#[test]
fn the_whole_network_fits_into_what_the_documentation_says() {
    for (mib, hosts, consumers) in [(512, 2800, 300), (1024, 4000, 1000)] {
        let plan = plan(mib);
        assert!(plan.hosts_max >= hosts && plan.consumers_max >= consumers, "{plan}");
    }
}

#[test]
fn above_the_caps_memory_stays_free() {
    let (large, larger) = (plan(4096), plan(1 << 20));
    assert_eq!(Owner::ALL.map(|owner| large.share(owner)), Owner::ALL.map(|owner| larger.share(owner)));
    assert_eq!((larger.hosts_max, larger.consumers_max), (4000, 1000));
}

#[test]
fn no_sum_overflows() {
    let needs = Needs { hosts: Some(u64::MAX), consumers: Some(u64::MAX), ..Needs::default() };
    for bytes in [LIMIT_BYTES_MIN, u64::MAX] {
        let said = misfit(Plan::new(limit(bytes), Marks::default(), &needs)).to_string();
        assert!(said.contains("max-hosts"), "{said}");
        all_fit_below_the_soft_mark(&Plan::best(limit(bytes), Marks::default(), &needs).0);
    }
}

#[test]
fn too_small_a_limit_says_what_to_do() {
    let error = Plan::new(limit(64 * MIB), Marks::default(), &Needs::default()).expect_err("64 MiB");
    assert_eq!(error.to_string(), "a memory limit of 64 MiB is too small; give the relay at least 128 MiB");
}

#[test]
fn what_does_not_fit_is_refused_with_the_sum_and_what_to_change() {
    let needs = Needs { hosts: Some(10_000), block_cache: Some(64 * MIB), ..Needs::default() };
    let error = Plan::new(limit(512 * MIB), Marks::default(), &needs).expect_err("too much");
    let expected = "\
of a memory limit of 512 MiB (memory-limit), 409 MiB lie below the soft mark of 80 %, and what is configured takes 694 MiB \
at least:
  program           16 MiB
  stacks             4 MiB
  hosts            475 MiB  max-hosts = 10000
  consumers          6 MiB
  ingest             6 MiB
  parked             5 MiB
  ring               4 MiB
  replay             2 MiB
  log                8 MiB
  accounts           1 MiB
  identities         4 MiB
  block-cache       64 MiB  block-cache = \"64Mi\"
  memtables          4 MiB
  table-readers      2 MiB
  directory          1 MiB
  backfill           4 MiB
  slack             88 MiB
  sum              694 MiB
set max-hosts = 4499, or give the relay a memory limit of 867 MiB";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn marks_that_leave_too_little_are_refused() {
    let marks = Marks::new(50, 90).expect("marks");
    let said = misfit(Plan::new(limit(128 * MIB), marks, &Needs::default())).to_string();
    assert!(said.contains("raise memory-soft-percent, or give the relay a memory limit of "), "{said}");
}

#[test]
fn where_no_setting_alone_is_enough_all_are_named() {
    let needs = Needs { hosts: Some(100_000), consumers: Some(100_000), ..Needs::default() };
    let misfit = misfit(Plan::new(limit(512 * MIB), Marks::default(), &needs));
    assert_eq!(misfit.lower, []);
    let said = misfit.to_string();
    assert!(
        said.contains("lower max-hosts and max-consumers, or leave them out for as much as fits, or give"),
        "{said}"
    );
}

#[test]
fn a_running_relay_keeps_what_still_fits() {
    let needs = Needs { hosts: Some(6000), consumers: Some(50), ..Needs::default() };
    let marks = Marks::default();
    let (before, refused) = Plan::best(limit(2048 * MIB), marks, &needs);
    assert!(refused.is_none());
    assert_eq!((before.hosts_max, before.consumers_max), (6000, 50));
    let (after, refused) = Plan::best(limit(256 * MIB), marks, &needs);
    assert!(refused.is_some_and(|error| error.to_string().contains("max-hosts = 6000")));
    all_fit_below_the_soft_mark(&after);
    assert!((500..6000).contains(&after.hosts_max), "{after}");
    assert_eq!(after.consumers_max, 50, "what is asked for is not exceeded, and fits");
}

#[test]
fn a_running_relay_has_a_plan_at_any_limit() {
    let (plan, refused) = Plan::best(limit(16 * MIB), Marks::default(), &Needs::default());
    assert!(matches!(refused, Some(PlanError::TooSmall(_))));
    let smallest = self::plan(128);
    for owner in Owner::ALL {
        assert!(plan.share(owner) <= smallest.share(owner), "{}", owner.name());
    }
    assert!(plan.share(Owner::Ingest) > 5_000_000, "the largest event still gets through");
}

#[test]
fn the_table_is_for_people() {
    let table = plan(2048).to_string();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(
        lines[0],
        "memory limit 2048 MiB (memory-limit), of which 1638 MiB below the soft mark of 80 % are divided: 4000 hosts, 1000 \
         consumers"
    );
    assert_eq!(lines[1], "program           16.0 MiB  the program, its runtime, the database of decisions");
    assert_eq!(lines.len(), 1 + Owner::ALL.len() + 1);
    assert!(lines.last().is_some_and(|line| line.starts_with("sum             1638.")), "{table}");
}

/// The shares at some limits, as the documentation has them.
fn documented() -> String {
    let plans = [128, 256, 512, 1024, 2048, 4096].map(plan);
    let row = |name: &str, cell: &dyn Fn(&Plan) -> String| {
        let cells = plans.each_ref().map(cell).join(" | ");
        format!("| {name} | {cells} |\n")
    };
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB as f64);
    let mut table = row("limit", &|plan| (plan.limit.bytes / MIB).to_string());
    table += &row("---", &|_| "---:".to_owned());
    for owner in Owner::ALL {
        table += &row(&format!("`{}`", owner.name()), &|plan| mib(plan.share(owner)));
    }
    table += &row("sum", &|plan| mib(plan.sum()));
    table += &row("soft mark", &|plan| mib(plan.soft_bytes()));
    table += &row("hosts", &|plan| plan.hosts_max.to_string());
    table += &row("consumers", &|plan| plan.consumers_max.to_string());
    table
}

#[test]
fn the_documentation_has_the_plans() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/memory.md");
    let text = std::fs::read_to_string(path).expect("the page");
    let (start, rest) = text.split_once("<!-- plans").expect("where the table begins");
    let (begin, rest) = rest.split_once('\n').expect("a line");
    let (_, end) = rest.split_once("<!-- /plans -->").expect("where it ends");
    let expected = format!("{start}<!-- plans{begin}\n{}<!-- /plans -->{end}", documented());
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, expected).expect("writable");
        return;
    }
    let command = "UPDATE_GENERATED=1 dev/cargo.sh test --release --workspace --lib memory::plan";
    assert!(text == expected, "docs/reference/memory.md is stale; run: {command}");
}

fn limits() -> impl Strategy<Value = u64> {
    // Evenly over the orders of magnitude, up to 256 GiB.
    (27.0..38.0f64).prop_map(|exponent| exponent.exp2() as u64)
}

fn marks() -> impl Strategy<Value = Marks> {
    (50..=92u8, 5..=47u8).prop_filter_map("order", |(soft, distance)| Marks::new(soft, soft + distance).ok())
}

fn needs() -> impl Strategy<Value = Needs> {
    let bytes = || option::of((0.0..36.0f64).prop_map(|exponent| exponent.exp2() as u64));
    (option::of(0..20_000u64), option::of(0..10_000u64), bytes(), bytes())
        .prop_map(|(hosts, consumers, identities, block_cache)| Needs { hosts, consumers, identities, block_cache })
}

proptest! {
    #[test]
    fn the_shares_fit_below_the_soft_mark(bytes in limits(), marks in marks(), needs in needs()) {
        if let Ok(plan) = Plan::new(limit(bytes), marks, &needs) {
            all_fit_below_the_soft_mark(&plan);
            prop_assert_eq!(needs.hosts.unwrap_or(plan.hosts_max), plan.hosts_max);
            prop_assert_eq!(needs.consumers.unwrap_or(plan.consumers_max), plan.consumers_max);
        }
    }

    #[test]
    fn all_that_lies_below_the_soft_mark_is_given_out(bytes in limits(), marks in marks()) {
        let (plan, _) = Plan::best(limit(bytes), marks, &Needs::default());
        let is_full = plan.share(Owner::BlockCache) == 1024 * MIB;
        let is_tight = plan.sum() > plan.soft_bytes();
        prop_assert!(is_full || is_tight || plan.soft_bytes() - plan.sum() < 4096, "{}", plan);
    }

    #[test]
    fn a_larger_limit_makes_no_share_smaller(
        (smaller, larger) in (limits(), limits()).prop_map(|(one, other)| (one.min(other), one.max(other))),
        marks in marks(),
        needs in needs(),
    ) {
        if let (Ok(smaller), Ok(larger)) =
            (Plan::new(limit(smaller), marks, &needs), Plan::new(limit(larger), marks, &needs))
        {
            for owner in Owner::ALL {
                prop_assert!(smaller.share(owner) <= larger.share(owner), "{}: {smaller} {larger}", owner.name());
            }
            prop_assert!(smaller.hosts_max <= larger.hosts_max && smaller.consumers_max <= larger.consumers_max);
        }
    }

    #[test]
    fn what_is_refused_fits_at_the_limit_and_with_the_settings_that_are_named(
        bytes in limits(), marks in marks(), needs in needs(),
    ) {
        if let Err(PlanError::DoesNotFit(misfit)) = Plan::new(limit(bytes), marks, &needs) {
            prop_assert!(misfit.enough > bytes);
            let plan = Plan::new(limit(misfit.enough), marks, &needs);
            prop_assert!(plan.is_ok(), "{}", plan.expect_err("checked"));
            if misfit.enough - MIB >= LIMIT_BYTES_MIN {
                prop_assert!(Plan::new(limit(misfit.enough - MIB), marks, &needs).is_err(), "{}", misfit);
            }
            for setting in &misfit.lower {
                let plan = Plan::new(limit(bytes), marks, &with(&needs, *setting));
                prop_assert!(plan.is_ok(), "{setting}: {}", plan.expect_err("checked"));
            }
        }
    }

    #[test]
    fn under_pressure_caches_shrink_and_nothing_else(bytes in limits(), marks in marks(), needs in needs()) {
        let (plan, _) = Plan::best(limit(bytes), marks, &needs);
        let relieved = plan.relieved();
        let smallest = Plan::best(limit(0), marks, &Needs::default()).0;
        for owner in Owner::ALL {
            let (share, left) = (plan.share(owner), relieved.share(owner));
            prop_assert!(left <= share, "{}", owner.name());
            if is_cache(owner) {
                prop_assert!(left == share || left >= smallest.share(owner), "{} has its minimum", owner.name());
                prop_assert!(left <= (share / 4).max(smallest.share(owner)), "{} shrinks", owner.name());
            } else if owner != Owner::Slack {
                prop_assert_eq!(left, share, "{} is no cache", owner.name());
            }
        }
        prop_assert_eq!((relieved.hosts_max, relieved.consumers_max), (plan.hosts_max, plan.consumers_max));
    }

    #[test]
    fn a_running_relay_always_has_a_plan_that_fits_if_any_does(
        bytes in limits(), marks in marks(), needs in needs(),
    ) {
        let (plan, refused) = Plan::best(limit(bytes), marks, &needs);
        prop_assert!(needs.hosts.is_none_or(|hosts| plan.hosts_max <= hosts));
        prop_assert!(needs.consumers.is_none_or(|consumers| plan.consumers_max <= consumers));
        match refused {
            None => all_fit_below_the_soft_mark(&plan),
            Some(_) if Plan::new(limit(bytes), marks, &Needs::default()).is_ok() => all_fit_below_the_soft_mark(&plan),
            Some(_) => {}
        }
    }
}
