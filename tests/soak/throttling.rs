//! The RDS API throttles for minutes, then answers with nothing, then with two truths in turn: nothing is recycled,
//! no epoch rises, the policy says what is wrong, and all comes back by itself.

use std::time::{Duration, Instant};

use dbbalance_testbed::rds;
use serde_json::{Value, json};

use crate::fixture::{Noted, SoakFixture, condition, policy};
use crate::seconds;
use dbbalance_testkit::api_server::{KubeApiServer, NAMESPACE, STRICT};
use dbbalance_testkit::rds_relay::AnswerMode;

/// The operator notices within two polls that fail, each of which the SDK tries a few times; it looks again at
/// least every 30 s.
const NOTICED: Duration = Duration::from_secs(90);
const PODS: usize = 3;

fn observed(policy: &Value) -> (String, String) {
    condition(policy, "TopologyObserved")
}

pub fn run(server: &KubeApiServer<'_>) {
    let throttled = seconds("THROTTLE", 300);
    let fixture = SoakFixture::new(server);
    fixture.cluster("orders");
    let deployments = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let web = SoakFixture::deployment_object("web", PODS);
    server.call(http::Method::POST, &deployments, &web).unwrap();
    fixture.run_all_pods(PODS, Duration::from_mins(2));
    server
        .create(&policy(NAMESPACE, "web", "orders"), STRICT)
        .unwrap();
    fixture.start_operator();
    let read = || server.read("web");
    fixture.until("a policy that is Ready", NOTICED, || {
        let policy = read();
        condition(&policy, "Ready").0 == "True" && policy["status"]["stale"] == "0/3"
    });
    let before = read();
    assert_eq!(before["status"]["epoch"], 1);
    let (_, from) = fixture.noted(0);
    let effects = || {
        let noted = fixture.noted(from).0;
        noted
            .into_iter()
            .filter(Noted::is_effect)
            .collect::<Vec<_>>()
    };
    let calm = || effects().is_empty() && read()["status"]["epoch"] == 1;

    let faults = rds::fault_control(server.testbed);
    let throttle = json!({"service": "rds", "error": {"code": "Throttling"}});
    faults.set_rules(&throttle).unwrap();
    let (calls, began) = (fixture.relay.calls(), Instant::now());
    fixture.until("TopologyObserved=False, Throttled", NOTICED, || {
        observed(&read()) == ("False".to_owned(), "Throttled".to_owned())
    });
    let noticed = began.elapsed();
    fixture.keep(
        "calm and told while throttled",
        throttled.saturating_sub(noticed),
        || calm() && observed(&read()) == ("False".to_owned(), "Throttled".to_owned()),
    );
    let calls_throttled = fixture.relay.calls() - calls;
    assert!(!faults.fired().unwrap().is_empty(), "nothing was throttled");
    faults.set_rules(&json!([])).unwrap();
    let recovered = recovery(&fixture, "throttled");

    let part = throttled / 5;
    fixture.relay.set_mode(AnswerMode::Empty);
    fixture.until("TopologyObserved=False, empty answers", NOTICED, || {
        observed(&read()).0 == "False"
    });
    let empty = observed(&read()).1;
    fixture.keep("calm while answers are empty", part, calm);
    fixture.relay.set_mode(AnswerMode::Pass);
    let recovered_empty = recovery(&fixture, "empty answers");

    fixture.relay.set_mode(AnswerMode::Alternating);
    fixture.until("answers that alternate", NOTICED, || {
        fixture.relay.swapped_lists() >= 10
    });
    fixture.keep("calm while answers alternate", part, calm);
    fixture.relay.set_mode(AnswerMode::Pass);
    let recovered_alternating = recovery(&fixture, "alternating answers");
    fixture.keep("calm after all", Duration::from_secs(10), calm);
    assert_eq!(read()["status"]["topology"], before["status"]["topology"]);

    // That it was calm says something only if it can act.
    fixture.rds.failover("orders", Some("orders-2")).unwrap();
    fixture.until("the recycles of a real failover", NOTICED, || {
        read()["status"]["epoch"] == 2 && read()["status"]["stale"] == "0/3"
    });
    assert!(effects().len() >= PODS, "{:?}", effects());
    println!(
        "{}",
        json!({
            "test": "throttling", "throttled_seconds": throttled.as_secs(), "recycles": 0, "epochs_raised": 0,
            "noticed_after_seconds": noticed.as_secs_f64(), "recovered_after_seconds": recovered.as_secs_f64(),
            "rds_calls_while_throttled": calls_throttled,
            "empty_answers": {"reason": empty, "recovered_after_seconds": recovered_empty.as_secs_f64()},
            "alternating_answers": {"recovered_after_seconds": recovered_alternating.as_secs_f64()},
        })
    );
}

/// How long it takes until the topology is read again.
fn recovery(fixture: &SoakFixture<'_>, after: &str) -> Duration {
    let began = Instant::now();
    fixture.until(&format!("recovery after {after}"), NOTICED, || {
        let policy = fixture.server.read("web");
        observed(&policy).0 == "True" && condition(&policy, "Ready").0 == "True"
    });
    began.elapsed()
}
