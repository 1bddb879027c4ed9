//! The loop that acquires, renews and releases the lease.
//!
//! Each write has the resource version that was read, so of two replicas one gets a conflict and reads again. The keeper
//! knows nothing about which replica acts on which object.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Leadership, LeaseConfig, LeaseState};
use dbbalance_api::FIELD_MANAGER;

/// How often a standby reads the lease, and a leader retries a failed renewal: a released lease is taken over in about
/// this time. One GET a second is negligible for an API server.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest timeout of a request; shorter leases have a shorter one.
const MAX_REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a round tries to write the lease before it gives up on conflicts.
const ATTEMPTS_PER_ROUND: u32 = 3;

/// The lease as last read.
struct SeenLease {
    lease: Lease,
    /// When it was first seen with this resource version.
    since: Instant,
}

/// Acquires and renews the lease while it runs.
pub struct LeaseKeeper {
    api: Api<Lease>,
    config: LeaseConfig,
    identity: Arc<str>,
    seen: Option<SeenLease>,
    /// After the lease of another replica was deleted: when that holder has noticed at the latest.
    free_at: Option<Instant>,
    claim: watch::Sender<LeaseState>,
    tick: watch::Sender<Option<Instant>>,
}

/// The outcome of a write.
enum WriteOutcome {
    Stored(Box<Lease>),
    /// Another client has written the lease since it was read.
    Conflict,
    Failed(String),
}

impl LeaseKeeper {
    /// Returns a keeper, and the handle that reports its state. `client` must be the client without retries.
    #[must_use]
    pub fn new(client: Client, config: LeaseConfig) -> (Self, Leadership) {
        let now = Instant::now();
        let (claim, claims) = watch::channel(LeaseState {
            holder: None,
            valid_until: now,
        });
        let (tick, ticks) = watch::channel(None);
        let identity: Arc<str> = config.identity.as_str().into();
        let leadership = Leadership {
            identity: identity.clone(),
            claim: claims,
            tick: ticks,
        };
        let keeper = Self {
            api: Api::namespaced(client, &config.namespace),
            config,
            identity,
            seen: None,
            free_at: None,
            claim,
            tick,
        };
        (keeper, leadership)
    }

    /// Keeps the lease until `shutdown` is cancelled, then releases it. Cancel it only after all effects have ended: a
    /// successor may act within a second.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.tick.send_replace(Some(Instant::now()));
        loop {
            // Not cancelled: a write in progress that may be stored would make the release a conflict.
            let pause = self.run_round().await;
            self.tick.send_replace(Some(Instant::now()));
            let rest = shutdown.run_until_cancelled(tokio::time::sleep(pause));
            if rest.await.is_none() {
                break;
            }
        }
        self.release().await;
    }

    /// Renews the lease if this replica holds it, else tries to acquire it. Returns the time to the next round.
    pub(super) async fn run_round(&mut self) -> Duration {
        let mut known = self.is_held();
        for _ in 0..ATTEMPTS_PER_ROUND {
            if !known {
                match self.read_lease().await {
                    Ok(()) => {}
                    Err(error) => {
                        self.log_failure("read", &error);
                        return CHECK_INTERVAL;
                    }
                }
            }
            if !self.may_take() {
                return CHECK_INTERVAL;
            }
            match self.acquire_or_renew().await {
                WriteOutcome::Stored(_) => return self.config.renew,
                WriteOutcome::Conflict => known = false,
                WriteOutcome::Failed(error) => {
                    self.log_failure("write", &error);
                    // It may have been stored nevertheless; the next read or a conflict shows it.
                    return CHECK_INTERVAL.min(self.config.renew);
                }
            }
        }
        CHECK_INTERVAL
    }

    /// Returns whether this replica held the lease when it was last read or written.
    fn is_held(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| holder_of(&seen.lease) == Some(&*self.identity))
    }

    /// Returns whether the lease is this replica's, has no holder, or was not renewed for its duration while watched.
    fn may_take(&self) -> bool {
        let Some(seen) = &self.seen else {
            return self.free_at.is_none_or(|free| Instant::now() >= free);
        };
        match holder_of(&seen.lease) {
            None => true,
            Some(other) if *other == *self.identity => true,
            Some(_) => Instant::now() >= seen.since + self.duration_of(&seen.lease),
        }
    }

    /// Returns the duration that its holder wrote, else the configured one.
    fn duration_of(&self, lease: &Lease) -> Duration {
        lease
            .spec
            .as_ref()
            .and_then(|s| s.lease_duration_seconds)
            .and_then(|s| u64::try_from(s).ok())
            .map_or(self.config.duration, Duration::from_secs)
    }

    /// Reads the lease and records when it changed.
    async fn read_lease(&mut self) -> Result<(), String> {
        let read = self.api.get_opt(&self.config.name);
        let lease = match tokio::time::timeout(self.request_limit(), read).await {
            Ok(Ok(lease)) => lease,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("no answer".to_owned()),
        };
        let Some(lease) = lease else {
            let now = Instant::now();
            if let Some(seen) = self.seen.take()
                && holder_of(&seen.lease).is_some_and(|h| *h != *self.identity)
            {
                self.free_at = Some(now + self.duration_of(&seen.lease));
            }
            self.publish_state(None, now);
            return Ok(());
        };
        let changed = self.seen.as_ref().is_none_or(|seen| {
            seen.lease.metadata.resource_version != lease.metadata.resource_version
                || seen.lease.metadata.uid != lease.metadata.uid
        });
        let since = match &self.seen {
            Some(seen) if !changed => seen.since,
            _ => Instant::now(),
        };
        // A lease that is only read to be ours does not make a leader: only a successful write sets a deadline.
        let other = holder_of(&lease).filter(|h| **h != *self.identity);
        if let Some(other) = other {
            let until = since + self.duration_of(&lease);
            self.publish_state(Some(other.into()), until);
        } else if holder_of(&lease).is_none() {
            self.publish_state(None, since);
        }
        self.seen = Some(SeenLease { lease, since });
        Ok(())
    }

    /// Creates, renews or takes over the lease, if it has not changed since it was read.
    async fn acquire_or_renew(&mut self) -> WriteOutcome {
        let (wanted, exists) = self.desired_lease();
        // Before the request is sent: other replicas count from when they see the write, which is later.
        let asked = Instant::now();
        let written = self.write_lease(&wanted, exists).await;
        if let WriteOutcome::Stored(lease) = &written {
            let taken = !self.is_held();
            self.free_at = None;
            self.seen = Some(SeenLease {
                lease: (**lease).clone(),
                since: Instant::now(),
            });
            self.publish_state(Some(self.identity.clone()), asked + self.config.held_for());
            if taken {
                tracing::info!(lease = %self.config.name, identity = %self.identity, "Acquired lease");
            }
        }
        written
    }

    fn desired_lease(&self) -> (Lease, bool) {
        let now = MicroTime(Timestamp::now());
        let mut lease = match &self.seen {
            Some(seen) => seen.lease.clone(),
            None => Lease {
                metadata: ObjectMeta {
                    name: Some(self.config.name.clone()),
                    namespace: Some(self.config.namespace.clone()),
                    ..ObjectMeta::default()
                },
                spec: None,
            },
        };
        let ours = holder_of(&lease) == Some(&*self.identity);
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if !ours {
            let before = spec.lease_transitions;
            // The first holder is not a transition.
            spec.lease_transitions = Some(before.map_or(0, |n| n.saturating_add(1)));
            spec.acquire_time = Some(now.clone());
        }
        spec.holder_identity = Some(self.config.identity.clone());
        spec.lease_duration_seconds =
            Some(i32::try_from(self.config.duration.as_secs()).unwrap_or(i32::MAX));
        spec.renew_time = Some(now);
        (lease, self.seen.is_some())
    }

    async fn write_lease(&self, lease: &Lease, exists: bool) -> WriteOutcome {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let request = async {
            if exists {
                self.api.replace(&self.config.name, &params, lease).await
            } else {
                self.api.create(&params, lease).await
            }
        };
        match tokio::time::timeout(self.request_limit(), request).await {
            Ok(Ok(stored)) => WriteOutcome::Stored(Box::new(stored)),
            // 409 on create: another replica was first. 404 on replace: the lease was deleted.
            Ok(Err(kube::Error::Api(s))) if s.code == 409 || s.code == 404 => {
                WriteOutcome::Conflict
            }
            Ok(Err(error)) => WriteOutcome::Failed(error.to_string()),
            Err(_) => WriteOutcome::Failed("no answer".to_owned()),
        }
    }

    /// Releases the lease, so that a successor does not wait for it to expire.
    async fn release(&mut self) {
        let held = self.is_held();
        // First stop acting, then let another replica start.
        self.publish_state(None, Instant::now());
        let Some(seen) = self.seen.take().filter(|_| held) else {
            return;
        };
        let mut lease = seen.lease;
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = None;
        match self.write_lease(&lease, true).await {
            WriteOutcome::Stored(_) => tracing::info!(lease = %self.config.name, "Released lease"),
            WriteOutcome::Conflict => {} // another has it
            WriteOutcome::Failed(error) => self.log_failure("release", &error),
        }
    }

    /// Returns the timeout of a request: two requests and a pause must fit into a renewal.
    fn request_limit(&self) -> Duration {
        request_limit(self.config.duration)
    }

    fn publish_state(&self, holder: Option<Arc<str>>, valid_until: Instant) {
        let claim = LeaseState {
            holder,
            valid_until,
        };
        self.claim.send_if_modified(|old| {
            let changed = *old != claim;
            *old = claim;
            changed
        });
    }

    fn log_failure(&self, operation: &'static str, error: &str) {
        tracing::warn!(
            lease = %self.config.name,
            namespace = %self.config.namespace,
            operation,
            error,
            "Lease request failed, retrying"
        );
    }
}

fn request_limit(duration: Duration) -> Duration {
    MAX_REQUEST_TIMEOUT.min(duration / 4)
}

/// Returns the longest duration of a round: a read and a write for each attempt, each up to its timeout.
pub(super) fn longest_round(duration: Duration) -> Duration {
    request_limit(duration) * 2 * ATTEMPTS_PER_ROUND
}

fn holder_of(lease: &Lease) -> Option<&str> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_deref()
        .filter(|h| !h.is_empty())
}
