//! HTTP to a port of a pod, through the API server: it needs no route to the pod, and opens no port here.

use std::time::Duration;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

/// Largest answer: some thousands of hosts of 1 KB each.
const MAX_BYTES: usize = 64 << 20;
/// Time for all of it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The answer to `GET path` at `port` of the pod, with this `Authorization`.
pub async fn get(pods: &Api<Pod>, pod: &str, port: u16, path: &str, authorization: &str) -> anyhow::Result<Bytes> {
    let answer = tokio::time::timeout(TIMEOUT, ask(pods, pod, port, path, authorization));
    answer.await.with_context(|| format!("the pod {pod} did not answer within {} s", TIMEOUT.as_secs()))?
}

async fn ask(pods: &Api<Pod>, pod: &str, port: u16, path: &str, authorization: &str) -> anyhow::Result<Bytes> {
    let forwarded = pods.portforward(pod, &[port]).await;
    let mut forwarder = forwarded.with_context(|| format!("port {port} of the pod {pod} cannot be reached"))?;
    let error = forwarder.take_error(port);
    let stream = forwarder.take_stream(port).context("the API server has forwarded another port")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, authorization)
        .body(Empty::<Bytes>::new())?;
    let response = match sender.send_request(request).await {
        Ok(response) => response,
        Err(failure) => {
            // What the kubelet says of the port tells more: that nobody listens there.
            let said = match error {
                Some(error) => tokio::time::timeout(Duration::from_secs(1), error).await.ok().flatten(),
                None => None,
            };
            bail!("the admin API of the pod {pod} does not answer: {}", said.unwrap_or_else(|| failure.to_string()));
        }
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
    connection.abort();
    forwarder.abort();
    let body = body.map_err(|error| anyhow::anyhow!("the answer of the pod {pod} cannot be read: {error}"))?.to_bytes();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            bail!("the relay refuses the admin token of its Secret; restart the pod if the Secret was changed")
        }
        status => bail!("the relay answers {path} with HTTP status {status}"),
    }
}
