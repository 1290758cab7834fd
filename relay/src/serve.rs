//! Wires a running relay, and takes it down again.

mod memory;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::account::Accounts;
use crate::backfill::{self, Jobs, Web};
use crate::collections::{self, Directory};
use crate::config::{Config, Durability, LogCompression};
use crate::decisions::{self, Decisions};
use crate::exit::Ended;
use crate::firehose::{self, Firehose};
use crate::host::{self, Hosts, HostsContext, RepoStatuses, RequestCrawl, discovery};
use crate::http::{self, App, Tokens};
use crate::identity::{self, Resolver};
use crate::log::{self, Log};
use crate::memory::{Cgroup, Limit, Owner, Plan, PlanError, Restarts, Watch, WatchOptions};
use crate::net;
use crate::recover::{self, recover};
use crate::report::{self, Reporter};
use crate::sequencer::{self, Sequencer};
use crate::siblings::Siblings;
use crate::store::{self, Sizes, Store};
use crate::takedowns::{self, Takedowns};
use crate::verify;

/// How long a stop waits for consumers to take what is published, at most; of the time for the whole of it, a third.
const CONSUMERS_PATIENCE: Duration = Duration::from_secs(10);
/// One account that a verifying shard remembers, with its key and what the map needs around it.
const RECENT_ACCOUNT_BYTES: u64 = 256;

/// Why a relay does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The memory limit cannot be met.
    #[error(transparent)]
    Memory(#[from] PlanError),
    /// The data folder cannot be used.
    #[error("cannot use the data directory {path}: {source}; choose another with --data-dir, or make it writable")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another address with --{flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Its setting.
        flag: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The database of decisions.
    #[error(transparent)]
    Decisions(#[from] decisions::Error),
    /// The derived store.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// Reading the derived store.
    #[error(transparent)]
    StoreRead(#[from] store::StoreError),
    /// The directory of collections.
    #[error(transparent)]
    Collections(#[from] collections::Error),
    /// Backfill jobs.
    #[error(transparent)]
    Backfill(#[from] backfill::Error),
    /// The event log.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// Bringing the store up to the log.
    #[error(transparent)]
    Recover(#[from] recover::RecoverError),
    /// Bringing accounts in line with what was decided of them.
    #[error(transparent)]
    Takedowns(#[from] takedowns::Error),
    /// The identity resolver.
    #[error(transparent)]
    Identity(#[from] identity::SetupError),
    /// TLS or the HTTP client.
    #[error(transparent)]
    Client(#[from] net::ClientError),
    /// A thread or a server could not be started.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs a relay until `stop`, or until it has to restart, then drains it: what is verified is logged and sent, cursors
/// are stored, consumers are closed properly.
pub async fn serve(config: Config, stop: impl Future<Output = ()>) -> Result<Ended, ServeError> {
    let cgroup = Cgroup::of_this_process();
    let limit = Limit::find(config.memory.limit, cgroup.as_ref());
    let plan = Plan::new(limit, config.memory.marks, &config.memory.needs)?;
    tracing::info!(%plan, "memory");
    let public = listen(config.listen, "listen").await?;
    let operators = listen(config.admin_listen, "admin-listen").await?;

    let (log, reader, store, directory) = open(&config, &plan)?;
    let accounts = Accounts::new(store.clone());
    let recovered = recover(&store, &accounts, &directory, &reader)?;
    let log::Recovery { cut_bytes, skipped_seqs } = log.recovery();
    let (seq, replayed) = (reader.last_seq(), recovered.replayed);
    tracing::info!(seq, replayed, cut_bytes, skipped_seqs, "event log is open");
    let decisions = Decisions::open(&config.database_url).await?;
    let rows = decisions.hosts().await?;

    let resolver = Resolver::new(identity::Options {
        plc_url: config.plc_url.clone(),
        export_url: config.plc_export.clone(),
        allow_insecure: config.allow_insecure_hosts,
        database: store.database(),
        column: store::Column::Identity.name(),
        memory_bytes: plan.share(Owner::Identities) as usize,
    })?;
    let statuses = Arc::new(RepoStatuses::new(config.allow_insecure_hosts)?);
    let verify_parts = verify::Parts {
        resolver: Arc::clone(&resolver),
        accounts: accounts.clone(),
        statuses: Arc::clone(&statuses),
        limits: verify::Limits {
            ingest_bytes: plan.share(Owner::Ingest) as usize,
            parked_bytes: plan.share(Owner::Parked) as usize,
            recent_accounts: (plan.share(Owner::Accounts) / RECENT_ACCOUNT_BYTES) as usize,
        },
    };
    let (intake, outlet) = verify::start(verify_parts, Arc::default())?;

    let (stop_hosts, stopping) = watch::channel(false);
    let host_parts = host::Parts {
        intake: intake.clone(),
        stop: stopping.clone(),
        decisions: decisions.clone(),
        store: store.clone(),
        log: reader.clone(),
    };
    let context = HostsContext::new(&config, host_parts)?;
    let hosts = Hosts::new(context, config.clone(), rows, recovered.progress, &recovered.accounts, &recovered.held);
    let hosts = Arc::new(hosts);
    let firehose = Firehose::new(
        reader.clone(),
        firehose::Limits {
            consumers_max: plan.consumers_max as usize,
            consumers_per_address_max: config.max_consumers_per_address,
            ring_bytes_max: plan.share(Owner::Ring) as usize,
            trust_forwarded_for: config.trust_forwarded_for,
            replay_turns: plan.share(Owner::Replay) as usize / firehose::REPLAY_CHUNK_BYTES,
            ..firehose::Limits::default()
        },
    );

    let sequencer_stats = Arc::<sequencer::Stats>::default();
    let sequencer = Sequencer {
        log,
        store: store.clone(),
        accounts: accounts.clone(),
        directory: directory.clone(),
        hosts: Arc::clone(&hosts),
        firehose: Arc::clone(&firehose),
        outlet,
        durability: config.durability,
        replay_window: config.replay_window,
        replay_max_bytes: config.replay_max_bytes,
        stats: Arc::clone(&sequencer_stats),
    };
    let runtime = Handle::current();
    let sequencing = std::thread::Builder::new().name("sequencer".to_owned()).spawn(move || sequencer.run(&runtime))?;

    let takedowns = Takedowns {
        decisions: decisions.clone(),
        accounts: accounts.clone(),
        hosts: Arc::clone(&hosts),
        statuses,
        intake: intake.clone(),
        firehose: Arc::clone(&firehose),
    };
    takedowns.restore().await?;

    let jobs = Jobs::start(backfill::Parts {
        decisions: decisions.clone(),
        context: backfill::Context {
            web: Web::new(config.allow_insecure_hosts)?,
            directory: directory.clone(),
            accounts: accounts.clone(),
            hosts: Arc::clone(&hosts),
            resolver: Arc::clone(&resolver),
            allow_insecure: config.allow_insecure_hosts,
        },
    });
    let jobs = jobs.await?;
    let http_client = net::trusting_client()?;
    let siblings = Arc::new(Siblings::start(&config, &http_client));
    let holders = memory::Holders {
        intake: intake.clone(),
        store: store.clone(),
        resolver: Arc::clone(&resolver),
        directory: directory.clone(),
        hosts: Arc::clone(&hosts),
        firehose: Arc::clone(&firehose),
        jobs: jobs.clone(),
    };
    let watch = Watch::new(WatchOptions {
        plan,
        needs: config.memory.needs,
        limit_setting: config.memory.limit,
        cgroup,
        ledger: Arc::new(holders.ledger()),
        relief: holders.relief(),
        restarts: Restarts {
            file: config.data_dir.join("restarts.json"),
            cooldown: config.memory.restart_cooldown,
            per_hour_max: config.memory.restarts_per_hour,
        },
        drain_time: config.drain_time,
    })?;
    let reporter = Arc::new(Reporter::new(report::Parts {
        intake: intake.clone(),
        sequencer: sequencer_stats,
        log: reader,
        store,
        directory: directory.clone(),
        jobs: jobs.clone(),
        hosts: Arc::clone(&hosts),
        firehose: Arc::clone(&firehose),
        resolver: Arc::clone(&resolver),
        siblings: Arc::clone(&siblings),
        watch: Arc::clone(&watch),
        replay_window: config.replay_window,
    }));
    let app = Arc::new(App {
        firehose: Arc::clone(&firehose),
        hosts: Arc::clone(&hosts),
        request_crawl: RequestCrawl::load(decisions.clone()).await?,
        accounts,
        directory,
        collections_min_accounts: config.collections_min_accounts,
        jobs: jobs.clone(),
        resolver: Arc::clone(&resolver),
        decisions,
        reporter: Arc::clone(&reporter),
        siblings,
        tokens: Tokens::new(config.admin_token.as_deref(), config.admin_token_file.clone()),
        takedowns,
    });
    let (stop_http, http_stopping) = watch::channel(false);
    let servers = [
        tokio::spawn(http::serve(public, http::public(&app), http_stopping.clone())),
        tokio::spawn(http::serve(operators, http::operators(&app), http_stopping)),
    ];
    tracing::info!(listen = %config.listen, admin = %config.admin_listen, "serving");

    hosts.connect_all();
    let discovery = tokio::spawn(discovery::run(Arc::clone(&hosts), config.clone(), http_client, stopping));
    let export = tokio::spawn(resolver.follow_export());
    let rate = tokio::spawn({
        let reporter = Arc::clone(&reporter);
        async move { reporter.follow_rate().await }
    });

    let tokens = tokio::spawn(async move { app.tokens.follow_file().await });

    let ended = tokio::select! {
        () = stop => Ended::Stopped,
        reason = watch.restart() => Ended::Restart(reason),
    };
    tracing::info!(?ended, "stopping");
    reporter.set_draining();
    stop_hosts.send_replace(true);
    jobs.stop().await;
    intake.drain().await;
    let sequenced = tokio::task::spawn_blocking(move || sequencing.join()).await;
    if !matches!(sequenced, Ok(Ok(()))) {
        tracing::error!("the sequencer did not end well; the next start repairs what it left");
    }
    let left = firehose.close_all(CONSUMERS_PATIENCE.min(config.drain_time / 3)).await;
    tracing::info!(consumers_cut = left, "stopped");
    stop_http.send_replace(true);
    for server in servers {
        server.abort();
    }
    discovery.abort();
    export.abort();
    rate.abort();
    tokens.abort();
    Ok(ended)
}

/// The log, and the store with its directory of collections, that belong together. A log that ends before what the store has applied has lost its end, or
/// all: its seqs then go on above those that were given out.
fn open(config: &Config, plan: &Plan) -> Result<(Log, log::Reader, Store, Directory), ServeError> {
    let data_dir = |path: &Path| {
        let in_dir = |source| ServeError::DataDir { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(in_dir)
    };
    data_dir(&config.data_dir)?;
    let store_dir = config.data_dir.join("store");
    data_dir(&store_dir)?;
    let sizes =
        Sizes { block_cache: plan.share(Owner::BlockCache) as usize, memtables: plan.share(Owner::Memtables) as usize };
    let store = Store::open(&store_dir, sizes)?;
    let directory = Directory::open(store.clone(), plan.share(Owner::Directory) as usize)?;
    let applied = store.applied()?;
    let last_seq = applied.accounts.max(applied.hosts).max(directory.applied()?.unwrap_or(0));
    let options = log::Options {
        durability: match config.durability {
            Durability::Sync => log::Durability::Sync,
            Durability::Os => log::Durability::Os,
        },
        compression: match config.log_compression {
            LogCompression::Zstd => log::Compression::Zstd,
            LogCompression::None => log::Compression::None,
        },
        initial_seq: config.initial_seq.max(last_seq + 1),
        ..log::Options::new(config.data_dir.join("log"))
    };
    let (log, reader) = Log::open(options)?;
    Ok((log, reader, store, directory))
}

async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, flag, source })
}
