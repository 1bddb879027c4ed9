use super::*;

fn deployment() -> WorkloadFacts {
    WorkloadFacts {
        kind: WorkloadKind::Deployment,
        name: "web".into(),
        uid: "u".into(),
        generation: 1,
        wanted: 8,
        present: 8,
        updated: 8,
        observed: true,
        paused: false,
        rollout_failed: false,
        strategy: RolloutStrategy::RollingUpdate {
            max_unavailable: IntOrString::String("25%".into()),
            max_surge: IntOrString::String("25%".into()),
        },
        template_stamp: None,
        owner: None,
        ignored: false,
    }
}

#[test]
fn a_rollout_within_max_unavailable_is_taken() {
    assert_eq!(deployment().rollout_refusal(2), None);
    assert!(deployment().rollout_refusal(1).is_some());
    assert_eq!(deployment().surge_pods(), 2);
}

#[test]
fn recreate_on_delete_partition_and_owned_workloads_are_refused_with_a_reason() {
    for strategy in [
        RolloutStrategy::Recreate,
        RolloutStrategy::OnDelete,
        RolloutStrategy::Partition(2),
    ] {
        assert!(
            WorkloadFacts {
                strategy,
                ..deployment()
            }
            .rollout_refusal(8)
            .is_some()
        );
    }
    let owned = WorkloadFacts {
        owner: Some("Foo bar".into()),
        ..deployment()
    };
    assert!(
        owned
            .rollout_refusal(8)
            .is_some_and(|m| m.contains("Foo bar"))
    );
}

#[test]
fn a_workload_is_rolling_until_all_pods_are_of_the_newest_template() {
    assert!(!deployment().is_rolling());
    assert!(
        WorkloadFacts {
            updated: 3,
            ..deployment()
        }
        .is_rolling()
    );
    assert!(
        WorkloadFacts {
            observed: false,
            ..deployment()
        }
        .is_rolling()
    );
    assert!(
        WorkloadFacts {
            present: 10,
            ..deployment()
        }
        .is_rolling()
    );
    assert!(
        !WorkloadFacts {
            present: 5,
            updated: 5,
            ..deployment()
        }
        .is_rolling()
    );
}
