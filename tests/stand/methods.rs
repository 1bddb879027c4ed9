//! Each method, end to end: what the pods see of a change of the cluster.

use crate::support::operator::Operator;
use crate::support::policy::{policy, signal, target};
use crate::support::{Case, Suite};

/// The readers' failover reaches each pod once, by signal; first sight and a restart reach none.
pub async fn signal_reaches_every_pod_once(suite: &Suite) {
    let case = Case::new(suite, "m-signal").await;
    case.deployment("web", 3).await;
    let operator = Operator::start(&case).await;
    case.baseline(policy("p", "m-signal", &[target("Deployment", "web", &signal())]))
        .await;
    assert_eq!(case.effects("web").await, 0, "first sight recycles nothing");
    operator.stop();
    let _operator = Operator::start(&case).await;
    case.failover(2);
    case.fresh("p", 2).await;
    let counts = case.counts("web").await;
    assert!(counts.values().all(|c| c.effects() == 1), "{counts:?}");
}
