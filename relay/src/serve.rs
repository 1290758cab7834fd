//! Wires a running relay, and takes it down again.

mod drain;
mod memory;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::account::Accounts;
use crate::backfill::{self, Jobs, Web};
use crate::collections::{self, Directory};
use crate::config::{Config, Durability, LogCompression};
use crate::decisions::{self, Decisions};
use crate::exit::{Ended, LastWords, Told, Watchdog};
use crate::firehose::{self, Firehose};
use crate::host::{self, Hosts, HostsContext, RepoStatuses, RequestCrawl, discovery};
use crate::http::{self, App, Server, Starting, Tokens};
use crate::identity::{self, Resolver};
use crate::log::{self, Log};
use crate::memory::{Cgroup, Limit, Owner, Plan, PlanError, RestartReason, Restarts, Usage, Watch, WatchOptions};
use crate::net;
use crate::recover::{self, recover};
use crate::report::{self, Reporter};
use crate::sequencer::{self, Sequencer};
use crate::siblings::Siblings;
use crate::store::{self, Sizes, Store};
use crate::takedowns::{self, Takedowns};
use crate::verify;
use crate::vital;
use drain::{Drain, Servers};

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

/// Runs a relay until it is told to end, or until it has to restart, then drains it: what is verified is logged and sent,
/// cursors are stored, consumers are closed properly. However it ends, it leaves a termination message.
pub async fn serve(config: Config, told: impl Future<Output = Told>) -> Result<Ended, ServeError> {
    let last_words = LastWords::new(config.termination_log.clone(), config.memory.limit);
    vital::leave(last_words.clone());
    let ended = run(config, told, &last_words).await;
    if let Err(error) = &ended {
        last_words.failed(error);
    }
    ended
}

async fn run(config: Config, told: impl Future<Output = Told>, last_words: &LastWords) -> Result<Ended, ServeError> {
    let mut told = pin!(told);
    let drain_time = config.drain_time;
    let cgroup = Cgroup::of_this_process();
    let limit = Limit::find(config.memory.limit, cgroup.as_ref());
    for remark in Limit::remarks(config.memory.limit, cgroup.as_ref()) {
        tracing::warn!("{remark}");
    }
    let plan = Plan::new(limit, config.memory.marks, &config.memory.needs)?;
    for line in plan.to_string().lines() {
        tracing::info!("{line}");
    }
    let starting = Starting::new("opening the derived store and the event log");
    let servers = Servers {
        public: Server::start(listen(config.listen, "listen").await?, starting.public()),
        operators: Server::start(listen(config.admin_listen, "admin-listen").await?, starting.operators()),
    };
    let parts = Start { config, plan, cgroup: cgroup.clone(), starting, servers: &servers, last_words };
    let running = tokio::select! {
        running = start(parts) => running?,
        // A start leaves nothing behind that a kill would not, so it need not come to its end.
        told = &mut told => {
            let ended = asked(told, cgroup.as_ref(), limit);
            last_words.ended(&ended, "it was not done starting");
            return Ok(ended);
        }
    };

    let ended = tokio::select! {
        told = &mut told => asked(told, cgroup.as_ref(), running.watch.view().plan.limit),
        reason = running.watch.restart() => Ended::Restart(reason),
    };
    running.reporter.set_draining();
    tracing::info!(?ended, "stopping");
    let watchdog = Watchdog::start(drain_time, ended.exit_code());
    if let Err(error) = &watchdog {
        tracing::warn!(%error, "no watchdog for the drain");
    }
    last_words.ended(&ended, "draining");
    let cut = running.drain.run(drain_time, servers).await;
    drop(watchdog);
    tracing::info!(%cut, "stopped");
    last_words.ended(&ended, &cut.to_string());
    Ok(ended)
}

/// What the relay makes of being told to end.
fn asked(told: Told, cgroup: Option<&Cgroup>, limit: Limit) -> Ended {
    match told {
        Told::Stop => Ended::Stopped,
        Told::Restart => Ended::Restart(RestartReason {
            reason: "Requested",
            message: "told to restart".to_owned(),
            working_set: Usage::read(limit.counted_by(cgroup), &[]).working_set,
            limit: limit.bytes,
        }),
    }
}

/// What a start needs.
struct Start<'a> {
    config: Config,
    plan: Plan,
    cgroup: Option<Cgroup>,
    starting: Starting,
    servers: &'a Servers,
    last_words: &'a LastWords,
}

/// A relay that serves.
struct Running {
    watch: Arc<Watch>,
    reporter: Arc<Reporter>,
    drain: Drain,
}

async fn start(parts: Start<'_>) -> Result<Running, ServeError> {
    let Start { config, plan, cgroup, starting, servers, last_words } = parts;
    let opening = {
        let config = config.clone();
        move || open(&config, &plan)
    };
    let (log, reader, store, directory) = blocking(opening).await?;
    last_words.set_log(reader.clone());
    starting.go_on("bringing the derived rows up to the event log");
    let accounts = Accounts::new(store.clone());
    let recovering = {
        let (store, accounts, directory, reader) = (store.clone(), accounts.clone(), directory.clone(), reader.clone());
        move || recover(&store, &accounts, &directory, &reader)
    };
    let recovered = blocking(recovering).await?;
    let log::Recovery { cut_bytes, skipped_seqs } = log.recovery();
    let (seq, replayed) = (reader.last_seq(), recovered.replayed);
    tracing::info!(seq, replayed, cut_bytes, skipped_seqs, "event log is open");
    starting.go_on("opening the database of decisions");
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
            accounts_bytes: plan.share(Owner::Accounts) as usize,
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
        bounds: host::Bounds { streams_max: plan.hosts_max, bytes_max: plan.share(Owner::Hosts) },
    };
    let context = HostsContext::new(&config, host_parts)?;
    let hosts = Hosts::new(context, config.clone(), rows, recovered.progress, &recovered.accounts, &recovered.held);
    let hosts = Arc::new(hosts);
    let firehose = Firehose::new(
        reader.clone(),
        firehose::Limits {
            consumers_max: plan.consumers_max as usize,
            consumer_bytes_max: plan.share(Owner::Consumers),
            consumers_per_address_max: config.max_consumers_per_address,
            ring_bytes_max: plan.share(Owner::Ring) as usize,
            trust_forwarded_for: config.trust_forwarded_for,
            replay_bytes_max: plan.share(Owner::Replay) as usize,
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
    starting.go_on("bringing accounts in line with what is decided of them");
    takedowns.restore().await?;

    let web = Web::new(config.allow_insecure_hosts)?;
    let jobs = Jobs::start(backfill::Parts {
        decisions: decisions.clone(),
        context: backfill::Context {
            web: web.clone(),
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
        web,
        log: reader.clone(),
    };
    let ledger = holders.ledger();
    ledger.apply(&plan);
    let watch = Watch::new(WatchOptions {
        plan,
        needs: config.memory.needs,
        limit_setting: config.memory.limit,
        cgroup,
        ledger: Arc::new(ledger),
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
        store: store.clone(),
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
        decisions: decisions.clone(),
        reporter: Arc::clone(&reporter),
        siblings,
        tokens: Tokens::new(config.admin_token.as_deref(), config.admin_token_file.clone()),
        takedowns,
    });
    servers.public.set_routes(http::public(&app));
    servers.operators.set_routes(http::operators(&app));
    tracing::info!(listen = %config.listen, admin = %config.admin_listen, "serving");

    hosts.connect_all();
    let discovery = tokio::spawn(discovery::run(Arc::clone(&hosts), config, http_client, stopping));
    let export = tokio::spawn(resolver.follow_export());
    let rate = tokio::spawn({
        let reporter = Arc::clone(&reporter);
        async move { reporter.follow_rate().await }
    });
    let tokens = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.tokens.follow_file().await }
    });
    let drain = Drain {
        stop_hosts,
        background: vec![discovery.abort_handle(), export.abort_handle(), rate.abort_handle(), tokens.abort_handle()],
        intake,
        sequencing,
        jobs,
        firehose,
        store,
        decisions,
    };
    Ok(Running { watch, reporter, drain })
}

/// Does what takes its time on a thread where it may.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ServeError>
where
    T: Send + 'static,
    E: Send + 'static,
    ServeError: From<E>,
{
    Ok(tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)??)
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
