//! Checks beforehand whether the Secrets of hooks' headers can be read: one read every few minutes, of which nothing but the
//! problem is kept.

use std::collections::HashMap;
use std::future::Future;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use dbbalance_api::spec::HeaderSecretRef;

/// How long the result of a check is used. A Secret that is corrected is seen soon, and an idle operator reads each twelve
/// times an hour.
const CHECK_EVERY: SignedDuration = SignedDuration::from_mins(5);

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
            let recent = results.get(&of);
            let recent = recent.filter(|r| now.duration_since(r.at) < CHECK_EVERY);
            recent.map(|r| r.problem.clone())
        };
        if let Some(problem) = known {
            return problem;
        }
        let problem = check().await;
        let result = CheckResult {
            at: now,
            problem: problem.clone(),
        };
        self.0.lock().insert(of, result);
        problem
    }
}

#[cfg(test)]
mod tests;
