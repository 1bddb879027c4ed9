//! The RDS API is away, throttles or refuses for a while: nothing is recycled, it is said, and it mends by itself.

use std::time::{Duration, Instant};

use dbbalance_api::conditions::ConditionType;
use dbbalance_testbed::rds::{self, FAULTS_PORT};
use serde_json::{Value, json};

use crate::support::operator::{Operator, Settings};
use crate::support::policy::{condition, epoch, policy, says, signal, target};
use crate::support::{Case, LOOK, Suite};

/// How long each fault is looked at: several times the poll.
const WATCHED: Duration = Duration::from_secs(6);

pub async fn nothing_is_recycled_while_rds_fails(suite: &Suite) {
    let case = Case::new(suite, "o-outage").await;
    case.deployment("web", 2).await;
    let settings = Settings {
        rds_port: Some(FAULTS_PORT),
        ..Settings::default()
    };
    let _operator = Operator::with(&case, "one", &settings).await;
    let targets = [target("Deployment", "web", &signal())];
    case.baseline(policy("p", "o-outage", &targets)).await;
    let faults = rds::fault_control(&suite.testbed);
    let mut writer = 1;
    let mut wanted = 1;
    let mut figures = Vec::new();
    for (what, rule) in [
        (
            "throttled",
            json!({"service": "rds", "error": {"code": "Throttling"}}),
        ),
        ("reset", json!({"service": "rds", "reset": true})),
        (
            "denied",
            json!({"service": "rds", "error": {"code": "AccessDenied"}}),
        ),
        (
            "cut short",
            json!({"service": "rds", "response": {"truncate_frac": 0.5}}),
        ),
    ] {
        let before = case.effects("web").await;
        faults.set_rules(&Value::Array(vec![rule])).unwrap();
        let failing = case
            .policy_where("p", "TopologyObserved=False", |p| {
                says(p, ConditionType::TopologyObserved, "False", "")
            })
            .await;
        let said = condition(&failing, ConditionType::TopologyObserved).unwrap();
        writer = 3 - writer;
        case.failover(writer);
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            let api = case.api::<dbbalance_api::DbBalancePolicy>();
            assert_eq!(epoch(&api.get("p").await.unwrap()), wanted, "{what}");
            tokio::time::sleep(LOOK).await;
        }
        assert_eq!(case.effects("web").await, before, "{what}");
        faults.set_rules(&json!([])).unwrap();
        let mended = Instant::now();
        wanted += 1;
        case.fresh("p", wanted).await;
        figures.push(format!(
            "{what}: {} and back and fresh in {:.1} s",
            said.reason,
            mended.elapsed().as_secs_f64()
        ));
        let counts = case.counts("web").await;
        let each = u64::try_from(wanted - 1).unwrap();
        assert!(counts.values().all(|c| c.effects() == each), "{counts:?}");
    }
    println!("figures: o-outage: 0 recycles; {}", figures.join("; "));
}
