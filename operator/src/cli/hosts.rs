//! `hosts`: the hosts of a relay, by its admin API.

mod list;

use std::io::Write;

use anyhow::{Context, bail};
use data_encoding::BASE64;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use relay_operator::api::{Implementation, Relay};
use relay_operator::relay::{admin_port, admin_reference, pod_name};
use relay_operator::relay_admin::{self, Host};
use relay_operator::secret::Redacted;
use serde::Deserialize;
use serde_json::json;

use super::cluster::{Cluster, Common, Output, object_name};
use super::forward;
use list::{List, Order, State};

/// Hosts on a page.
const PAGE: usize = 50;

/// Flags of `hosts`.
#[derive(clap::Args)]
pub struct Args {
    /// Name of the Relay.
    #[arg(value_parser = object_name)]
    name: String,

    /// Hosts of this state only; may be given several times.
    #[arg(short, long, value_enum)]
    state: Vec<State>,

    /// What comes first. Numbers are sorted from the largest.
    #[arg(long, value_enum, default_value_t = Order::Name)]
    sort: Order,

    /// Hosts on a page; 0 is all. By default 50, and all for programs.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,

    /// Which page.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    page: u32,

    #[command(flatten)]
    common: Common,
}

/// Prints a page of hosts.
pub async fn run(args: Args, out: &mut impl Write) -> anyhow::Result<()> {
    let cluster = args.common.connect().await?;
    let hosts = ask(&cluster, &args.name).await?;
    let default = if args.common.output == Output::Text { PAGE } else { 0 };
    let list = List::of(hosts, &args.state, args.sort, args.limit.unwrap_or(default), args.page);
    match args.common.output {
        Output::Text => write!(out, "{}", list.text(Timestamp::now()))?,
        Output::Json => writeln!(out, "{:#}", json!({"total": list.total, "chosen": list.chosen, "hosts": list.page}))?,
    }
    Ok(())
}

async fn ask(cluster: &Cluster, name: &str) -> anyhow::Result<Vec<Host>> {
    let seen = cluster.relay(name).await?;
    let object = serde_json::to_value(&seen.object)?;
    // Without its status, which may be of another version.
    let relay = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": object["metadata"], "spec": object["spec"]});
    let relay = Relay::deserialize(relay).context("the Relay is of another version; update this program")?;
    let implementation = relay.spec.implementation;
    if implementation == Implementation::Zlay {
        bail!("Zlay has no list of hosts that is documented; its metrics count them");
    }
    let token = token(cluster, &relay).await?;
    let authorization = match implementation {
        Implementation::Indigo => format!("Basic {}", BASE64.encode(format!("admin:{}", token.expose()).as_bytes())),
        Implementation::Bundled | Implementation::Zlay => format!("Bearer {}", token.first_token()),
    };
    let (pod, port) = (pod_name(name), admin_port(implementation));
    let answer = forward::get(&cluster.pods(), &pod, port, "/admin/pds/list", &authorization).await?;
    Ok(relay_admin::hosts(implementation, &answer)?)
}

/// The admin token, read with the rights of whoever asks.
async fn token(cluster: &Cluster, relay: &Relay) -> anyhow::Result<Redacted> {
    let reference = admin_reference(relay);
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = secrets.get(&reference.name).await;
    let secret = secret.with_context(|| format!("the admin token in the Secret {} cannot be read", reference.name))?;
    let value = secret.data.unwrap_or_default().remove(&reference.key);
    let text = value.and_then(|bytes| String::from_utf8(bytes.0).ok());
    let text =
        text.with_context(|| format!("the Secret {} has no text at the key {}", reference.name, reference.key))?;
    Ok(Redacted::new(text))
}
