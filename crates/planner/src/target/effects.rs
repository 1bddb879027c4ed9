//! What the recycles of the run in progress have done to pods: ended an app, made a pod worse, or found no answer.

use jiff::{SignedDuration, Timestamp};

use super::{BLAMED_FOR, CANARY_WATCH, RESTARTED_BEFORE, Stage, TargetContext, owns_pods};
use crate::times::add_duration;
use dbbalance_api::spec::Method;
use dbbalance_core::pod::{PodFacts, SinceClaim};

/// How long after the method's timeout an effect is taken for one that got no answer: the answer has to be written.
const ANSWER_GRACE: SignedDuration = SignedDuration::from_secs(1);

impl TargetContext<'_> {
    /// Whether the method leaves a pod as available as it was: it renews connections, and starts no other pod.
    pub(crate) fn takes_nothing_away(&self) -> bool {
        match self.policy.recycle.method {
            Method::Signal | Method::Http | Method::Annotate => true,
            Method::Evict | Method::Rollout => false,
        }
    }

    /// Returns what has become of a pod since the last run claimed it.
    fn since_claim<'p>(&self, pod: &'p PodFacts) -> Option<&'p SinceClaim> {
        let run = self.status.run.as_ref()?;
        let began = run.resumed_time.as_ref().unwrap_or(&run.start_time).0;
        // The status rounds times up, and claims round them down.
        let began = began.as_second() - 1;
        pod.since_claim.as_ref().filter(|s| {
            s.policy == self.mark
                && s.epoch == self.status.due_epoch
                && s.claimed.as_second() >= began
        })
    }

    /// Returns whether a pod was Ready when this epoch's recycle claimed it; `None` if none did. Pods that were stamped
    /// by a release which did not note it count as Ready.
    fn was_ready(&self, pod: &PodFacts) -> Option<bool> {
        if let Some(since) = self.since_claim(pod) {
            return Some(since.was_ready);
        }
        // A run that was resumed goes on with the pods as they were then.
        if self.status.run.as_ref()?.resumed_time.is_some() {
            return None;
        }
        let stamp = pod.stamp.as_ref();
        let is_stamped =
            stamp.is_some_and(|s| s.policy == self.mark && s.epoch == self.status.due_epoch);
        (is_stamped && !pod.is_born_since(&self.status)).then_some(true)
    }

    /// Returns the pods that a recycle may have harmed: also those in which no container runs any more.
    pub(crate) fn standing(&self) -> impl Iterator<Item = &PodFacts> {
        let owned = owns_pods(self.found, &self.status);
        let pods = self.found.pods.iter().filter(move |_| owned);
        pods.filter(|p| !p.terminating && !p.finished && !p.ignored)
    }

    /// Returns the container of a pod that the recycle has ended instead of renewing its connections. Whether the pod was
    /// Ready does not matter: a probe that asks the database says nothing about the app.
    pub(crate) fn ended_container<'p>(&self, pod: &'p PodFacts) -> Option<&'p str> {
        let since = self
            .since_claim(pod)
            .filter(|_| self.takes_nothing_away())?;
        let until = self.policy.recycle.effect_timeout + CANARY_WATCH + BLAMED_FOR;
        // Where the end is not dated, it is blamed on the recycle as long as it may be.
        let ended = since.ended_at.unwrap_or(self.pass.now);
        let ended = since
            .ended
            .first()
            .filter(|_| ended <= add_duration(since.claimed, until))?;
        Some(ended)
    }

    /// Whether the recycle of a pod that was not Ready has been answered, and its containers run on.
    pub(crate) fn has_outlasted_exempt(&self, pod: &PodFacts) -> bool {
        let is_stamped = pod
            .stamp
            .as_ref()
            .is_some_and(|s| s.policy == self.mark && s.epoch == self.status.due_epoch);
        is_stamped && self.was_claimed_not_ready(pod) && self.ended_container(pod).is_none()
    }

    /// Whether the run has claimed a pod that was not Ready.
    pub(crate) fn was_claimed_not_ready(&self, pod: &PodFacts) -> bool {
        self.since_claim(pod).is_some_and(|s| !s.was_ready)
    }

    /// Whether a pod was Ready before this epoch's recycle and is not now, or had a container ended. Once the method is
    /// verified, a pod that did not answer and is not Ready is taken for one that was lost, as with its node.
    pub(crate) fn is_worse(&self, pod: &PodFacts) -> bool {
        self.ended_container(pod).is_some()
            || (!pod.ready
                && self.was_ready(pod) == Some(true)
                && !self.may_still_end(pod)
                && !self.is_lost_unanswered(pod))
    }

    fn is_lost_unanswered(&self, pod: &PodFacts) -> bool {
        self.is_verified() && self.takes_nothing_away() && self.current_claim(pod).is_some()
    }

    /// Returns the number of pods that are not Ready since their recycle, beyond those that others have made so: as many
    /// may have been lost by the same cause as are not Ready without a recycle. A pod that is Ready again after its app
    /// has ended is as available as before, and holds no other.
    pub(crate) fn count_lost(&self) -> usize {
        let lost = self.standing();
        let lost = lost.filter(|p| !p.ready && self.is_worse(p)).count();
        lost.saturating_sub(self.count_lost_by_others())
    }

    /// Returns the number of pods that are not Ready and that no recycle of this epoch has made so.
    fn count_lost_by_others(&self) -> usize {
        let pods = self.counted.iter().filter(|p| !p.ready);
        pods.filter(|p| self.was_ready(p).is_none() || self.is_lost_unanswered(p))
            .count()
    }

    /// Whether a recycle has started and its method has not answered within its timeout. Where it takes nothing away, such
    /// a pod is not waited for. One whose app has answered with a failure is, until it was tried again.
    pub(crate) fn is_unanswered(&self, pod: &PodFacts) -> bool {
        let limit = self.policy.recycle.effect_timeout + ANSWER_GRACE;
        self.takes_nothing_away()
            && !self.has_refused(pod)
            && self.is_started(pod)
            && pod
                .claim
                .as_ref()
                .is_some_and(|c| self.pass.now.duration_since(c.time) > limit)
    }

    /// Returns when the first of the recycles in progress is taken for one that got no answer.
    pub(crate) fn next_answer_end(&self) -> Option<Timestamp> {
        let limit =
            self.policy.recycle.effect_timeout + ANSWER_GRACE + SignedDuration::from_secs(1);
        let awaited = self.stale.iter().filter(|p| {
            self.takes_nothing_away() && self.may_still_end(p) && !self.is_unanswered(p)
        });
        let claims = awaited.filter_map(|p| p.claim.as_ref());
        claims.map(|c| add_duration(c.time, limit)).min()
    }

    /// Whether the app of a pod has answered this epoch's recycle with a failure.
    pub(crate) fn has_refused(&self, pod: &PodFacts) -> bool {
        self.since_claim(pod).is_some_and(|s| s.refused)
    }

    /// Returns how many of these pods count as failed: those on which all has failed that may be tried, and which were
    /// Ready when claimed and are still. A pod that is not Ready proves nothing about the method, and harms no more.
    pub(crate) fn count_failed(&self, pods: &[&PodFacts]) -> usize {
        let failed = pods.iter().filter(|p| {
            p.ready && self.stage(p) == Stage::Failed && self.was_ready(p) != Some(false)
        });
        failed.count()
    }

    /// Whether a pod is still there on which all has failed that may be tried, Ready or not: one whose readiness flaps is
    /// not gone.
    pub(crate) fn has_failed_pods(&self) -> bool {
        let mut failed = self.standing().filter(|p| self.stage(p) == Stage::Failed);
        failed.any(|p| self.was_ready(p) != Some(false))
    }

    /// Returns the number of pods whose app the method has ended. Of pods that were not Ready, as many may have ended by
    /// the change itself as have without a recycle, as where a liveness probe asks the database.
    pub(crate) fn count_ended(&self) -> usize {
        let ended = self
            .standing()
            .filter(|p| self.ended_container(p).is_some());
        let (not_ready, ready): (Vec<_>, Vec<_>) =
            ended.partition(|p| self.was_claimed_not_ready(p));
        ready.len() + not_ready.len().saturating_sub(self.count_ended_by_others())
    }

    /// Returns the number of pods whose app has ended since the change, and that no recycle of this run has touched.
    fn count_ended_by_others(&self) -> usize {
        let target = &self.status;
        let opened = target
            .urgent_open_time
            .as_ref()
            .or(target.open_time.as_ref());
        let Some(from) = opened.map(|t| add_duration(t.0, -RESTARTED_BEFORE)) else {
            return 0;
        };
        let has_ended = |p: &&PodFacts| p.restarts > 0 && p.last_started.is_none_or(|s| s >= from);
        let pods = self.standing().filter(|p| self.since_claim(p).is_none());
        pods.filter(has_ended).count()
    }
}
