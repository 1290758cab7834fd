//! The table, ready for the page of figures.

use std::fmt::Write;

use crate::figures::{Figures, Metric, Target};
use crate::peer::Which;

/// The machine as it is now, in a few words.
pub fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kilobytes = field(&read("/proc/meminfo"), "MemTotal");
    let kilobytes = kilobytes.trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0);
    let processor = field(&read("/proc/cpuinfo"), "model name");
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "{cores} cores ({processor}), {:.0} GiB, Linux {}, load {load} at the start",
        kilobytes / f64::from(1 << 20),
        kernel.trim()
    )
}

/// Medians of both relays, their ratio, and what it is to be.
pub fn markdown(figures: &Figures, machine: &str, rounds: u32, scale: f64) -> String {
    let mut table = String::new();
    let sized = if scale == 1.0 { String::new() } else { format!(" at {scale} of the full size") };
    let text = &mut table;
    let _ = writeln!(text, "Medians of {rounds} rounds{sized}; {machine}.\n");
    let _ = writeln!(text, "| what | ours | indigo | ours / indigo | target | reached |\n|---|---|---|---|---|---|");
    for metric in Metric::ALL {
        let [ours, indigo] = [Which::Ours, Which::Indigo].map(|which| figures.median(metric, which));
        if ours.or(indigo).is_none() {
            continue;
        }
        let ratio = ours.zip(indigo).filter(|(_, indigo)| *indigo > 0.0).map(|(ours, indigo)| ours / indigo);
        let (target, reached) = judge(metric.target(), ours, ratio);
        let [ours, indigo, ratio] = [ours, indigo, ratio].map(|value| value.map_or_else(String::new, number));
        let _ = writeln!(text, "| {} | {ours} | {indigo} | {ratio} | {target} | {reached} |", metric.title());
    }
    table
}

fn judge(target: Target, ours: Option<f64>, ratio: Option<f64>) -> (String, &'static str) {
    let (words, is_reached) = match target {
        Target::None => return (String::new(), ""),
        Target::AtMost(most) => (format!("≤ {most}"), ours.map(|ours| ours <= most)),
        Target::ShareAtMost(share) => (format!("≤ {share} of indigo's"), ratio.map(|ratio| ratio <= share)),
        Target::TimesAtLeast(times) => (format!("≥ {times} times indigo's"), ratio.map(|ratio| ratio >= times)),
    };
    let reached = match is_reached {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "",
    };
    (words, reached)
}

/// A number with three digits that mean something, and thousands set apart.
fn number(value: f64) -> String {
    let decimals = match value.abs() {
        size if size == 0.0 || size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let digits = whole.len();
    let grouped = whole.char_indices().fold(String::new(), |mut grouped, (place, digit)| {
        if place > 0 && (digits - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
        grouped
    });
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_medians_ratios_and_whether_targets_are_reached() {
        let mut figures = Figures::default();
        for (ours, indigo) in [(0.06, 0.2), (0.04, 0.3), (0.05, 0.25)] {
            figures.note(Metric::FullSpeedCpu, Which::Ours, ours);
            figures.note(Metric::FullSpeedCpu, Which::Indigo, indigo);
        }
        figures.note(Metric::ReplayRate, Which::Ours, 345_678.9);
        figures.note(Metric::ReplayRate, Which::Indigo, 100_000.0);
        figures.note(Metric::Lost, Which::Ours, 0.0);
        let table = markdown(&figures, "2 cores", 3, 1.0);
        let rows: Vec<&str> =
            table.lines().filter_map(|line| line.split_once("event | ").map(|(_, rest)| rest)).collect();
        assert_eq!(rows, ["0.050 | 0.250 | 0.200 | ≤ 0.25 of indigo's | yes |"]);
        assert!(table.contains("| 345,679 | 100,000 | 3.46 | ≥ 4 times indigo's | **no** |"), "{table}");
        assert!(table.contains("| good events lost | 0 |  |  | ≤ 0 | yes |"), "{table}");
        assert_eq!(table.lines().count(), 2 + 2 + 3, "rows without figures are left out");
    }
}
