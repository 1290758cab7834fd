//! The kubectl plugin, as a program, against a small API server.
#![allow(clippy::unwrap_used)]

mod server;

use std::path::PathBuf;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use server::Server;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

const RELAYS: &str = "/apis/relay.waow.tech/v1alpha1/namespaces/relays/relays";
const ALL_RELAYS: &str = "/apis/relay.waow.tech/v1alpha1/relays";
const RELAY: &str = "/apis/relay.waow.tech/v1alpha1/namespaces/relays/relays/demo";
const POD: &str = "/api/v1/namespaces/relays/pods/demo-0";
const SECRET: &str = "/api/v1/namespaces/relays/secrets/demo-admin";
const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/relays/events";

/// A cluster with the Relay `demo`, and the plugin under the name by which kubectl finds it.
struct Story {
    server: Server,
    folder: TempDir,
}

impl Story {
    async fn begin() -> Self {
        let (server, address) = Server::start().await;
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": address}}],
            "users": [{"name": "me", "user": {}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "relays"}}],
        });
        std::fs::write(folder.path().join("config"), config.to_string()).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_relay-operator"), folder.path().join("kubectl-relay")).unwrap();
        server.put(RELAY, [relay("Bundled")]);
        server.put(
            SECRET,
            [json!({"metadata": {"name": "demo-admin"}, "data": {"token": "dG9rZW4gYWRhCm90aGVyIGJvYgo="}})],
        );
        Self { server, folder }
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(self.program());
        command.args(args.split_whitespace()).env("KUBECONFIG", self.folder.path().join("config"));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("kubectl-relay")
    }

    async fn run(&self, args: &str) -> Output {
        self.command(args).output().await.unwrap()
    }

    /// What a command says that does what it was asked for.
    async fn says(&self, args: &str) -> String {
        let output = self.run(args).await;
        assert!(output.status.success(), "{args}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that cannot do it.
    async fn fails(&self, args: &str) -> String {
        let output = self.run(args).await;
        assert!(!output.status.success(), "{args}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

fn relay(implementation: &str) -> Value {
    let condition = |type_: &str| {
        json!({
            "type": type_, "status": "True", "reason": "Delivering", "message": "The relay delivers.",
            "lastTransitionTime": "2026-11-28T09:00:00Z", "observedGeneration": 1,
        })
    };
    json!({
        "apiVersion": "relay.waow.tech/v1alpha1", "kind": "Relay",
        "metadata": {"name": "demo", "namespace": "relays", "uid": "u-1", "generation": 1, "resourceVersion": "1"},
        "spec": {"hostname": "relay.test", "implementation": implementation},
        "status": {
            "conditions": [condition("Ready"), condition("WorkloadReady")],
            "hosts": {"connected": 2, "total": 3}, "eventsPerSecond": 12.5, "endpoint": "ws://demo.relays.svc:3000",
        },
    })
}

fn list(kind: &str, version: &str, items: Value) -> Value {
    json!({"apiVersion": version, "kind": format!("{kind}List"), "metadata": {"resourceVersion": "1"}, "items": items})
}

fn event(name: &str, reason: &str, at: &str) -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event",
        "metadata": {"name": name, "namespace": "relays", "uid": name, "resourceVersion": name},
        "eventTime": at, "type": "Normal", "reason": reason, "note": "so it is",
        "regarding": {"kind": "Relay", "name": "demo", "namespace": "relays"},
    })
}

#[tokio::test]
async fn status_is_for_people_and_for_programs() {
    let story = Story::begin().await;
    let text = story.says("status demo").await;
    assert!(
        text.starts_with("relays/demo  Ready  The relay delivers.\n"),
        "without colours, since it is no terminal: {text}"
    );
    assert!(text.contains("2 of 3 connected"), "{text}");
    let document: Value = serde_json::from_str(&story.says("status demo -o json").await).unwrap();
    assert_eq!(document["status"], relay("Bundled")["status"]);
}

#[tokio::test]
async fn status_without_a_name_lists_a_namespace_or_all() {
    let story = Story::begin().await;
    story.server.put(RELAYS, [list("Relay", "relay.waow.tech/v1alpha1", json!([relay("Bundled")]))]);
    story
        .server
        .put(ALL_RELAYS, [list("Relay", "relay.waow.tech/v1alpha1", json!([relay("Bundled"), relay("Indigo")]))]);
    assert!(story.says("status").await.contains("\ndemo   True    Delivering   2/3     12.5"));
    assert_eq!(story.says("status -A").await.matches("relays/demo").count(), 2);
    let all: Value = serde_json::from_str(&story.says("status -A -o json").await).unwrap();
    assert_eq!(all[1]["implementation"], "Indigo");
    story.server.put(RELAYS, [list("Relay", "relay.waow.tech/v1alpha1", json!([]))]);
    assert_eq!(story.says("status").await, "There is no Relay in namespace relays.\n");
}

#[tokio::test]
async fn a_relay_that_is_not_there_is_an_error_that_helps() {
    let story = Story::begin().await;
    for command in ["status other", "hosts other", "events other", "drain other", "logs other"] {
        let error = story.fails(command).await;
        assert!(
            error.contains("no Relay other in the namespace relays; `kubectl relay status -A` lists all"),
            "{error}"
        );
    }
    assert!(story.fails("status ../secrets").await.contains("invalid value"), "no other path of the API");
    assert!(story.fails("status demo --context elsewhere").await.contains("elsewhere"));
}

#[tokio::test]
async fn hosts_are_asked_of_the_admin_api_with_its_token() {
    let story = Story::begin().await;
    let host = |name: &str, status: &str| json!({"host": name, "status": status, "connected": true, "accounts": 3});
    story.server.put_behind(3001, "200 OK", &json!([host("b.test", "active"), host("a.test", "offline")]));
    let text = story.says("hosts demo").await;
    assert!(text.contains("\na.test   offline   3"), "{text}");
    assert!(text.ends_with("2 hosts: 1 active, 1 offline.\n"), "{text}");
    let asked = story.server.asked();
    assert!(asked[0].starts_with("GET /admin/pds/list HTTP/1.1|"), "{asked:?}");
    assert!(asked[0].contains("|authorization: Bearer token|"), "the first token of the Secret: {asked:?}");
    let document: Value = serde_json::from_str(&story.says("hosts demo --state active -o json").await).unwrap();
    assert_eq!((&document["total"], &document["hosts"][0]["host"]), (&json!(2), &json!("b.test")));
}

#[tokio::test]
async fn indigo_is_asked_in_its_own_way() {
    let story = Story::begin().await;
    story.server.put(RELAY, [relay("Indigo")]);
    story.server.put(SECRET, [json!({"metadata": {"name": "demo-admin"}, "data": {"token": "dG9rZW4="}})]);
    let host = json!({
        "ID": 1, "CreatedAt": "2026-11-28T10:00:00Z", "Host": "pds.test", "SSL": true, "Cursor": 5, "Registered": true,
        "Blocked": false, "CrawlRateLimit": 0.0, "RepoCount": 5, "RepoLimit": 100, "HasActiveConnection": true,
        "EventsSeenSinceStartup": 9, "UserCount": 5,
    });
    story.server.put_behind(2470, "200 OK", &json!([host]));
    let text = story.says("hosts demo").await;
    assert!(text.contains("\npds.test   active   5/100"), "{text}");
    assert!(story.server.asked()[0].contains("|authorization: Basic YWRtaW46dG9rZW4="), "admin:token");
    story.server.put(RELAY, [relay("Zlay")]);
    assert!(story.fails("hosts demo").await.contains("Zlay has no list of hosts"));
}

#[tokio::test]
async fn a_token_that_is_refused_or_missing_is_said_and_never_shown() {
    let story = Story::begin().await;
    story.server.put_behind(3001, "401 Unauthorized", &json!({}));
    let error = story.fails("hosts demo").await;
    assert!(error.contains("the relay refuses the admin token of its Secret"), "{error}");
    story.server.put(SECRET, [json!({"metadata": {"name": "demo-admin"}, "data": {"other": "dG9rZW4="}})]);
    let error = story.fails("hosts demo").await;
    assert!(error.contains("the Secret demo-admin has no text at the key token"), "{error}");
    story.server.put(SECRET, [Value::Null]);
    assert!(story.fails("hosts demo").await.contains("the admin token in the Secret demo-admin cannot be read"));
}

#[tokio::test]
async fn events_are_listed_and_followed() {
    let story = Story::begin().await;
    let (first, second) =
        (event("1", "NoHosts", "2026-11-28T10:00:00.000000Z"), event("2", "Delivering", "2026-11-28T10:01:00.000000Z"));
    story.server.put(EVENTS, [list("Event", "events.k8s.io/v1", json!([second, first]))]);
    let text = story.says("events demo").await;
    assert!(text.find("NoHosts").unwrap() < text.find("Delivering").unwrap(), "{text}");

    story.server.tell(json!({"type": "ADDED", "object": event("3", "OOMKilled", "2026-11-28T10:02:00.000000Z")}));
    let mut child = story.command("events demo --follow -o json").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut reasons = Vec::new();
    while reasons.len() < 3 {
        let line = lines.next_line().await.unwrap().unwrap();
        reasons.push(serde_json::from_str::<Value>(&line).unwrap()["reason"].as_str().unwrap().to_owned());
    }
    assert_eq!(reasons, ["NoHosts", "Delivering", "OOMKilled"]);
    child.kill().await.unwrap();
}

#[tokio::test]
async fn drain_asks_by_an_annotation_and_waits_for_the_new_pod() {
    let story = Story::begin().await;
    let pod = |uid: &str, ready: &str| json!({"metadata": {"name": "demo-0", "uid": uid}, "status": {"conditions": [{"type": "Ready", "status": ready}]}});
    let mut going = pod("old", "False");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
    story.server.put(
        POD,
        [pod("old", "True"), pod("old", "True"), going, Value::Null, pod("new", "False"), pod("new", "True")],
    );
    let text = story.says("drain demo --wait").await;
    let told: Vec<_> = text.lines().map(|line| line.split_once("Z  ").unwrap().1).collect();
    assert_eq!(
        told,
        [
            "A restart of relays/demo is asked for.",
            "The operator has not evicted the pod yet.",
            "The relay drains: it stores what it has, and tells its consumers.",
            "The old pod is gone, the new one is not there yet.",
            "The new pod starts.",
            "The relay has restarted, and its new pod is ready.",
        ]
    );
    let asked = story.server.asked();
    let (path, body) = asked[0].split_once(' ').unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((asked.len(), path), (1, RELAY), "asked for once");
    assert!(body["metadata"]["annotations"]["relay.waow.tech/restart-requested-at"].is_string(), "{body}");
}

#[tokio::test]
async fn drain_says_what_is_in_its_way() {
    let story = Story::begin().await;
    story.server.put(POD, [Value::Null]);
    assert!(story.fails("drain demo").await.contains("there is no pod demo-0 to restart"));
    let mut paused = relay("Bundled");
    paused["spec"]["paused"] = json!(true);
    story.server.put(RELAY, [paused]);
    assert!(story.fails("drain demo").await.contains("spec.paused is true"));
    assert_eq!(story.server.asked(), Vec::<String>::new(), "nothing is asked for in vain");

    story.server.put(RELAY, [relay("Bundled")]);
    story.server.put(POD, [json!({"metadata": {"name": "demo-0", "uid": "old"}})]);
    let error = story.fails("drain demo --wait --timeout 0").await;
    assert!(error.contains("the restart is not over after 0 s; it goes on"), "{error}");
}

#[tokio::test]
async fn logs_are_readable_or_as_they_are() {
    let story = Story::begin().await;
    let line = r#"{"time":"2026-11-28T10:00:00Z","level":"info","msg":"listening","port":3000}"#;
    story.server.put_log(&format!("{POD}/log?&container=relay"), &format!("{line}\nplain\n"));
    assert_eq!(story.says("logs demo").await, "2026-11-28 10:00:00Z  INFO   listening  port=3000\nplain\n");
    assert_eq!(story.says("logs demo -o json").await, format!("{line}\nplain\n"));
    story.server.put_log(&format!("{POD}/log?&container=collections&previous=true&tailLines=1"), "before\n");
    assert_eq!(story.says("logs demo --previous --tail 1 -c collections").await, "before\n");
    assert!(story.fails("logs demo --since 5").await.contains("the log of the pod demo-0 cannot be read"));
}

#[tokio::test]
async fn the_operator_has_the_same_commands_under_its_own_name() {
    let story = Story::begin().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay-operator"));
    let output = command.args(["status", "demo"]).env("KUBECONFIG", story.folder.path().join("config")).output().await;
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), story.says("status demo").await);
    assert!(story.says("--help").await.contains("Usage: kubectl relay <COMMAND>"));
}
