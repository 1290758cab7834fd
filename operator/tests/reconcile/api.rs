//! A small API server: it keeps objects by path, applies as far as the operator needs it, remembers every write, and allows
//! what the chart's rules allow.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use kube::Client;
use kube::core::DynamicObject;
use kube::runtime::reflector::{Store, store::Writer};
use kube::runtime::watcher::Event;
use relay_operator::relay::{Cache, GonePods, OptionalKind, OptionalKinds};
use relay_operator::requests::Asked;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::rules;

/// The fake API server.
#[derive(Clone, Default)]
pub struct Api(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Value>,
    refusal: Option<&'static str>,
    /// A field of the status that the definition of the kind Relay does not declare.
    undeclared: Option<&'static str>,
    gone_pods: GonePods,
    writes: Vec<String>,
    has_controllers: bool,
    installed: Vec<OptionalKind>,
    asked: Vec<Asked>,
}

impl Api {
    /// Starts the server, a client of it, and one that tries nothing twice.
    pub async fn start() -> (Self, Client, Client) {
        let api = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let mut config = kube::Config::new(url.parse().unwrap());
        let client = Client::try_from(config.clone()).unwrap();
        config.default_retry = false;
        (api, client, Client::try_from(config).unwrap())
    }

    /// Puts an object there behind the operator's back, or with `null` takes it away. The watch of pods sees those that go.
    pub fn put(&self, path: &str, object: Value) {
        let mut inner = self.0.lock().unwrap();
        if !object.is_null() {
            inner.objects.insert(path.into(), object);
        } else if let Some(gone) = inner.objects.remove(path)
            && path.contains("/pods/")
        {
            inner.gone_pods.remember(serde_json::from_value(gone).unwrap());
        }
    }

    /// From now on the definition of the kind Relay lacks this field of the status.
    pub fn forget(&self, field: Option<&'static str>) {
        self.0.lock().unwrap().undeclared = field;
    }

    /// From now on resizes of pods and claims, and evictions, are refused with this message, or taken.
    pub fn refuse(&self, message: Option<&'static str>) {
        self.0.lock().unwrap().refusal = message;
    }

    /// From now on the controller of StatefulSets does its part: it notes the revisions of their templates.
    pub fn run_controllers(&self) {
        self.0.lock().unwrap().has_controllers = true;
    }

    /// Paths of the objects whose path has `part` in it.
    pub fn paths(&self, part: &str) -> Vec<String> {
        self.0.lock().unwrap().objects.keys().filter(|path| path.contains(part)).cloned().collect()
    }

    /// The object at `path`, or `null`.
    pub fn get(&self, path: &str) -> Value {
        self.0.lock().unwrap().objects.get(path).cloned().unwrap_or_default()
    }

    /// The writes since the last call, as `VERB PATH`, without Events.
    pub fn writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.0.lock().unwrap().writes);
        writes.into_iter().filter(|write| !write.contains("/events")).collect()
    }

    /// The names of what was read of `resource` since the last call.
    pub fn read(&self, resource: &str) -> Vec<String> {
        let asked = std::mem::take(&mut self.0.lock().unwrap().asked);
        let read = asked.into_iter().filter(|asked| asked.verb == "get" && asked.resource == resource);
        read.filter_map(|asked| asked.name).collect()
    }

    /// The Events so far, as `REASON: NOTE`.
    pub fn events(&self) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        let events = inner.objects.iter().filter(|(path, _)| path.contains("/events/"));
        let told =
            |event: &Value| format!("{}: {}", event["reason"].as_str().unwrap(), event["note"].as_str().unwrap());
        events.map(|(_, event)| told(event)).collect()
    }

    /// What the operator's watches would have seen by now.
    pub fn cache(&self) -> Cache {
        let gone_pods = self.0.lock().unwrap().gone_pods.clone();
        Cache {
            service_accounts: self.store("/serviceaccounts/"),
            config_maps: self.store("/configmaps/"),
            services: self.store("/services/"),
            stateful_sets: self.store("/statefulsets/"),
            ingresses: self.store("/ingresses/"),
            network_policies: self.store("/networkpolicies/"),
            disruption_budgets: self.store("/poddisruptionbudgets/"),
            claims: self.store("/persistentvolumeclaims/"),
            pods: self.store("/pods/"),
            gone_pods,
            optional: self.optional(),
        }
    }

    /// From now on the cluster knows `kind`.
    pub fn install(&self, kind: OptionalKind) {
        self.0.lock().unwrap().installed.push(kind);
    }

    fn optional(&self) -> OptionalKinds {
        let kinds = OptionalKinds::default();
        let inner = self.0.lock().unwrap();
        for kind in &inner.installed {
            let resource = kind.resource();
            let mut writer = Writer::<DynamicObject>::new(resource.clone());
            writer.apply_watcher_event(&Event::Init);
            let path = format!("/{}/namespaces/relays/{}/", resource.api_version, resource.plural);
            for (_, object) in inner.objects.iter().filter(|(at, _)| at.contains(&path)) {
                writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object.clone()).unwrap()));
            }
            writer.apply_watcher_event(&Event::InitDone);
            kinds.set(*kind, Some(writer.as_reader()));
        }
        kinds
    }

    fn store<K>(&self, kind: &str) -> Store<K>
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Clone + 'static,
    {
        let mut writer = Writer::<K>::new(());
        writer.apply_watcher_event(&Event::Init);
        for (path, object) in &self.0.lock().unwrap().objects {
            if path.contains(kind) && object["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "relay-operator" {
                writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object.clone()).unwrap()));
            }
        }
        writer.apply_watcher_event(&Event::InitDone);
        writer.as_reader()
    }
}

/// Media type of a JSON merge patch.
const MERGE_PATCH: &str = "application/merge-patch+json";

async fn handle(State(api): State<Api>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut inner = api.0.lock().unwrap();
    let asked = Asked::of(&method, &uri);
    if !rules::allow(&asked) {
        eprintln!("charts/relay-operator/templates/rbac.yaml does not allow {asked:?}");
        return failure(StatusCode::FORBIDDEN, "Forbidden");
    }
    inner.asked.push(asked);
    let path = uri.path().to_owned();
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if method != Method::GET {
        let policy = if body["propagationPolicy"] == "Orphan" { " Orphan" } else { "" };
        inner.writes.push(format!("{method} {path}{policy}"));
    }
    match method {
        Method::GET => match inner.objects.get(&path) {
            Some(object) => axum::Json(object.clone()).into_response(),
            None => failure(StatusCode::NOT_FOUND, "NotFound"),
        },
        Method::POST if path.ends_with("/eviction") => match inner.refusal {
            Some(message) => failure(StatusCode::TOO_MANY_REQUESTS, message),
            None => {
                let path = path.trim_end_matches("/eviction").to_owned();
                let mut pod = inner.objects.get(&path).cloned().unwrap_or_default();
                if body["deleteOptions"]["preconditions"]["uid"] != pod["metadata"]["uid"] {
                    return failure(StatusCode::CONFLICT, "Conflict");
                }
                pod["metadata"]["deletionTimestamp"] = json!("2026-11-28T10:00:00Z");
                pod["status"]["conditions"] = json!([
                    {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"},
                ]);
                inner.store(path, pod);
                axum::Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201}))
                    .into_response()
            }
        },
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{path}/{name}");
            if inner.objects.contains_key(&path) {
                return failure(StatusCode::CONFLICT, "AlreadyExists");
            }
            inner.store(path, body)
        }
        Method::PATCH if path.ends_with("/resize") => match inner.refusal {
            Some(message) => failure(StatusCode::UNPROCESSABLE_ENTITY, message),
            None => {
                let path = path.trim_end_matches("/resize").to_owned();
                let mut pod = inner.objects.get(&path).cloned().unwrap_or_default();
                pod["spec"]["containers"][0]["resources"] = body["spec"]["containers"][0]["resources"].clone();
                inner.store(path, pod)
            }
        },
        Method::PATCH if path.contains("/persistentvolumeclaims/") => {
            if let Some(message) = inner.refusal.filter(|_| body["spec"].is_object()) {
                return failure(StatusCode::FORBIDDEN, message);
            }
            let claim = inner.objects.get(&path).cloned().unwrap_or_default();
            inner.store(path, merged(claim, &body))
        }
        Method::PATCH => match path.strip_suffix("/status") {
            Some(path) if content_type == MERGE_PATCH => {
                let object = inner.objects.get(path).cloned().unwrap_or_default();
                inner.store(path.to_owned(), merged(object, &body))
            }
            Some(path) => {
                if let Some(field) = inner.undeclared.filter(|field| body["status"].get(field).is_some()) {
                    let text =
                        format!("failed to create typed patch object: .status.{field}: field not declared in schema");
                    return failure(StatusCode::INTERNAL_SERVER_ERROR, &text);
                }
                let mut object = inner.objects.get(path).cloned().unwrap_or_default();
                object["status"] = body["status"].clone();
                inner.store(path.to_owned(), object)
            }
            None => {
                let before = inner.objects.get(&path).cloned().unwrap_or_default();
                let object = match content_type {
                    "application/json-patch+json" => replaced(before.clone(), &body),
                    _ => applied(&before, body),
                };
                inner.store_controlled(path, &before, object)
            }
        },
        Method::DELETE => {
            let uid = &body["preconditions"]["uid"];
            if !uid.is_null() && inner.objects.get(&path).is_some_and(|object| object["metadata"]["uid"] != *uid) {
                return failure(StatusCode::CONFLICT, "Conflict");
            }
            inner.objects.remove(&path);
            axum::Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "code": 200})).into_response()
        }
        _ => failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

impl Inner {
    fn store(&mut self, path: String, object: Value) -> Response {
        self.objects.insert(path, object.clone());
        axum::Json(object).into_response()
    }
}

impl Inner {
    /// Stores a StatefulSet, and what its controller does of it: a revision of its template, and its status.
    fn store_controlled(&mut self, path: String, before: &Value, mut object: Value) -> Response {
        if self.has_controllers && object["kind"] == "StatefulSet" {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(0);
            let generation = generation + i64::from(object["spec"] != before["spec"]);
            object["metadata"]["generation"] = json!(generation);
            let template = object["spec"]["template"].clone();
            let mut hasher = DefaultHasher::new();
            template.to_string().hash(&mut hasher);
            let name = format!("demo-{:x}", hasher.finish());
            object["status"] = json!({"replicas": 1, "observedGeneration": generation, "updateRevision": name, "currentRevision": "demo-1"});
            let mut kept = template;
            kept["$patch"] = json!("replace");
            let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": object["metadata"]["uid"]});
            let revision = json!({
                "apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1,
                "metadata": {"name": name, "namespace": "relays", "ownerReferences": [owner]},
                "data": {"spec": {"template": kept}},
            });
            self.objects.insert(format!("/apis/apps/v1/namespaces/relays/controllerrevisions/{name}"), revision);
        }
        self.store(path, object)
    }
}

/// `object` after a JSON merge patch.
fn merged(mut object: Value, patch: &Value) -> Value {
    let Some(fields) = patch.as_object() else { return patch.clone() };
    if !object.is_object() {
        object = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            let field = object[name].take();
            object[name] = merged(field, value);
        }
    }
    object
}

/// `object` after a JSON patch of fields that are added or replaced.
fn replaced(mut object: Value, patch: &Value) -> Value {
    for operation in patch.as_array().unwrap() {
        let (parent, name) = operation["path"].as_str().unwrap().rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = operation["value"].clone();
    }
    object
}

/// The object after an apply: what was applied, what the server gave it before, and defaults.
fn applied(before: &Value, mut object: Value) -> Value {
    object["metadata"]["uid"] = json!("made-by-the-server");
    object["status"] = before["status"].clone();
    if object["kind"] == "Service" {
        object["spec"]["clusterIP"] = json!("10.96.0.7");
        object["spec"]["sessionAffinity"] = json!("None");
    }
    if object["kind"] == "StatefulSet" {
        object["metadata"]["generation"] = json!(1);
        object["spec"]["revisionHistoryLimit"] = json!(10);
    }
    object
}

fn failure(code: StatusCode, reason: &str) -> Response {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    (code, axum::Json(status)).into_response()
}
