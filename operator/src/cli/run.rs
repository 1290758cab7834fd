//! `relay-operator run`.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use relay_operator::api::patterns;
use relay_operator::life::{self, turned};
use relay_operator::metrics::Metrics;
use relay_operator::relay_admin::{self, ADMIN_PORT};
use relay_operator::server::{self, Phase};
use relay_operator::{lease, relay, requests};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

/// Flags of `relay-operator run`.
#[derive(clap::Args)]
pub struct Args {
    /// Image of relays whose spec names none.
    #[arg(long, env = "RELAY_IMAGE", value_name = "IMAGE")]
    relay_image: String,

    /// Serve the Relays of this namespace only.
    #[arg(long, env = "RELAY_OPERATOR_NAMESPACE", value_name = "NAME", value_parser = name)]
    namespace: Option<String>,

    /// Address of health and metrics.
    #[arg(long, env = "RELAY_OPERATOR_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Name of the Lease by which one of several operators works and the others wait.
    #[arg(long, env = "RELAY_OPERATOR_LEASE", value_name = "NAME", default_value = "relay-operator", value_parser = name)]
    lease: String,

    /// Namespace of the Lease; by default the operator's own.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", value_parser = name)]
    lease_namespace: Option<String>,

    /// How long the Lease is held without being renewed. An operator that dies with its node is replaced after that.
    #[arg(long, env = "RELAY_OPERATOR_LEASE_SECONDS", value_name = "SECONDS", default_value_t = 60,
        value_parser = clap::value_parser!(u16).range(3..=3600))]
    lease_seconds: u16,

    /// Who asks for the Lease: nobody else's name, and the same after a restart of the container. By default one at random.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    identity: Option<String>,

    /// Form of the log. RUST_LOG chooses what is in it.
    #[arg(long, env = "RELAY_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, clap::ValueEnum)]
enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
}

fn name(text: &str) -> Result<String, String> {
    if patterns::OBJECT_NAME.matches(text) { Ok(text.to_owned()) } else { Err("not the name of an object".into()) }
}

/// Runs until SIGTERM or SIGINT, or until the lease is lost.
#[tokio::main]
pub async fn run(args: Args) -> anyhow::Result<()> {
    log_to_stderr(args.log_format);
    let terminated = terminated()?;
    let (phase, phases) = watch::channel(Phase::WaitingForCrd);
    let metrics = Metrics::default();
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --listen", args.listen))?;
    let (stop_server, stopping) = watch::channel(false);
    let server = tokio::spawn(server::serve(listener, phases, metrics.clone(), turned(stopping)));
    let mut config = kube::Config::infer().await.context("no cluster found; set KUBECONFIG, or run in a pod")?;
    let client = requests::client(config.clone(), metrics.clone())?;
    config.default_retry = false;
    let once = requests::client(config, metrics.clone())?;
    let lease = lease::Options {
        namespace: args.lease_namespace.unwrap_or_else(|| client.default_namespace().to_owned()),
        name: args.lease,
        identity: args.identity.unwrap_or_else(some_identity),
        duration: Duration::from_secs(args.lease_seconds.into()),
    };
    let (namespace, identity) = (&args.namespace, &lease.identity);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace,
        relay_image = args.relay_image,
        identity,
        "starting"
    );
    let relays = relay::Options {
        client,
        once,
        namespace: args.namespace,
        default_image: args.relay_image,
        admin: relay_admin::Client::new(ADMIN_PORT)?,
        metrics,
    };
    let result = life::live(life::Options { relays, lease }, phase, terminated).await;
    tracing::info!("stopped");
    stop_server.send_replace(true);
    server.await?.context("the HTTP server failed")?;
    result.context("this operator stops, to start anew and wait for the lease")
}

/// A name that no other operator has.
fn some_identity() -> String {
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), started.as_nanos())
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        // The span says whose reconcile it is.
        LogFormat::Json => builder.json().flatten_event(true).with_span_list(false).init(),
    }
}

/// Turns true at the first SIGTERM or SIGINT.
fn terminated() -> anyhow::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        sender.send_replace(true);
    });
    Ok(receiver)
}
