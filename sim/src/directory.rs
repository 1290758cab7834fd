//! A service that says which accounts have which collections, as others run them; it lies, fails and limits on demand,
//! and remembers how it was asked.

mod fault;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::fault::Fault;
use crate::server::{Server, free_address};

/// Accounts of a page that is asked for without a limit.
const LIMIT_DEFAULT: usize = 500;
/// Collections of a page, as indigo's collectiondir has it.
const COLLECTIONS_DEFAULT: usize = 500;

/// What the directory can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Route {
    /// `com.atproto.sync.listReposByCollection`.
    Repos,
    /// `/v1/listCollections`.
    Collections,
    /// `/llms.txt`.
    List,
}

/// A request for a page of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whose accounts.
    pub collection: String,
    /// At most how many.
    pub limit: usize,
    /// Those after this.
    pub cursor: Option<String>,
}

/// How many requests the directory takes, and whether it says so in `RateLimit-*`.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// So many requests …
    pub requests: u32,
    /// … in each window of this length; more are answered with 429.
    pub window: Duration,
    /// Whether each answer says what is left.
    pub is_told: bool,
}

/// What becomes of a request for more accounts than a page may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Answered with as many as it may have, as indigo does from 10,000 on.
    Caps(usize),
    /// An error.
    Refuses(usize),
}

/// A running directory.
pub struct Directory {
    server: Server,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<Inner>,
    requests: watch::Sender<u64>,
}

struct Inner {
    collections: BTreeMap<String, BTreeSet<String>>,
    /// What `/v1/listCollections` says, if not the truth.
    counts: Option<BTreeMap<String, u64>>,
    has_counts: bool,
    list: Option<String>,
    limit: Limit,
    faults: HashMap<Route, Fault>,
    next_faults: HashMap<Route, VecDeque<Fault>>,
    rate: Option<Rate>,
    window: (Instant, u32),
    asked: Vec<Asked>,
    requests: HashMap<Route, u64>,
    refused: u64,
    lately: VecDeque<Instant>,
    per_second_max: usize,
    running: usize,
    running_max: usize,
}

impl Directory {
    /// Starts one that knows these pairs of a DID and a collection. It has a list of its collections and no other.
    pub async fn start(pairs: impl IntoIterator<Item = (String, String)>) -> Directory {
        let inner = Inner {
            collections: BTreeMap::new(),
            counts: None,
            has_counts: true,
            list: None,
            limit: Limit::Caps(10_000),
            faults: HashMap::new(),
            next_faults: HashMap::new(),
            rate: None,
            window: (Instant::now(), 0),
            asked: Vec::new(),
            requests: HashMap::new(),
            refused: 0,
            lately: VecDeque::new(),
            per_second_max: 0,
            running: 0,
            running_max: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(inner), requests: watch::Sender::default() });
        let directory = Directory { server: serve(free_address(), &shared).await, shared };
        for (did, collection) in pairs {
            directory.add(&did, &collection);
        }
        directory
    }

    /// Goes away and comes back at the same address.
    pub async fn restart(self) -> Directory {
        let address = self.server.address();
        self.server.stop().await;
        Directory { server: serve(address, &self.shared).await, shared: self.shared }
    }

    /// Its base URL, as a source of an import.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Where `/llms.txt` is.
    pub fn list_url(&self) -> String {
        format!("{}/llms.txt", self.url())
    }

    /// An account has a collection.
    pub fn add(&self, did: &str, collection: &str) {
        self.lock().collections.entry(collection.to_owned()).or_default().insert(did.to_owned());
    }

    /// An account has a collection no more.
    pub fn remove(&self, did: &str, collection: &str) {
        self.lock().collections.entry(collection.to_owned()).or_default().remove(did);
    }

    /// All pairs of a DID and a collection.
    pub fn pairs(&self) -> BTreeSet<(String, String)> {
        let inner = self.lock();
        let pairs =
            inner.collections.iter().flat_map(|(name, dids)| dids.iter().map(|did| (did.clone(), name.clone())));
        pairs.collect()
    }

    /// Says these numbers in `/v1/listCollections`, true or not.
    pub fn set_counts(&self, counts: BTreeMap<String, u64>) {
        self.lock().counts = Some(counts);
    }

    /// Has no `/v1/listCollections` any more.
    pub fn hide_counts(&self) {
        self.lock().has_counts = false;
    }

    /// What `/llms.txt` is.
    pub fn set_list(&self, text: &str) {
        self.lock().list = Some(text.to_owned());
    }

    /// How many accounts a page has.
    pub fn set_limit(&self, limit: Limit) {
        self.lock().limit = limit;
    }

    /// How many requests are taken.
    pub fn set_rate(&self, rate: Option<Rate>) {
        let mut inner = self.lock();
        inner.rate = rate;
        inner.window = (Instant::now(), 0);
    }

    /// Misbehaves on a route, or no longer.
    pub fn set_fault(&self, route: Route, fault: Option<Fault>) {
        let mut inner = self.lock();
        match fault {
            Some(fault) => inner.faults.insert(route, fault),
            None => inner.faults.remove(&route),
        };
    }

    /// Misbehaves on the next `times` requests for a route.
    pub fn fail_next(&self, route: Route, times: usize, fault: Fault) {
        let faults = std::iter::repeat_n(fault, times);
        self.lock().next_faults.entry(route).or_default().extend(faults);
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        *self.shared.requests.borrow()
    }

    /// Requests for one route so far.
    pub fn requests_for(&self, route: Route) -> u64 {
        self.lock().requests.get(&route).copied().unwrap_or(0)
    }

    /// Waits until there were so many requests.
    pub async fn wait_for_requests(&self, requests: u64) {
        let reached = |now: &u64| *now >= requests;
        self.shared.requests.subscribe().wait_for(reached).await.expect("a directory that is there");
    }

    /// The requests for pages of accounts, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Requests that were more than [`Rate`] allows.
    pub fn refused(&self) -> u64 {
        self.lock().refused
    }

    /// The most requests that came within any second.
    pub fn per_second_max(&self) -> usize {
        self.lock().per_second_max
    }

    /// The most requests that were worked on at the same time.
    pub fn at_once_max(&self) -> usize {
        self.lock().running_max
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Counts a request; the headers of its answer, and whether it is one too many.
    fn count(&mut self, route: Route) -> (HeaderMap, bool) {
        let now = Instant::now();
        *self.requests.entry(route).or_default() += 1;
        self.lately.push_back(now);
        while self.lately.front().is_some_and(|time| now - *time >= Duration::from_secs(1)) {
            self.lately.pop_front();
        }
        self.per_second_max = self.per_second_max.max(self.lately.len());
        let Some(rate) = self.rate else { return (HeaderMap::new(), false) };
        if now - self.window.0 >= rate.window {
            self.window = (now, 0);
        }
        let is_refused = self.window.1 >= rate.requests;
        self.window.1 += u32::from(!is_refused);
        self.refused += u64::from(is_refused);
        let reset = rate.window.saturating_sub(now - self.window.0);
        let headers = if rate.is_told { rate.headers(rate.requests - self.window.1, reset) } else { HeaderMap::new() };
        (headers, is_refused)
    }

    fn fault(&mut self, route: Route) -> Option<Fault> {
        let next = self.next_faults.get_mut(&route).and_then(VecDeque::pop_front);
        next.or_else(|| self.faults.get(&route).cloned())
    }
}

impl Rate {
    /// As a PDS of Bluesky says it: the reset is a time, in seconds since 1970.
    fn headers(self, remaining: u32, reset: Duration) -> HeaderMap {
        let window = self.window.as_secs();
        let reset = jiff::Timestamp::now().as_second() + reset.as_secs_f64().ceil() as i64;
        let texts = [
            ("ratelimit-limit", self.requests.to_string()),
            ("ratelimit-remaining", remaining.to_string()),
            ("ratelimit-reset", reset.to_string()),
            ("ratelimit-policy", format!("{};w={window}", self.requests)),
        ];
        let header =
            |(name, text): (&'static str, String)| (HeaderName::from_static(name), text.parse().expect("digits"));
        texts.into_iter().map(header).collect()
    }
}

async fn serve(address: SocketAddr, shared: &Arc<Shared>) -> Server {
    let route = |route: Route| {
        get(move |State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery| async move {
            shared.lock().running += 1;
            let answer = answer(&shared, route, &query.unwrap_or_default()).await;
            shared.lock().running -= 1;
            answer
        })
    };
    let routes = Router::new()
        .route("/xrpc/com.atproto.sync.listReposByCollection", route(Route::Repos))
        .route("/v1/listCollections", route(Route::Collections))
        .route("/llms.txt", route(Route::List))
        .with_state(Arc::clone(shared));
    Server::start(address, |_| routes).await
}

async fn answer(shared: &Shared, route: Route, query: &str) -> Response {
    let query = Parameters::read(query);
    let ((headers, is_refused), fault, honest) = {
        let mut inner = shared.lock();
        inner.running_max = inner.running_max.max(inner.running);
        let counted = inner.count(route);
        let fault = inner.fault(route);
        let honest = match route {
            Route::Repos => repos(&mut inner, &query),
            Route::Collections => collections(&inner, &query),
            Route::List => match &inner.list {
                Some(text) => text.clone().into_response(),
                None => failure(StatusCode::NOT_FOUND, "NotFound"),
            },
        };
        (counted, fault, honest)
    };
    shared.requests.send_modify(|requests| *requests += 1);
    let mut answer = match fault {
        _ if is_refused => failure(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded"),
        Some(fault) => fault.answer(&query, honest).await,
        None => honest,
    };
    answer.headers_mut().extend(headers);
    answer
}

/// The parameters of a request, in order.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(crate) fn read(query: &str) -> Parameters {
        let url = reqwest::Url::parse(&format!("http://directory/?{query}")).expect("a URL");
        Parameters(url.query_pairs().into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn repos(inner: &mut Inner, query: &Parameters) -> Response {
    let collection = query.get("collection").unwrap_or_default().to_owned();
    let cursor = query.get("cursor").map(str::to_owned);
    let limit = query.get("limit").map_or(Some(LIMIT_DEFAULT), |limit| limit.parse().ok());
    let Some(limit) = limit else { return failure(StatusCode::BAD_REQUEST, "InvalidRequest") };
    inner.asked.push(Asked { collection: collection.clone(), limit, cursor: cursor.clone() });
    let limit = match inner.limit {
        Limit::Caps(max) => limit.min(max),
        Limit::Refuses(max) if limit > max => return failure(StatusCode::BAD_REQUEST, "InvalidRequest"),
        Limit::Refuses(_) => limit,
    };
    let dids = inner.collections.get(&collection);
    let is_after = |did: &&String| cursor.as_ref().is_none_or(|cursor| *did > cursor);
    let page: Vec<&String> = dids.into_iter().flatten().filter(is_after).take(limit).collect();
    let repos: Vec<_> = page.iter().map(|did| json!({ "did": did })).collect();
    match page.last().filter(|_| page.len() == limit) {
        Some(cursor) => Json(json!({ "repos": repos, "cursor": cursor })).into_response(),
        None => Json(json!({ "repos": repos })).into_response(),
    }
}

/// As indigo's collectiondir: all that comes after the cursor, whatever the limit, and then a cursor all the same.
fn collections(inner: &Inner, query: &Parameters) -> Response {
    if !inner.has_counts {
        return failure(StatusCode::NOT_FOUND, "NotFound");
    }
    let count = |(name, dids): (&String, &BTreeSet<String>)| (name.clone(), dids.len() as u64);
    let counts = inner.counts.clone().unwrap_or_else(|| inner.collections.iter().map(count).collect());
    let named: BTreeSet<&str> = query.all("c").collect();
    let cursor = query.get("cursor").unwrap_or_default();
    let is_wanted =
        |(name, _): &(String, u64)| named.contains(name.as_str()) || named.is_empty() && name.as_str() > cursor;
    let counts: BTreeMap<String, u64> = counts.into_iter().filter(is_wanted).collect();
    let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(COLLECTIONS_DEFAULT).clamp(50, 1000);
    let last = counts.keys().next_back().filter(|_| named.is_empty() && counts.len() >= limit).cloned();
    Json(json!({ "collections": counts, "cursor": last.unwrap_or_default() })).into_response()
}

fn failure(status: StatusCode, name: &str) -> Response {
    (status, Json(json!({ "error": name, "message": "simulated" }))).into_response()
}
