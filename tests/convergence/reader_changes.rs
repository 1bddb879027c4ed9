//! Readers come and go: pools of readers alone, renewed by HTTP.

use std::time::Duration;

use dbbalance_api::conditions::ConditionType::Balanced;
use dbbalance_testbed::aurora::control::FleetCommand;
use dbbalance_testbed::kubernetes::NODE_IP;
use serde_json::{Value, json};

use crate::fixture::{CONVERGED, ConvergenceFixture, SHOP, policy, since};
use dbbalance_testkit::database_view::{even_since, is_even, least_moves, readers, sees};
use dbbalance_testkit::policies::{current_epoch, find_condition, has_condition};
use dbbalance_testkit::{LIMIT, TestCase};

const PER_POD: usize = 10;
const ALL: usize = 100;
/// Recycles beyond the fewest possible: a pod may land on the same reader again.
const SLACK: usize = 7;
/// How long nothing must happen: several rounds of measurements.
const QUIET: Duration = Duration::from_secs(8);

pub fn shop_policy(name: &str) -> Value {
    let pools = json!([{"endpoint": "Reader", "connectionsPerPod": PER_POD}]);
    // Longer than a pod of a busy machine needs to answer.
    let http = json!({"port": 8080, "path": "/pool/recycle", "timeoutSeconds": 5});
    let recycle = json!({"method": "HTTP", "http": http});
    policy(name, &SHOP, "app", &pools, &recycle)
}

/// What an episode has cost, and how it ended.
async fn told(
    fixture: &ConvergenceFixture,
    case: &TestCase<'_>,
    name: &str,
    wanted: usize,
) -> (i64, Vec<usize>) {
    let policy = case
        .wait_policy_within(name, "even connections", CONVERGED, |p| {
            current_epoch(p) >= 2 && has_condition(p, Balanced, "True", "") && is_at_rest(p)
        })
        .await;
    let control = fixture.control();
    let seen = sees(&control, SHOP.cluster, "even readers", LIMIT, |seen| {
        even_since(seen, wanted, PER_POD, ALL).is_some()
    })
    .await;
    let target = &policy.status.as_ref().unwrap().targets[0];
    let opened = target.open_time.as_ref().unwrap().0.as_millisecond();
    let even = even_since(&seen, wanted, PER_POD, ALL).unwrap();
    let balanced = find_condition(&policy, Balanced).unwrap();
    println!("  {}: {}", balanced.reason, balanced.message);
    (even - opened, readers(&seen).into_values().collect())
}

/// No run in progress and every pod fresh.
pub fn is_at_rest(policy: &dbbalance_api::DbBalancePolicy) -> bool {
    use dbbalance_api::conditions::ConditionType::{Fresh, Recycling};
    has_condition(policy, Fresh, "True", "") && !has_condition(policy, Recycling, "True", "")
}

pub async fn a_third_reader_gets_its_share(fixture: &ConvergenceFixture) {
    let case = fixture.case(&SHOP).await;
    let _operator = fixture.operator(&case, "spread").await;
    case.create_with_baseline(shop_policy("spread")).await;
    case.wait_policy("spread", "a first measurement", |p| {
        !has_condition(p, Balanced, "Unknown", "")
    })
    .await;
    let control = fixture.control();
    control.observe(SHOP.cluster).unwrap();
    let (queries, recycled) = (case.queries("app").await, case.recycle_counts("app").await);
    let before = sees(&control, SHOP.cluster, "all connections", LIMIT, |seen| {
        readers(seen).values().sum::<usize>() == ALL
    })
    .await;
    let before: Vec<usize> = readers(&before).into_values().collect();
    let least = least_moves(&before, 3, PER_POD);
    control.add_reader(SHOP.cluster).unwrap();
    let (took, after) = told(fixture, &case, "spread", 3).await;
    let moved = since(&recycled, &case.recycle_counts("app").await);
    let (effects, pods) = (
        moved.iter().sum::<u64>(),
        moved.iter().filter(|n| **n > 0).count(),
    );
    let now = case.queries("app").await;
    println!(
        "2 to 3 readers, 10 pods of HikariCP by HTTP: {before:?} became {after:?} {:.1} s after the epoch opened; {pods} pods in \
         {effects} recycles (at best {least}), {} queries failed of {}",
        f64::from(i32::try_from(took).unwrap()) / 1000.0,
        now.failed - queries.failed,
        now.reads - queries.reads,
    );
    assert!(is_even(&after, PER_POD), "{after:?}");
    assert_eq!(now.failed, queries.failed, "failed queries");
    assert!(
        usize::try_from(effects).unwrap() <= least + SLACK,
        "{moved:?}"
    );
    assert!(moved.iter().all(|n| *n <= 3), "{moved:?}");
    case.delete_policy("spread").await;
}

pub async fn evidence_that_is_turned_on_is_quiet(fixture: &ConvergenceFixture) {
    let case = fixture.case(&SHOP).await;
    let _operator = fixture.operator(&case, "quiet").await;
    let recycled = case.recycle_counts("app").await;
    let mut object = shop_policy("quiet");
    object["spec"]["evidence"]["source"] = json!("None");
    case.create_with_baseline(object).await;
    let patch = json!({"spec": {"evidence": {"source": "ProcNet"}}});
    case.patch::<dbbalance_api::DbBalancePolicy>("quiet", patch)
        .await;
    let told = case
        .wait_policy("quiet", "a first measurement", |p| {
            has_condition(p, Balanced, "True", "")
        })
        .await;
    let is_so = find_condition(&told, Balanced).unwrap().message.clone();
    // Nothing is awaited: time is what is tested.
    tokio::time::sleep(QUIET).await;
    assert_eq!(case.recycle_counts("app").await, recycled);
    println!(
        "evidence turned on, {is_so}: no recycle within {} s",
        QUIET.as_secs()
    );
    case.delete_policy("quiet").await;
}

pub async fn a_restart_in_the_middle_goes_on(fixture: &ConvergenceFixture) {
    let case = fixture.case(&SHOP).await;
    let operator = fixture.operator(&case, "first").await;
    case.create_with_baseline(shop_policy("restart")).await;
    let control = fixture.control();
    control.observe(SHOP.cluster).unwrap();
    let wanted = count(fixture) + 1;
    let recycled = case.recycle_counts("app").await;
    control.add_reader(SHOP.cluster).unwrap();
    dbbalance_testkit::wait_until("the first recycle", CONVERGED, async || {
        (case.recycle_counts("app").await != recycled).then_some(())
    })
    .await;
    operator.kill();
    let so_far: u64 = since(&recycled, &case.recycle_counts("app").await)
        .iter()
        .sum();
    let _operator = fixture.operator(&case, "second").await;
    let (took, after) = told(fixture, &case, "restart", wanted).await;
    let moved = since(&recycled, &case.recycle_counts("app").await);
    println!(
        "a restart after {so_far} recycles: {after:?} {:.1} s after the epoch opened, {} recycles, at most {} of a pod",
        f64::from(i32::try_from(took).unwrap()) / 1000.0,
        moved.iter().sum::<u64>(),
        moved.iter().max().unwrap(),
    );
    assert!(is_even(&after, PER_POD), "{after:?}");
    assert!(moved.iter().all(|n| *n <= 3), "{moved:?}");
    case.delete_policy("restart").await;
}

/// Readers that the cluster has now.
fn count(fixture: &ConvergenceFixture) -> usize {
    let status = fixture.control().status().unwrap();
    let cluster = status.cluster(SHOP.cluster).unwrap();
    cluster
        .instances
        .iter()
        .filter(|i| i.dns_reader && i.api_status == "available")
        .count()
}

/// From here on the databases see the node's address alone, as behind a node that masquerades its pods.
pub async fn masqueraded_pods_are_evened_out(fixture: &ConvergenceFixture) {
    let case = fixture.case(&SHOP).await;
    let control = fixture.control();
    let status = control.status().unwrap();
    let databases: Vec<String> = status.cluster(SHOP.cluster).unwrap().instances[..]
        .iter()
        .map(|i| i.address.to_string())
        .collect();
    for database in &databases {
        let rule = format!(
            "-w -t nat -I INPUT -d {database} -p tcp --dport 5432 -j SNAT --to-source {NODE_IP}"
        );
        let mut command = fixture.suite.testbed.command("iptables");
        assert!(command.args(rule.split(' ')).status().unwrap().success());
    }
    let _operator = fixture.operator(&case, "masked").await;
    case.create_with_baseline(shop_policy("masked")).await;
    // All anew, so all masqueraded; and all at once, so in few places.
    for pod in case.pods("app").await {
        let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).unwrap();
        let url = format!("http://{ip}:8080/pool/recycle");
        let answer = case.http.post(&url).send().await.unwrap();
        assert!(answer.status().is_success());
    }
    control.observe(SHOP.cluster).unwrap();
    let masked = sees(&control, SHOP.cluster, "one client", LIMIT, |seen| {
        let last = seen.samples.last().unwrap();
        readers(seen).values().sum::<usize>() == ALL
            && last
                .instances
                .values()
                .flatten()
                .all(|i| i.clients.keys().all(|c| c == NODE_IP))
    })
    .await;
    let before: Vec<usize> = readers(&masked).into_values().collect();
    let wanted = count(fixture) - 1;
    let recycled = case.recycle_counts("app").await;
    let removed = status.cluster(SHOP.cluster).unwrap();
    let removed = removed.instances.last().unwrap().name.clone();
    control
        .send(&FleetCommand::RemoveReader { name: removed })
        .unwrap();
    let (took, after) = told(fixture, &case, "masked", wanted).await;
    let moved: u64 = since(&recycled, &case.recycle_counts("app").await)
        .iter()
        .sum();
    // What the operator has counted, beside what the databases have.
    let shares = case
        .wait_policy("masked", "the same figures", |p| {
            let balance = &p.status.as_ref().unwrap().balance;
            let held = balance[0].shares.iter().map(|s| s.connections);
            held.sum::<i32>() == 100
        })
        .await;
    let balance = &shares.status.as_ref().unwrap().balance[0];
    let seen = control.observation(SHOP.cluster).unwrap();
    let truth = readers(&seen);
    for share in balance
        .shares
        .iter()
        .filter(|s| truth.contains_key(&s.instance))
    {
        let (told, truth) = (share.connections, truth[&share.instance]);
        // The status is rewritten only when a share has moved by some points.
        assert!(
            (told - i32::try_from(truth).unwrap()).abs() <= 5,
            "{share:?} {truth}"
        );
    }
    println!(
        "masqueraded: {before:?} of one client became {after:?} {:.1} s after the epoch opened, {moved} recycles, {} pods read",
        f64::from(i32::try_from(took).unwrap()) / 1000.0,
        balance.measured_pods,
    );
    assert!(is_even(&after, PER_POD), "{after:?}");
    case.delete_policy("masked").await;
}
