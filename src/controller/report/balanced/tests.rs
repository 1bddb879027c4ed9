#![allow(clippy::unwrap_used)]
use super::*;
use serde_json::json;

const EVEN: &str = "shares 34/33/33 %, within 15 %, 20 of 20 pods read";

fn of(target: &str, state: &str, reason: &str, message: &str) -> BalanceStatus {
    serde_json::from_value(json!({
        "target": target, "state": state, "reason": reason, "message": message, "source": "ProcNet",
        "measuredPods": "20/20", "limitedBy": (reason == "PodQuantum").then_some("PodQuantum")
    }))
    .unwrap()
}

fn verdict(balance: &[BalanceStatus]) -> (ConditionStatus, String, String) {
    balanced_condition(EvidenceSource::ProcNet, balance)
}

#[test]
fn all_targets_balanced_is_true_with_the_figures() {
    let (status, reason, message) = verdict(&[of("web", "Balanced", "Balanced", EVEN)]);
    assert_eq!(
        (status, reason.as_str()),
        (ConditionStatus::True, "Balanced")
    );
    assert_eq!(message, EVEN);
    let two = [
        of("web", "Balanced", "Balanced", EVEN),
        of(
            "jobs",
            "Balanced",
            "PodQuantum",
            "shares 67/33 %, not within 15 %, 3 of 3 pods read",
        ),
    ];
    let (status, reason, message) = verdict(&two);
    assert_eq!(
        (status, reason.as_str()),
        (ConditionStatus::True, "PodQuantum")
    );
    assert_eq!(
        message,
        format!(
            "web: {EVEN}; jobs: shares 67/33 %, not within 15 %, 3 of 3 pods read, as even as whole pods allow (limited by PodQuantum)"
        )
    );
}

#[test]
fn one_uneven_target_is_false_whatever_the_others_are() {
    let uneven = "shares 90/10 %, not within 15 %, 20 of 20 pods read";
    let (status, reason, message) = verdict(&[
        of("a", "Balanced", "Balanced", EVEN),
        of("b", "Unknown", "NoPods", "there are no pods"),
        of("c", "Unbalanced", "Uneven", uneven),
    ]);
    assert_eq!(
        (status, reason.as_str()),
        (ConditionStatus::False, "Uneven")
    );
    assert_eq!(message, format!("c: {uneven}"));
}

#[test]
fn what_cannot_be_told_is_unknown_with_its_reason() {
    for reason in [
        "EvidenceNotGranted",
        "EvidencePartial",
        "EvidenceUnattributable",
    ] {
        let (status, said, message) = verdict(&[
            of("a", "Balanced", "Balanced", EVEN),
            of("b", "Unknown", reason, "why"),
        ]);
        assert_eq!((status, said.as_str()), (ConditionStatus::Unknown, reason));
        assert_eq!(message, "b: why");
    }
    assert_eq!(verdict(&[]).1, "Pending");
    let without = balanced_condition(EvidenceSource::None, &[]);
    assert_eq!(
        (without.0, without.1.as_str()),
        (ConditionStatus::Unknown, "NoEvidence")
    );
}
