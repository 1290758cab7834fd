//! The Lease by which one of several operators works and the others wait.
//!
//! As Kubernetes' own controllers do it: every write carries the version that was read, so of two that reach for the Lease
//! one gets it; and a Lease has run out when it has not changed for its duration by the watcher's own clock, so clocks of
//! two machines are never compared. The holder gives up well before others may take over.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use tokio::time::{Instant, sleep, timeout};

/// Which Lease, for whom, and for how long.
#[derive(Clone)]
pub struct Options {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Who asks for it: the same name after a restart of the same container, and nobody else's.
    pub identity: String,
    /// How long it is held without being renewed.
    pub duration: Duration,
}

impl Options {
    /// Time between two renewals.
    fn renew_every(&self) -> Duration {
        self.duration / 4
    }

    /// Time without a renewal after which the holder works no more. The rest of the duration is for what is under way.
    fn give_up_after(&self) -> Duration {
        self.duration * 3 / 4
    }

    /// Time between two looks of those that wait, and the time of one try.
    fn try_every(&self) -> Duration {
        self.duration / 6
    }

    /// Time between two tries to renew.
    fn pause(&self) -> Duration {
        self.duration / 24
    }

    /// How long what is under way may take after the lease was lost.
    #[must_use]
    pub fn last_words(&self) -> Duration {
        self.duration / 5
    }
}

/// Why an operator that held the lease holds it no more.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Lost {
    /// Somebody else has it.
    #[error("the lease is held by {0:?} now")]
    Taken(String),
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time: {0}")]
    NotRenewed(String),
}

/// How a Lease looks to who wants it.
#[derive(Debug, PartialEq)]
enum Standing {
    /// Nobody has it, or who wants it has it already.
    Free,
    /// This one has it, for so long unless it renews.
    Held(String, Duration),
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// `lease` has looked so for the time `unchanged`.
fn standing(lease: Option<&Lease>, identity: &str, unchanged: Duration) -> Standing {
    let Some((lease, holder)) = lease.and_then(|lease| Some((lease, holder(lease)?))) else { return Standing::Free };
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    let left = Duration::from_secs(seconds.max(0).unsigned_abs().into()).saturating_sub(unchanged);
    if holder == identity || left.is_zero() { Standing::Free } else { Standing::Held(holder.to_owned(), left) }
}

/// The lease, held by this operator.
pub struct Held {
    api: Api<Lease>,
    options: Options,
    lease: Lease,
    renewed: Instant,
}

/// Waits until the lease is this operator's. `waits` is told who has it meanwhile, whenever that changes.
///
/// `client` should try nothing twice: when is decided here.
pub async fn acquire(client: Client, options: Options, mut waits: impl FnMut(&str)) -> Held {
    let api = Api::<Lease>::namespaced(client, &options.namespace);
    let mut seen: Option<(Lease, Instant)> = None;
    let mut told = String::new();
    loop {
        let asked = Instant::now();
        match in_time(&options, api.get_opt(&options.name)).await {
            Ok(lease) => {
                let unchanged = match (&lease, &seen) {
                    (Some(lease), Some((old, since))) if old.resource_version() == lease.resource_version() => *since,
                    _ => asked,
                };
                match standing(lease.as_ref(), &options.identity, unchanged.elapsed()) {
                    Standing::Free => match take(&api, &options, lease.clone()).await {
                        Ok(lease) => return Held { api, options, lease, renewed: asked },
                        Err(Failure::Conflict) => tracing::info!("somebody else was faster with the lease"),
                        Err(Failure::Other(error)) => tracing::warn!(error, "the lease cannot be taken"),
                    },
                    Standing::Held(holder, _) if holder != told => {
                        waits(&holder);
                        told = holder;
                    }
                    Standing::Held(..) => {}
                }
                seen = lease.map(|lease| (lease, unchanged));
            }
            Err(failure) => tracing::warn!(error = failure.to_string(), "the lease cannot be read"),
        }
        sleep(options.try_every()).await;
    }
}

impl Held {
    /// Renews the lease until it is lost, and says why it was.
    pub async fn hold(&mut self) -> Lost {
        loop {
            sleep(self.options.renew_every()).await;
            let mut why = String::from("the time has passed without a try");
            loop {
                let left = self.options.give_up_after().saturating_sub(self.renewed.elapsed());
                if left.is_zero() {
                    return Lost::NotRenewed(why);
                }
                let asked = Instant::now();
                match timeout(left, self.renew()).await {
                    Ok(Ok(lease)) => {
                        self.lease = lease;
                        self.renewed = asked;
                        break;
                    }
                    Ok(Err(Renewal::Lost(lost))) => return lost,
                    Ok(Err(Renewal::Failed(error))) => why = error,
                    Err(_) => why = NO_ANSWER.into(),
                }
                tracing::warn!(error = why, "the lease cannot be renewed");
                sleep(self.options.pause()).await;
            }
        }
    }

    async fn renew(&self) -> Result<Lease, Renewal> {
        match take(&self.api, &self.options, Some(self.lease.clone())).await {
            Ok(lease) => return Ok(lease),
            Err(Failure::Other(why)) => return Err(Renewal::Failed(why)),
            Err(Failure::Conflict) => {}
        }
        // Somebody has written it, or deleted it: that alone does not say that somebody has it.
        let lease = in_time(&self.options, self.api.get_opt(&self.options.name)).await;
        let lease = lease.map_err(|failure| Renewal::Failed(failure.to_string()))?;
        if let Some(other) = lease.as_ref().and_then(holder)
            && other != self.options.identity
        {
            return Err(Renewal::Lost(Lost::Taken(other.to_owned())));
        }
        let taken = take(&self.api, &self.options, lease).await;
        taken.map_err(|failure| Renewal::Failed(failure.to_string()))
    }

    /// Gives the lease back, so that the next operator need not wait until it has run out.
    pub async fn release(mut self) {
        if let Some(spec) = &mut self.lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let params = PostParams::default();
        match in_time(&self.options, self.api.replace(&self.options.name, &params, &self.lease)).await {
            Ok(_) => tracing::info!("lease released"),
            Err(failure) => tracing::warn!(error = failure.to_string(), "the lease cannot be released; it runs out"),
        }
    }
}

const NO_ANSWER: &str = "the API server does not answer";

/// Why a renewal has not come about.
enum Renewal {
    Failed(String),
    Lost(Lost),
}

/// Why a request has failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The Lease is another than the one that was read.
    #[error("somebody else has written the Lease")]
    Conflict,
    #[error("{0}")]
    Other(String),
}

/// Writes the lease as held from now, over `before` and nothing newer.
async fn take(api: &Api<Lease>, options: &Options, before: Option<Lease>) -> Result<Lease, Failure> {
    let params = PostParams::default();
    let is_new = before.is_none();
    let lease = held(options, before, MicroTime(Timestamp::now()));
    if is_new {
        in_time(options, api.create(&params, &lease)).await
    } else {
        in_time(options, api.replace(&options.name, &params, &lease)).await
    }
}

fn held(options: &Options, before: Option<Lease>, now: MicroTime) -> Lease {
    let mut lease = before.unwrap_or_default();
    lease.metadata.name = Some(options.name.clone());
    lease.metadata.managed_fields = None;
    let before = lease.spec.take().unwrap_or_default();
    let is_mine = before.holder_identity.as_deref() == Some(&*options.identity);
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(options.identity.clone()),
        lease_duration_seconds: i32::try_from(options.duration.as_secs()).ok(),
        acquire_time: before.acquire_time.filter(|_| is_mine).or_else(|| Some(now.clone())),
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!is_mine)),
        ..before
    });
    lease
}

async fn in_time<T>(options: &Options, asked: impl Future<Output = kube::Result<T>>) -> Result<T, Failure> {
    match timeout(options.try_every(), asked).await {
        Ok(Ok(answer)) => Ok(answer),
        // A Lease that is gone, or there already, is another one than that which was read.
        Ok(Err(kube::Error::Api(status))) if [404, 409].contains(&status.code) => Err(Failure::Conflict),
        Ok(Err(kube::Error::Api(status))) => Err(Failure::Other(status.message)),
        Ok(Err(error)) => Err(Failure::Other(error.to_string())),
        Err(_) => Err(Failure::Other(NO_ANSWER.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(identity: &str) -> Options {
        let duration = Duration::from_secs(60);
        Options { namespace: "n".into(), name: "l".into(), identity: identity.into(), duration }
    }

    fn at(second: i64) -> MicroTime {
        MicroTime(Timestamp::from_second(second).unwrap_or_default())
    }

    #[test]
    fn a_lease_is_free_when_it_is_nobodys_ones_own_or_unchanged_for_its_duration() {
        let lease = held(&options("a"), None, at(0));
        let released = Lease { spec: Some(LeaseSpec::default()), ..lease.clone() };
        let empty = LeaseSpec { holder_identity: Some(String::new()), ..lease.spec.clone().unwrap_or_default() };
        let empty = Lease { spec: Some(empty), ..lease.clone() };
        let seconds = Duration::from_secs;
        let held_for = |left| Standing::Held("a".into(), seconds(left));
        #[rustfmt::skip]
        let table = [
            ("there is none", None, "b", 0, Standing::Free),
            ("released", Some(&released), "b", 0, Standing::Free),
            ("released by another program", Some(&empty), "b", 0, Standing::Free),
            ("its holder has started anew", Some(&lease), "a", 0, Standing::Free),
            ("held", Some(&lease), "b", 0, held_for(60)),
            ("held for a while", Some(&lease), "b", 59, held_for(1)),
            ("run out", Some(&lease), "b", 60, Standing::Free),
        ];
        for (case, lease, identity, unchanged, want) in table {
            assert_eq!(standing(lease, identity, seconds(unchanged)), want, "{case}");
        }
    }

    #[test]
    fn a_renewal_keeps_the_time_of_acquiring_and_a_change_of_hands_is_counted() {
        let spec = |lease: &Lease| lease.spec.clone().unwrap_or_default();
        let first = held(&options("a"), None, at(0));
        let renewed = held(&options("a"), Some(first.clone()), at(20));
        assert_eq!((spec(&renewed).acquire_time, spec(&renewed).renew_time), (Some(at(0)), Some(at(20))));
        assert_eq!(spec(&renewed).lease_transitions, spec(&first).lease_transitions);
        let taken = held(&options("b"), Some(renewed), at(90));
        assert_eq!(spec(&taken).holder_identity.as_deref(), Some("b"));
        assert_eq!((spec(&taken).acquire_time, spec(&taken).lease_transitions), (Some(at(90)), Some(2)));
    }

    #[test]
    fn a_holder_gives_up_and_falls_silent_before_others_may_take_over() {
        let options = options("a");
        let two_tries = 2 * (options.try_every() + options.pause());
        assert!(options.renew_every() + two_tries < options.give_up_after(), "a third try begins");
        assert!(options.give_up_after() + options.last_words() < options.duration);
    }
}
