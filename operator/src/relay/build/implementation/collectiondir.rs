//! collectiondir, indigo's directory of collections: a program of its own, which reads the relay's firehose from beside it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, ResourceRequirements};

use super::{Beside, Check, Port, Public, optional_secret_variable, variable};
use crate::relay::build::secret::COLLECTIONS_TOKEN;
use crate::relay::build::stateful_set::{DATA_DIR, confined, mount, port, probe, pull_policy};
use crate::relay::byte_size::ByteSize;
use crate::relay::validate::{Image, ValidRelay};

/// The program, wherever its image has it on the path, and its container.
const NAME: &str = "collectiondir";
/// Its public API, and an admin API behind a token.
const API: Port = ("collections", 2510);
/// Its metrics.
const METRICS: Port = ("dir-metrics", 2511);
/// What it answers in the relay's place.
pub(super) const PUBLIC: [Public; 3] = [
    Public::exact("/xrpc/com.atproto.sync.listReposByCollection", API),
    Public::exact("/v1/getDidsForCollection", API),
    Public::exact("/v1/listCollections", API),
];

/// What the scheduler sets aside for it.
const MEMORY_REQUEST: ByteSize = ByteSize(128 << 20);
/// What it may use. It does not grow with the network: its database has a cache of a fixed size, and it remembers a fixed
/// number of accounts.
const MEMORY_LIMIT: ByteSize = ByteSize(512 << 20);
/// Share of that which Go's runtime manages, in percent; the rest are its stacks' and the kernel's.
const GO_PERCENT: u64 = 80;

/// Runs it with `image` beside the relay, whose firehose is at `firehose`.
pub(super) fn beside(relay: &ValidRelay, image: &Image, firehose: i32) -> Beside {
    let mut command = vec![
        (NAME, "serve".to_owned()),
        ("--pebble", format!("{DATA_DIR}/collections")),
        // It asks for this one, but needs none: a database for each day, of who was active, which it never removes.
        ("--dau-directory", String::new()),
        ("--upstream", format!("ws://127.0.0.1:{firehose}")),
        ("--api-listen", format!(":{}", API.1)),
        ("--metrics-listen", format!(":{}", METRICS.1)),
    ];
    if let Some(accounts) = relay.settings.collections.min_accounts {
        command.push(("--clist-min-dids", accounts.to_string()));
    }
    let container = Container {
        name: NAME.into(),
        image: Some(image.reference.clone()),
        image_pull_policy: Some(pull_policy(image)),
        // By name, in place of the image's entry point: images have it at different places.
        command: Some(command.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()),
        env: Some(environment(relay)),
        ports: Some(vec![port(API), port(METRICS)]),
        resources: Some(ResourceRequirements {
            requests: Some(BTreeMap::from([("memory".into(), MEMORY_REQUEST.into())])),
            limits: Some(BTreeMap::from([("memory".into(), MEMORY_LIMIT.into())])),
            ..ResourceRequirements::default()
        }),
        // Without a readiness of its own: a pod is ready when all of its containers are, and the firehose shall not wait
        // for a directory that is slow.
        liveness_probe: Some(probe(relay, Check::Http("/_health", API.0), 10, 30)),
        termination_message_path: Some("/dev/termination-log".into()),
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        security_context: Some(confined()),
        volume_mounts: Some(vec![mount("data", DATA_DIR, None)]),
        ..Container::default()
    };
    Beside { container, metrics: METRICS }
}

/// A token that is not there shuts the admin API. It is not the relay's: the program writes it to its log when somebody
/// comes with another one.
fn environment(relay: &ValidRelay) -> Vec<EnvVar> {
    let go = MEMORY_LIMIT.0 * GO_PERCENT / 100;
    vec![
        optional_secret_variable("COLLECTIONS_ADMIN_TOKEN", &relay.admin.name, COLLECTIONS_TOKEN),
        variable("GOMEMLIMIT", format!("{}MiB", go >> 20)),
    ]
}
