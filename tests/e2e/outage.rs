//! The RDS API is away, throttles or refuses for a while: nothing is recycled, it is said, and it mends by itself.

use std::time::{Duration, Instant};

use dbbalance_api::conditions::ConditionType;
use dbbalance_testbed::rds::{self, FAULTS_PORT};
use serde_json::{Value, json};

use dbbalance_testkit::operator::{OperatorProcess, OperatorSettings};
use dbbalance_testkit::policies::{
    current_epoch, find_condition, has_condition, policy_object, signal_recycle, target_object,
};
use dbbalance_testkit::{POLL_INTERVAL, TestCase, TestSuite};

/// How long each fault is looked at: several times the poll.
const WATCHED: Duration = Duration::from_secs(6);

pub async fn nothing_is_recycled_while_rds_fails(suite: &TestSuite) {
    let case = TestCase::new(suite, "o-outage").await;
    case.create_deployment("web", 2).await;
    let settings = OperatorSettings {
        rds_port: Some(FAULTS_PORT),
        ..OperatorSettings::default()
    };
    let _operator = OperatorProcess::with(&case, "one", &settings).await;
    let targets = [target_object("Deployment", "web", &signal_recycle())];
    case.create_with_baseline(policy_object("p", "o-outage", &targets))
        .await;
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
            .wait_policy("p", "TopologyObserved=False", |p| {
                has_condition(p, ConditionType::TopologyObserved, "False", "")
            })
            .await;
        let said = find_condition(&failing, ConditionType::TopologyObserved).unwrap();
        writer = 3 - writer;
        case.failover(writer);
        let begun = Instant::now();
        while begun.elapsed() < WATCHED {
            let api = case.api::<dbbalance_api::DbBalancePolicy>();
            assert_eq!(
                current_epoch(&api.get("p").await.unwrap()),
                wanted,
                "{what}"
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        assert_eq!(case.effects("web").await, before, "{what}");
        faults.set_rules(&json!([])).unwrap();
        let mended = Instant::now();
        wanted += 1;
        case.wait_fresh("p", wanted).await;
        figures.push(format!(
            "{what}: {} and back and fresh in {:.1} s",
            said.reason,
            mended.elapsed().as_secs_f64()
        ));
        let counts = case.effect_counts("web").await;
        let each = u64::try_from(wanted - 1).unwrap();
        assert!(counts.values().all(|c| c.effects() == each), "{counts:?}");
    }
    println!("figures: o-outage: 0 recycles; {}", figures.join("; "));
}
