//! The places of panels, and what is shown there.

/// A panel of the dashboard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Slot {
    Events,
    Hosts,
    Consumers,
    Memory,
    Owners,
    Restarts,
    Cpu,
    Disk,
    Backfill,
}

/// Number of panels.
pub(super) const SLOTS: u32 = 9;
/// Columns of Grafana's grid.
pub(super) const WIDTH: u32 = 24;
/// Width and height of a panel, three in a row.
pub(super) const PANEL: (u32, u32) = (8, 8);

/// The rows, from above. Each is one panel high, so that a panel that is left out lets no other move up.
pub(super) const ROWS: [(&str, [Slot; 3]); 3] = [
    ("Stream", [Slot::Events, Slot::Hosts, Slot::Consumers]),
    ("Memory", [Slot::Memory, Slot::Owners, Slot::Restarts]),
    ("Machine and directory", [Slot::Cpu, Slot::Disk, Slot::Backfill]),
];

/// Where a panel is.
pub(super) struct Place {
    pub(super) x: u32,
    pub(super) y: u32,
}

impl Slot {
    pub(super) fn place(self) -> Place {
        let (row, column) = (self as u32 / 3, self as u32 % 3);
        // Above each row is its title.
        Place { x: column * PANEL.0, y: row * (PANEL.1 + 1) + 1 }
    }

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Events => "Events per second",
            Self::Hosts => "Hosts",
            Self::Consumers => "Consumers",
            Self::Memory => "Memory against its limit",
            Self::Owners => "Memory by owner",
            Self::Restarts => "Restarts",
            Self::Cpu => "CPU",
            Self::Disk => "Disk",
            Self::Backfill => "Backfill",
        }
    }

    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Events => {
                "Messages from hosts, and what became of them. Discontinuous are commits that do not continue the state that is known."
            }
            Self::Hosts => "Hosts with an open stream, and the others by their state.",
            Self::Consumers => "Consumers of the firehose, and those that were turned away or ended as too slow.",
            Self::Memory => {
                "What the kernel would count against the limit, and the marks: caches shrink from the soft one on, and the relay is restarted at the hard one."
            }
            Self::Owners => "What the memory is made of.",
            Self::Restarts => "Ends of the relay by cause, as the operator counts them since its own start.",
            Self::Cpu => "Cores in use, as the kubelet measures them.",
            Self::Disk => "The volume, as the kubelet measures it where its driver can, and the event log on it.",
            Self::Backfill => "Accounts that the jobs of the directory take in each second.",
        }
    }

    /// In the names of Grafana.
    pub(super) fn unit(self) -> &'static str {
        match self {
            Self::Events | Self::Backfill => "cps",
            Self::Memory | Self::Owners | Self::Disk => "bytes",
            Self::Hosts | Self::Consumers | Self::Restarts | Self::Cpu => "short",
        }
    }

    /// Its series are parts of a whole.
    pub(super) fn is_stacked(self) -> bool {
        self == Self::Owners
    }

    /// Names of the series that others should stay below, with a colour of Grafana's.
    pub(super) fn marks(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Memory => &[("soft mark", "yellow"), ("hard mark", "orange"), ("limit", "red")],
            Self::Disk => &[("capacity", "red")],
            _ => &[],
        }
    }
}
