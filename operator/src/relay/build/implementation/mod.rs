//! What differs between the programs that a relay may be: a profile for each, which the builders of the objects ask.

mod bundled;
mod collectiondir;
mod indigo;
mod said;
mod zlay;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, SecretKeySelector, Volume, VolumeMount,
};

use super::stateful_set::mount;
use crate::api::Implementation;
use crate::relay::names;
use crate::relay::validate::{Directory, Resources, SecretKey, ValidRelay};
use crate::relay_admin::ADMIN_PORT;

/// Port of a container, and of a Service: its name, which probes and Services refer to, and its number.
pub(super) type Port = (&'static str, i32);

/// Name of the port of the firehose, in every profile.
pub(super) const FIREHOSE: &str = "firehose";

/// Files that a program writes beside its volume, such as those of SQLite's sorting.
const SCRATCH_SIZE: &str = "256Mi";

/// How a program is run.
pub(super) struct Profile {
    /// Its command line, after the image's entry point; `None` is the image's own.
    pub(super) args: Option<Vec<String>>,
    /// Where it is started; `None` is the image's own.
    pub(super) working_dir: Option<&'static str>,
    /// Its environment.
    pub(super) env: Vec<EnvVar>,
    /// The firehose, for consumers.
    pub(super) firehose: Port,
    /// The rest, for the cluster only.
    pub(super) internal: Vec<Port>,
    /// What a proxy in front of it leads to. The rest of its paths is nothing to the internet.
    pub(super) public: Vec<Public>,
    /// Names of the internal ports that answer `GET /metrics`, to everybody; the first is that of the relay itself.
    pub(super) metrics: Vec<&'static str>,
    /// The Service for the cluster has the firehose's port too: there the program has its admin API.
    pub(super) admin_at_firehose: bool,
    /// Whether it lives; a database that is away does not make it die.
    pub(super) alive: Check,
    /// Whether it can serve.
    pub(super) ready: Check,
    /// Its configuration file, where it has one: `relay.toml`.
    pub(super) config: Option<String>,
    /// Volumes beside that of its data.
    pub(super) volumes: Vec<Volume>,
    /// Where they are.
    pub(super) mounts: Vec<VolumeMount>,
    /// What runs beside it.
    pub(super) beside: Option<Beside>,
}

/// A program that runs beside the relay, in its pod.
pub(super) struct Beside {
    /// Its container.
    pub(super) container: Container,
    /// Its metrics.
    pub(super) metrics: Port,
}

/// Something that everybody may ask a program for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Public {
    /// The path.
    pub(super) path: Path,
    /// The port that answers.
    pub(super) port: Port,
}

/// Which paths are meant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Path {
    /// This one.
    Exact(&'static str),
    /// This one and those below it.
    Below(&'static str),
}

impl Public {
    pub(super) const fn exact(path: &'static str, port: Port) -> Self {
        Self { path: Path::Exact(path), port }
    }

    pub(super) const fn below(path: &'static str, port: Port) -> Self {
        Self { path: Path::Below(path), port }
    }
}

/// How the kubelet looks at a program.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// `GET` of a path at a port.
    Http(&'static str, &'static str),
    /// A connection to a port.
    Tcp(&'static str),
}

/// What the metrics of a program of another project are called.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::relay) struct MetricNames {
    /// Port at which `GET /metrics` is answered.
    pub(in crate::relay) port: u16,
    /// Resident memory, and how many bytes are one of it.
    pub(in crate::relay) resident: (&'static str, u64),
    /// The last seq.
    pub(in crate::relay) seq: Option<&'static str>,
    /// A counter of events, by whatever labels.
    pub(in crate::relay) events: Option<&'static str>,
}

impl Profile {
    /// Ports for everybody, that of the firehose first; not those that are public by a proxy alone.
    pub(super) fn public_ports(&self) -> Vec<Port> {
        let mut ports = vec![self.firehose];
        for Public { port, .. } in &self.public {
            if !ports.contains(port) && !self.internal.contains(port) {
                ports.push(*port);
            }
        }
        ports
    }

    /// Ports for the cluster only.
    pub(super) fn internal_ports(&self) -> Vec<Port> {
        let beside = self.beside.as_ref().map(|beside| beside.metrics);
        self.internal.iter().copied().chain(beside).collect()
    }

    pub(super) fn of(relay: &ValidRelay, memory: Resources) -> Result<Self, toml::ser::Error> {
        match relay.implementation {
            Implementation::Bundled => bundled::profile(relay),
            Implementation::Indigo => Ok(indigo::profile(relay, memory)),
            Implementation::Zlay => Ok(zlay::profile(relay, memory)),
        }
    }

    /// Name of the Service that has `port`.
    pub(super) fn service_of(&self, relay: &ValidRelay, port: Port) -> String {
        if self.public_ports().contains(&port) {
            names::firehose_service(&relay.name)
        } else {
            names::admin(&relay.name)
        }
    }
}

/// The metrics of `implementation`; `None` for ours, which has a status document.
pub(in crate::relay) fn metric_names(implementation: Implementation) -> Option<MetricNames> {
    match implementation {
        Implementation::Bundled => None,
        Implementation::Indigo => Some(indigo::METRICS),
        Implementation::Zlay => Some(zlay::METRICS),
    }
}

/// Port of the pod at which the admin API of `implementation` is.
#[must_use]
pub fn admin_port(implementation: Implementation) -> u16 {
    match implementation {
        Implementation::Bundled => ADMIN_PORT,
        Implementation::Indigo => indigo::ADMIN_PORT,
        Implementation::Zlay => zlay::ADMIN_PORT,
    }
}

/// Fields of the spec that say something and that `relay` does nothing about, in the order of the spec.
pub(in crate::relay) fn unsupported(relay: &ValidRelay) -> Vec<&'static str> {
    let takes = match relay.implementation {
        Implementation::Bundled => return Vec::new(),
        Implementation::Indigo => indigo::takes,
        Implementation::Zlay => zlay::takes,
    };
    // What is there by default says nothing, and is missed all the same.
    let lacks_directory = relay.implementation == Implementation::Indigo && relay.directory == Directory::OfRelay;
    let directory = lacks_directory.then_some("spec.collections.enabled without spec.collections.image");
    said::said(relay).into_iter().filter(|path| !takes(&relay.settings, path)).chain(directory).collect()
}

fn variable(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() }
}

/// A variable with a secret: it comes from the Secret, and is in no other object.
fn secret_variable(name: &str, secret: &SecretKey) -> EnvVar {
    let key = SecretKeySelector { name: secret.name.clone(), key: secret.key.clone(), ..SecretKeySelector::default() };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    EnvVar { name: name.into(), value_from: Some(source), ..EnvVar::default() }
}

/// The same, where the Secret may lack the key: then the variable is not set.
fn optional_secret_variable(name: &str, secret: &str, key: &str) -> EnvVar {
    let key = SecretKeySelector { name: secret.into(), key: key.into(), optional: Some(true) };
    let source = EnvVarSource { secret_key_ref: Some(key), ..EnvVarSource::default() };
    EnvVar { name: name.into(), value_from: Some(source), ..EnvVar::default() }
}

/// A place for a program's temporary files: the rest of its file system is read-only.
fn scratch() -> (Volume, VolumeMount) {
    let size = Some(k8s_openapi::apimachinery::pkg::api::resource::Quantity(SCRATCH_SIZE.into()));
    let empty = EmptyDirVolumeSource { size_limit: size, ..EmptyDirVolumeSource::default() };
    (Volume { name: "tmp".into(), empty_dir: Some(empty), ..Volume::default() }, mount("tmp", "/tmp", None))
}
