//! The condition `Balanced`: summarizes `status.balance`, and changes as rarely.

use dbbalance_api::conditions::ConditionStatus;
use dbbalance_api::spec::EvidenceSource;
use dbbalance_api::status::{BalanceState, BalanceStatus, LimitedBy};

/// Returns status, reason and message. One unbalanced target makes it False. Without one, a target that cannot be
/// measured makes it Unknown.
pub(super) fn balanced_condition(
    source: EvidenceSource,
    balance: &[BalanceStatus],
) -> (ConditionStatus, String, String) {
    if source == EvidenceSource::None {
        let message = "connections are not measured: a recycled pod is not necessarily balanced";
        return (
            ConditionStatus::Unknown,
            "NoEvidence".to_owned(),
            message.to_owned(),
        );
    }
    for (state, status) in [
        (BalanceState::Unbalanced, ConditionStatus::False),
        (BalanceState::Unknown, ConditionStatus::Unknown),
        (BalanceState::Balanced, ConditionStatus::True),
    ] {
        let found: Vec<&BalanceStatus> = balance.iter().filter(|b| b.state == state).collect();
        let Some(first) = found.first() else {
            continue;
        };
        // The reason of a target that is limited by whole pods is more useful than that of an even one.
        let limited = found.iter().find(|b| b.limited_by.is_some());
        let reason = limited.unwrap_or(first).reason.clone();
        let words: Vec<String> = found
            .iter()
            .map(|b| describe_target(b, balance.len() > 1))
            .collect();
        return (status, reason, words.join("; "));
    }
    (
        ConditionStatus::Unknown,
        "Pending".to_owned(),
        "connections have not been measured yet".to_owned(),
    )
}

fn describe_target(balance: &BalanceStatus, named: bool) -> String {
    let limit = match balance.limited_by {
        Some(LimitedBy::PodQuantum) => ", as even as whole pods allow (limited by PodQuantum)",
        None => "",
    };
    let message = &balance.message;
    if named {
        format!("{}: {message}{limit}", balance.target)
    } else {
        format!("{message}{limit}")
    }
}

#[cfg(test)]
mod tests {
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
}
