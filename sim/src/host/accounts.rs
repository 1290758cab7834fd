//! What a host says of its accounts, and how it misbehaves when it is asked.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Host, Shared};
use crate::directory::{Fault, Parameters};
use crate::event::Commit;

/// Accounts of a page that is asked for without a limit, and the most that one has.
const PAGE_DEFAULT: usize = 500;
const PAGE_MAX: usize = 1000;

/// What a host can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Question {
    /// `com.atproto.sync.listRepos`.
    Accounts,
    /// `com.atproto.repo.describeRepo`.
    Collections,
    /// `com.atproto.sync.getRepoStatus`.
    Status,
}

/// The accounts of a host.
#[derive(Default)]
pub(super) struct Accounts {
    repos: BTreeMap<String, Repo>,
    /// What `getRepoStatus` says of an account; of others it says that there is none.
    statuses: BTreeMap<String, Value>,
    page_max: Option<usize>,
    faults: HashMap<Question, Fault>,
    next_faults: HashMap<Question, VecDeque<Fault>>,
    faults_for: HashMap<String, Fault>,
    /// Every so many questions, one is answered with 500.
    fails_every: Option<u64>,
    questions: HashMap<Question, u64>,
    /// The accounts that `describeRepo` was asked for, in order.
    described: Vec<String>,
}

/// An account of a host.
#[derive(Default)]
struct Repo {
    rev: String,
    head: String,
    collections: BTreeSet<String>,
    /// Why it is not active.
    status: Option<String>,
}

impl Host {
    /// Has an account with these collections that is active, or why it is not; without any event.
    pub fn set_account(&self, did: &str, collections: &[&str], status: Option<&str>) {
        let mut state = self.shared.lock();
        let repo = state.accounts.repos.entry(did.to_owned()).or_default();
        repo.collections = collections.iter().map(|name| (*name).to_owned()).collect();
        repo.status = status.map(str::to_owned);
        state.accounts.statuses.insert(did.to_owned(), status_json(did, status));
    }

    /// Does not have an account any more.
    pub fn remove_account(&self, did: &str) {
        let mut state = self.shared.lock();
        state.accounts.repos.remove(did);
        state.accounts.statuses.remove(did);
    }

    /// Says of an account, when asked for its status alone, that it is active, or why it is not.
    pub fn set_repo_status(&self, did: &str, status: Option<&str>) {
        self.shared.lock().accounts.statuses.insert(did.to_owned(), status_json(did, status));
    }

    /// Has no more accounts than that on a page.
    pub fn set_page_max(&self, accounts: usize) {
        self.shared.lock().accounts.page_max = Some(accounts);
    }

    /// Misbehaves when asked something, or no longer.
    pub fn set_fault(&self, question: Question, fault: Option<Fault>) {
        let mut state = self.shared.lock();
        match fault {
            Some(fault) => state.accounts.faults.insert(question, fault),
            None => state.accounts.faults.remove(&question),
        };
    }

    /// Misbehaves the next `times` that it is asked something.
    pub fn fail_next(&self, question: Question, times: usize, fault: Fault) {
        let faults = std::iter::repeat_n(fault, times);
        self.shared.lock().accounts.next_faults.entry(question).or_default().extend(faults);
    }

    /// Misbehaves when `describeRepo` asks for one account, or no longer.
    pub fn set_fault_for(&self, did: &str, fault: Option<Fault>) {
        let mut state = self.shared.lock();
        match fault {
            Some(fault) => state.accounts.faults_for.insert(did.to_owned(), fault),
            None => state.accounts.faults_for.remove(did),
        };
    }

    /// Answers every so many questions one with 500.
    pub fn fail_every(&self, questions: u64) {
        self.shared.lock().accounts.fails_every = Some(questions);
    }

    /// How often it was asked something.
    pub fn questions(&self, question: Question) -> u64 {
        self.shared.lock().accounts.questions.get(&question).copied().unwrap_or(0)
    }

    /// The accounts that `describeRepo` was asked for, in order.
    pub fn described(&self) -> Vec<String> {
        self.shared.lock().accounts.described.clone()
    }

    /// How often it was asked for the status of an account.
    pub fn status_requests(&self) -> u64 {
        self.questions(Question::Status)
    }
}

impl Accounts {
    /// Takes note of what a commit changes.
    pub(super) fn note(&mut self, commit: &Commit) {
        let repo = self.repos.entry(commit.did.clone()).or_default();
        repo.rev = commit.rev.clone();
        repo.head = commit.root.to_string();
        repo.collections.extend(commit.ops.iter().filter_map(|op| Some(op.path.split_once('/')?.0.to_owned())));
    }

    fn answer(&mut self, question: Question, query: &Parameters) -> (Option<Fault>, Response) {
        *self.questions.entry(question).or_default() += 1;
        let did = query.get("repo").or_else(|| query.get("did")).unwrap_or_default();
        let honest = match question {
            Question::Accounts => self.page(query),
            Question::Collections => {
                self.described.push(did.to_owned());
                self.description(did)
            }
            Question::Status => self.status(did),
        };
        (self.fault(question, did), honest)
    }

    fn fault(&mut self, question: Question, did: &str) -> Option<Fault> {
        let asked: u64 = self.questions.values().sum();
        if self.fails_every.is_some_and(|every| asked.is_multiple_of(every)) {
            return Some(Fault::Status(500));
        }
        let next = self.next_faults.get_mut(&question).and_then(VecDeque::pop_front);
        let of_account = || self.faults_for.get(did).filter(|_| question == Question::Collections).cloned();
        next.or_else(of_account).or_else(|| self.faults.get(&question).cloned())
    }

    /// The accounts in the order of their DIDs, of which one is the cursor.
    fn page(&self, query: &Parameters) -> Response {
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(PAGE_DEFAULT);
        let limit = limit.min(self.page_max.unwrap_or(PAGE_MAX));
        let after = query.get("cursor").map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<(&String, &Repo)> = self.repos.range::<str, _>((after, Bound::Unbounded)).take(limit).collect();
        let repos = page.iter().map(|(did, Repo { rev, head, status, .. })| {
            let mut repo = status_json(did, status.as_deref());
            (repo["head"], repo["rev"]) = (json!(head), json!(rev));
            repo
        });
        let mut answer = json!({ "repos": repos.collect::<Vec<_>>() });
        if let Some((did, _)) = page.last() {
            answer["cursor"] = json!(did);
        }
        Json(answer).into_response()
    }

    /// As the reference PDS says it.
    fn description(&self, did: &str) -> Response {
        match self.repos.get(did).map(|repo| (repo, repo.status.as_deref())) {
            None => error("RepoNotFound"),
            Some((_, Some("takendown"))) => error("RepoTakendown"),
            Some((_, Some("suspended"))) => error("RepoSuspended"),
            Some((_, Some(_))) => error("RepoDeactivated"),
            Some((repo, None)) => Json(json!({ "did": did, "collections": repo.collections })).into_response(),
        }
    }

    fn status(&self, did: &str) -> Response {
        match self.statuses.get(did) {
            Some(status) => Json(status).into_response(),
            None => error("RepoNotFound"),
        }
    }
}

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/xrpc/com.atproto.sync.listRepos", ask(Question::Accounts))
        .route("/xrpc/com.atproto.repo.describeRepo", ask(Question::Collections))
        .route("/xrpc/com.atproto.sync.getRepoStatus", ask(Question::Status))
}

fn ask(question: Question) -> MethodRouter<Arc<Shared>> {
    get(move |State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery| async move {
        let query = Parameters::read(&query.unwrap_or_default());
        let (fault, honest) = shared.lock().accounts.answer(question, &query);
        match fault {
            Some(fault) => fault.answer(&query, honest).await,
            None => honest,
        }
    })
}

fn status_json(did: &str, status: Option<&str>) -> Value {
    let mut answer = json!({ "did": did, "active": status.is_none() });
    if let Some(status) = status {
        answer["status"] = status.into();
    }
    answer
}

fn error(name: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": name }))).into_response()
}
