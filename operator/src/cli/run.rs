//! `relay-operator run`.

use std::io::IsTerminal;
use std::net::SocketAddr;

use anyhow::Context;
use relay_operator::metrics::Metrics;
use relay_operator::relay_admin::{self, ADMIN_PORT};
use relay_operator::server::{self, Phase};
use relay_operator::{api::patterns, relay};
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
    #[arg(long, env = "RELAY_OPERATOR_NAMESPACE", value_name = "NAME", value_parser = namespace)]
    namespace: Option<String>,

    /// Address of health and metrics.
    #[arg(long, env = "RELAY_OPERATOR_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

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

fn namespace(text: &str) -> Result<String, String> {
    if patterns::OBJECT_NAME.matches(text) { Ok(text.to_owned()) } else { Err("not the name of a namespace".into()) }
}

/// Runs until SIGTERM or SIGINT.
#[tokio::main]
pub async fn run(args: Args) -> anyhow::Result<()> {
    log_to_stderr(args.log_format);
    let mut terminated = terminated()?;
    let (phase, phases) = watch::channel(Phase::WaitingForCrd);
    let metrics = Metrics::default();
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}; choose another --listen", args.listen))?;
    let server = tokio::spawn(server::serve(listener, phases, metrics.clone(), wait(terminated.clone())));
    let mut config = kube::Config::infer().await.context("no cluster found; set KUBECONFIG, or run in a pod")?;
    let client = kube::Client::try_from(config.clone())?;
    config.default_retry = false;
    let once = kube::Client::try_from(config)?;
    let namespace = args.namespace.as_deref();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), namespace, relay_image = args.relay_image, "starting");
    tokio::select! {
        () = relay::wait_for_crd(&client, namespace) => {}
        _ = terminated.changed() => return Ok(()),
    }
    phase.send_replace(Phase::FillingCaches);
    let options = relay::Options {
        client,
        once,
        namespace: args.namespace,
        default_image: args.relay_image,
        admin: relay_admin::Client::new(ADMIN_PORT)?,
        metrics,
    };
    let filled = move || {
        phase.send_replace(Phase::Ready);
        tracing::info!("ready");
    };
    relay::run(options, filled, wait(terminated)).await;
    tracing::info!("stopped");
    server.await?.context("the HTTP server failed")
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
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

async fn wait(mut terminated: watch::Receiver<bool>) {
    // The sender lives until it has sent.
    let _ = terminated.wait_for(|terminated| *terminated).await;
}
