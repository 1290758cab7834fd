//! Memory for the answers of others: how much of them is read at once.
//!
//! Most answers are small, and a source may send megabytes all the same. So each begins with room for a small one. Whoever
//! finds that it is not waits for room for the largest that is allowed, which is kept apart: those who have it wait for
//! nobody, so that all come to their end.

use bytes::Bytes;
use reqwest::Response;

use crate::memory::{Piece, Share};
use crate::net::{ReadError, Reading};

/// What has room without waiting: a thousand accounts have about 60 KiB.
const SMALL_BYTES: usize = 128 << 10;
/// Small answers at once, whatever the share: those of the default concurrency of a job.
const SMALL_ANSWERS_MIN: usize = 4;
/// What an answer takes beside itself at most: the buffer in which it grows, and what is made of it.
const TIMES: usize = 3;
/// Large answers have this together, whatever the share; a larger one has it for itself alone.
const LARGE_BYTES_MIN: usize = 5 << 19;

/// Room for answers.
#[derive(Debug)]
pub(super) struct Answers {
    small: Share,
    large: Share,
    reading: Reading,
}

/// An answer, and its room for as long as it is looked at.
pub(super) struct Answer {
    pub(super) body: Bytes,
    _small: Piece,
    _large: Option<Piece>,
}

impl Answers {
    pub(super) fn new(bytes: usize) -> Answers {
        let small_min = SMALL_ANSWERS_MIN * TIMES * SMALL_BYTES;
        Answers {
            small: Share::new(bytes / 2, small_min),
            large: Share::new(bytes / 2, LARGE_BYTES_MIN),
            reading: Reading::default(),
        }
    }

    /// Room for an answer that is not there yet.
    pub(super) async fn room(&self) -> Piece {
        self.small.take(TIMES * SMALL_BYTES).await
    }

    /// Reads an answer of at most `bytes_max` into its room.
    pub(super) async fn read(
        &self,
        small: Piece,
        mut response: Response,
        bytes_max: usize,
    ) -> Result<Answer, ReadError> {
        let mut body = self.reading.begin();
        let mut large = None;
        let is_read = body.fill(&mut response, bytes_max.min(SMALL_BYTES)).await?;
        if !is_read && bytes_max > SMALL_BYTES {
            large = Some(self.large.take(TIMES * bytes_max).await);
        }
        if !is_read && !body.fill(&mut response, bytes_max).await? {
            return Err(ReadError::TooLong(bytes_max));
        }
        Ok(Answer { body: body.end(), _small: small, _large: large })
    }

    /// Gives them another share: half of it for small ones, half for large ones.
    pub(super) fn set_bytes(&self, bytes: usize) {
        self.small.set_bytes(bytes / 2);
        self.large.set_bytes(bytes / 2);
    }

    /// Bytes of answers that are being read.
    pub(super) fn bytes(&self) -> usize {
        self.reading.bytes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::Path;
    use axum::routing::get;
    use futures_util::future::join_all;
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers with as many bytes as its path says; its URL.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = Router::new().route("/{bytes}", get(async |Path(bytes): Path<usize>| vec![b'x'; bytes]));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    async fn ask(answers: &Answers, url: &str, bytes: usize, bytes_max: usize) -> Result<usize, ReadError> {
        let room = answers.room().await;
        let response = crate::net::client(true).unwrap().get(format!("{url}/{bytes}")).send().await.unwrap();
        answers.read(room, response, bytes_max).await.map(|answer| answer.body.len())
    }

    #[tokio::test]
    async fn an_answer_is_read_up_to_its_bound() {
        let (answers, url) = (Answers::new(0), server().await);
        for bytes in [0, 1, SMALL_BYTES, SMALL_BYTES + 1, 2_000_000] {
            assert_eq!(ask(&answers, &url, bytes, bytes).await.unwrap(), bytes);
            assert!(ask(&answers, &url, bytes + 1, bytes).await.is_err(), "{bytes} and one more");
        }
        assert_eq!((answers.bytes(), answers.small.used(), answers.large.used()), (0, 0, 0));
    }

    /// Forty sources send 3 MB each at once: all are read, and never many of them at the same time; the share becomes
    /// larger and smaller meanwhile.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_large_answers_stay_within_the_smallest_share() {
        let (answers, url) = (Arc::new(Answers::new(0)), server().await);
        let (most, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let watch = std::thread::spawn({
            let (answers, most, ends) = (Arc::clone(&answers), Arc::clone(&most), Arc::clone(&ends));
            move || {
                while !ends.load(Ordering::Acquire) {
                    most.fetch_max(answers.bytes(), Ordering::AcqRel);
                    answers.set_bytes((most.load(Ordering::Acquire) % 2) << 20);
                    std::thread::yield_now();
                }
            }
        });
        let read = join_all((0..40).map(|_| ask(&answers, &url, 3_000_000, 4 << 20))).await;
        ends.store(true, Ordering::Release);
        watch.join().unwrap();
        assert!(read.into_iter().all(|read| read.unwrap() == 3_000_000));
        let most = most.load(Ordering::Acquire);
        // Four begin; one of them at a time goes on, into a buffer that doubles.
        assert!(most > 0 && most <= 16 << 20, "{most} bytes at most");
    }
}
