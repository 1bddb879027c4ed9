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
        let texts: Vec<String> = found
            .iter()
            .map(|b| describe_target(b, balance.len() > 1))
            .collect();
        return (status, reason, texts.join("; "));
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
mod tests;
