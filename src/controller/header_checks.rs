//! Checks beforehand whether the Secrets of hooks' headers can be read: one read every few minutes, of which nothing but the
//! problem is kept.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::time::timeout;

use dbbalance_api::spec::HeaderSecretRef;

/// How long the result of a check is used. A Secret that is corrected is seen soon, and an idle operator reads each twelve
/// times an hour.
const CHECK_EVERY: SignedDuration = SignedDuration::from_mins(5);

/// How long a pass waits for a check. Without an answer the last result stands until the next one.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// How long a result is kept after its last check, so that Secrets which no policy names any more are forgotten.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// A header's Secret: namespace, name, key and header.
type HeaderKey = (String, String, String, String);

struct CheckResult {
    at: Timestamp,
    problem: Option<String>,
}

/// The last checks of the Secrets that hooks need.
#[derive(Default)]
pub struct HeaderChecks(Mutex<HashMap<HeaderKey, CheckResult>>);

impl HeaderChecks {
    /// Returns what is wrong with a header's Secret, by a check of the last minutes or by a new one that `check` makes; `None` if
    /// nothing is known to be.
    pub async fn find_problem<F>(
        &self,
        namespace: &str,
        reference: &HeaderSecretRef,
        now: Timestamp,
        check: impl FnOnce() -> F,
    ) -> Option<String>
    where
        F: Future<Output = Option<String>>,
    {
        let HeaderSecretRef { name, key, header } = reference.clone();
        let of = (namespace.to_owned(), name, key, header);
        let known = {
            let mut results = self.0.lock();
            results.retain(|_, r| now.duration_since(r.at) < KEPT_FOR);
            let last = results.entry(of.clone()).or_insert(CheckResult {
                at: Timestamp::MIN,
                problem: None,
            });
            let is_recent = now.duration_since(last.at) < CHECK_EVERY;
            // The next check is as late if this one is not answered.
            last.at = if is_recent { last.at } else { now };
            (is_recent, last.problem.clone())
        };
        let (is_recent, last) = known;
        if is_recent {
            return last;
        }
        // A failover must not wait for what only tells of the next one.
        let Ok(problem) = timeout(CHECK_LIMIT, Box::pin(check())).await else {
            return last;
        };
        if let Some(result) = self.0.lock().get_mut(&of) {
            result.problem.clone_from(&problem);
        }
        problem
    }
}

#[cfg(test)]
mod tests;
