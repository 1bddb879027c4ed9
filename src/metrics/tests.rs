//! Names and labels, as dashboards and alerts use them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use dbbalance_kube::methods::BlockedBy;

fn page(metrics: &Metrics) -> String {
    metrics.encode(true).unwrap()
}

#[test]
fn every_metric_has_its_documented_name() {
    let metrics = Metrics::new();
    metrics.observe_reaction(Trigger::Failover, Duration::from_secs(3));
    metrics.count_effect(
        Method::Signal,
        &EffectOutcome::Failed {
            fault: EffectFault::NoShell,
            message: String::new(),
        },
    );
    metrics.count_blocked("DNS");
    metrics.count_reconcile_error("Kubernetes");
    metrics.count_pod_read(Err(UnreadableReason::Timeout));
    metrics.count_run(Trigger::Manual, RunResult::Halted, Duration::from_secs(9));
    let page = page(&metrics);
    for line in [
        concat!(
            "dbbalance_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
        "dbbalance_leader 1",
        "dbbalance_topology_polls_total{result=\"Throttled\"} 0",
        "dbbalance_topology_last_success_timestamp_seconds 0",
        "dbbalance_evidence_reads_total{result=\"Read\"} 0",
        "dbbalance_evidence_reads_total{result=\"Timeout\"} 1",
        "dbbalance_epochs_total{trigger=\"ReaderAdded\"} 0",
        "dbbalance_runs_total{trigger=\"Manual\",result=\"Halted\"} 1",
        "dbbalance_run_duration_seconds_count{result=\"Halted\"} 1",
        "dbbalance_pods_recycled_total{method=\"HTTP\",result=\"Fresh\"} 0",
        "dbbalance_effects_total{method=\"Signal\",result=\"Failed\"} 1",
        "dbbalance_effect_faults_total{method=\"Signal\",fault=\"NoShell\"} 1",
        "dbbalance_effects_blocked_total{gate=\"DNS\"} 1",
        "dbbalance_reverts_detected_total 0",
        "dbbalance_policies{mode=\"Enforce\"} 0",
        "dbbalance_policies_paused 0",
        "dbbalance_policy_conditions{type=\"Ready\",status=\"True\"} 0",
        "dbbalance_policies_unprepared{reason=\"LonePod\"} 0",
        "dbbalance_namespaces_unread 0",
        "dbbalance_pods_stale 0",
        "dbbalance_pods_stale_since_timestamp_seconds 0",
        "dbbalance_reconcile_duration_seconds_count 0",
        "dbbalance_reconcile_errors_total{reason=\"Kubernetes\"} 1",
        "dbbalance_open_to_start_seconds_count{trigger=\"Failover\"} 1",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[test]
fn the_fleet_is_replaced_as_a_whole() {
    let metrics = Metrics::new();
    metrics.set_fleet(&PolicyTotals {
        modes: vec![Mode::Enforce, Mode::Enforce, Mode::Observe],
        conditions: vec![(ConditionType::Ready, ConditionStatus::False)],
        unprepared: vec![PreparedReason::LonePod, PreparedReason::LonePod],
        holding: vec!["Budget"],
        stale: 7,
        stale_since: Some(Timestamp::UNIX_EPOCH),
        paused: 1,
        balances: vec![],
    });
    let first = page(&metrics);
    assert!(first.contains("dbbalance_policies{mode=\"Enforce\"} 2"));
    assert!(first.contains("dbbalance_policy_conditions{type=\"Ready\",status=\"False\"} 1"));
    assert!(first.contains("dbbalance_pods_stale 7"));
    assert!(first.contains("dbbalance_targets_held{gate=\"Budget\"} 1"));
    assert!(first.contains("dbbalance_policies_unprepared{reason=\"LonePod\"} 2"));
    assert!(first.contains("dbbalance_policies_unprepared{reason=\"Paused\"} 0"));
    metrics.set_fleet(&PolicyTotals::default());
    let second = page(&metrics);
    assert!(second.contains("dbbalance_policies{mode=\"Enforce\"} 0"));
    assert!(second.contains("dbbalance_policies_unprepared{reason=\"LonePod\"} 0"));
    assert!(second.contains("dbbalance_policy_conditions{type=\"Ready\",status=\"False\"} 0"));
}

#[test]
fn a_blocked_effect_counts_its_gate() {
    let metrics = Metrics::new();
    let blocked = EffectOutcome::Blocked {
        by: BlockedBy::DisruptionBudget,
        message: String::new(),
    };
    metrics.count_effect(Method::Evict, &blocked);
    let page = page(&metrics);
    assert!(page.contains("dbbalance_effects_blocked_total{gate=\"DisruptionBudget\"} 1"));
    assert!(page.contains("dbbalance_effects_total{method=\"Evict\",result=\"Blocked\"} 1"));
}

fn balance(policy: &str, balanced: ConditionStatus, figures: Option<BalanceSums>) -> PolicyTotals {
    PolicyTotals {
        balances: vec![PolicyBalance {
            namespace: "shop".into(),
            policy: policy.into(),
            balanced,
            figures,
        }],
        ..PolicyTotals::default()
    }
}

#[test]
fn a_policys_balance_is_shown_while_the_policy_is_there_and_can_be_told() {
    let metrics = Metrics::new();
    let sums = BalanceSums {
        writer: 3,
        reader: 197,
        wrong_role: 3,
        no_member: 2,
        excess: 40,
    };
    metrics.set_fleet(&balance("orders", ConditionStatus::False, Some(sums)));
    let first = page(&metrics);
    for line in [
        "dbbalance_balanced{namespace=\"shop\",policy=\"orders\"} 0",
        "dbbalance_connections{namespace=\"shop\",policy=\"orders\",role=\"Writer\"} 3",
        "dbbalance_connections{namespace=\"shop\",policy=\"orders\",role=\"Reader\"} 197",
        "dbbalance_misplaced_connections{namespace=\"shop\",policy=\"orders\",cause=\"WrongRole\"} 3",
        "dbbalance_misplaced_connections{namespace=\"shop\",policy=\"orders\",cause=\"NoMember\"} 2",
        "dbbalance_misplaced_connections{namespace=\"shop\",policy=\"orders\",cause=\"Excess\"} 40",
    ] {
        assert!(first.contains(line), "{line} is not in\n{first}");
    }
    // Unknown is not zero connections.
    metrics.set_fleet(&balance("orders", ConditionStatus::Unknown, None));
    let second = page(&metrics);
    assert!(second.contains("dbbalance_balanced{namespace=\"shop\",policy=\"orders\"} -1"));
    assert!(!second.contains("connections{namespace"), "{second}");
    // Another policy: the rows of the one that is gone go with it.
    metrics.set_fleet(&balance("others", ConditionStatus::True, Some(sums)));
    assert!(!page(&metrics).contains("policy=\"orders\""));
    metrics.set_fleet(&PolicyTotals::default());
    assert!(!page(&metrics).contains("policy="));
}

#[test]
fn the_figures_of_all_targets_are_added_and_those_that_tell_nothing_left_out() {
    let of = |shares: serde_json::Value| -> dbbalance_api::status::BalanceStatus {
        serde_json::from_value(serde_json::json!({
            "target": "web", "state": "Unbalanced", "reason": "Uneven", "message": "m", "source": "ProcNet",
            "measuredPods": "1/1", "shares": shares, "misplaced": {"wrongRole": 1}
        }))
        .unwrap()
    };
    let share = |role: &str, n: i32| serde_json::json!({"instance": role, "role": role, "connections": n, "percent": 1});
    let told = of(serde_json::json!([share("Writer", 2), share("Reader", 8)]));
    let sums = BalanceSums::sum_statuses(&[told.clone(), told, of(serde_json::json!([]))]).unwrap();
    assert_eq!((sums.writer, sums.reader, sums.wrong_role), (4, 16, 2));
    assert_eq!(
        BalanceSums::sum_statuses(&[of(serde_json::json!([]))]),
        None
    );
}
