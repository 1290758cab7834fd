//! A small API server for what the plugin asks: objects by path, Events to watch, a log, and a pod behind a port-forward.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt, StreamExt, stream};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// The fake API server.
#[derive(Clone, Default)]
pub struct Server(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// Answers to GET, by path: each once, the last one for ever.
    answers: BTreeMap<String, VecDeque<Value>>,
    /// Logs, by path.
    logs: BTreeMap<String, String>,
    /// What a watch tells.
    changes: Vec<Value>,
    /// What the pod's port answers, and the port.
    behind: Option<(u16, String)>,
    /// Changes asked of the API server, as `PATH BODY`, and requests of the pod.
    asked: Vec<String>,
}

impl Server {
    /// Starts it, and names its address.
    pub async fn start() -> (Self, String) {
        let server = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(handle).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, address)
    }

    /// The answers to GET of `path`, one after the other; `null` is 404.
    pub fn put<const N: usize>(&self, path: &str, answers: [Value; N]) {
        self.0.lock().unwrap().answers.insert(path.into(), answers.into());
    }

    /// The log at `path`.
    pub fn put_log(&self, path: &str, log: &str) {
        self.0.lock().unwrap().logs.insert(path.into(), log.into());
    }

    /// What a watch tells, and then nothing more.
    pub fn tell(&self, change: Value) {
        self.0.lock().unwrap().changes.push(change);
    }

    /// What port `port` of every pod answers, whatever it is asked: this status, and this body.
    pub fn put_behind(&self, port: u16, status: &str, body: &Value) {
        let body = body.to_string();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.0.lock().unwrap().behind = Some((port, answer));
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

async fn handle(State(server): State<Server>, mut request: Request) -> Response {
    let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
    if path.ends_with("/portforward") {
        let upgraded = hyper::upgrade::on(&mut request);
        let answer = switching(request.headers());
        tokio::spawn(async move { forward(server, TokioIo::new(upgraded.await.unwrap())).await });
        return answer;
    }
    let (method, body) = (request.method().clone(), request.into_body());
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut inner = server.0.lock().unwrap();
    if method == Method::PATCH {
        inner.asked.push(format!("{path} {}", String::from_utf8_lossy(&body)));
    } else if query.contains("watch=true") {
        let changes: Vec<_> =
            inner.changes.drain(..).map(|change| Ok::<_, Infallible>(format!("{change}\n"))).collect();
        return Body::from_stream(stream::iter(changes).chain(stream::pending())).into_response();
    } else if let Some(log) = inner.logs.get(&format!("{path}?{query}")) {
        return log.clone().into_response();
    }
    let answer = match inner.answers.get_mut(&path) {
        Some(answers) if answers.len() > 1 => answers.pop_front(),
        Some(answers) => answers.front().cloned(),
        None => None,
    };
    match answer {
        Some(answer) if !answer.is_null() => axum::Json(answer).into_response(),
        _ => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
                "message": format!("{path}?{query} not found"),
            });
            (StatusCode::NOT_FOUND, axum::Json(status)).into_response()
        }
    }
}

fn switching(headers: &HeaderMap) -> Response {
    let key = headers[header::SEC_WEBSOCKET_KEY].as_bytes();
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key))
        .header(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io")
        .body(Body::empty())
        .unwrap()
}

/// The kubelet's side of a port-forward: channel 0 has the bytes, channel 1 errors, and each begins with the port.
async fn forward(server: Server, upgraded: TokioIo<hyper::upgrade::Upgraded>) {
    let (port, answer) = server.0.lock().unwrap().behind.clone().unwrap();
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, None).await;
    let [low, high] = port.to_le_bytes();
    for channel in 0..2 {
        socket.send(Message::binary(vec![channel, low, high])).await.unwrap();
    }
    let mut head = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let bytes: Bytes = message.into_data();
        if bytes.first() == Some(&0) {
            head.extend_from_slice(&bytes[1..]);
        }
        if head.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8(std::mem::take(&mut head)).unwrap();
            server.0.lock().unwrap().asked.push(head.lines().collect::<Vec<_>>().join("|"));
            socket.send(Message::binary([&[0][..], answer.as_bytes()].concat())).await.unwrap();
        }
    }
}
