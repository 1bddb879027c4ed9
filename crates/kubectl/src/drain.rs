//! Requests drains: `drain` and `undrain`, by an annotation of the policy. The operator does the rest.

use std::time::Duration;

use kube::ResourceExt;

use super::cli::{DrainArgs, UndrainArgs};
use super::error::PluginError;
use super::requests::ReportLine;
use super::session::Session;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::annotations::DRAIN;
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_terminal::render::format_span;

/// Interval of reads while waiting: pods move seconds apart.
const LOOK: Duration = Duration::from_secs(1);

/// How a drain of one instance stands.
#[derive(Debug, PartialEq, Eq)]
enum DrainState {
    /// Nothing of the policy is left on it.
    Drained(String),
    /// The operator refuses it.
    Refused(String),
    /// It goes on, or was not seen yet.
    Waiting(String),
}

/// Asks the operator to drain an instance, and waits if asked to.
pub(super) async fn drain_instance(
    session: &Session,
    args: &DrainArgs,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    let text = add_instance(named_instances(&policy), &args.instance);
    session
        .annotate_policy(&args.policy, &[(DRAIN, Some(&text))])
        .await?;
    let (namespace, name) = (&session.namespace, &args.policy);
    say(&format!(
        "policy {namespace}/{name}: {} is drained; end it with kubectl dbbalance undrain {name} {}",
        args.instance, args.instance
    ));
    if !args.wait {
        say(&format!(
            "to wait for it: kubectl wait dbp/{name} --for=condition=Drained"
        ));
        return Ok(());
    }
    let started = std::time::Instant::now();
    let limit = args.timeout.unsigned_abs();
    let mut said = String::new();
    loop {
        let policy = session.get_policy(name).await?;
        match drain_state(&policy, &args.instance) {
            DrainState::Drained(words) => {
                say(&words);
                return Ok(());
            }
            DrainState::Refused(words) => return Err(PluginError::Declined(words)),
            DrainState::Waiting(words) => {
                if words != said {
                    say(&words);
                    said = words;
                }
            }
        }
        if started.elapsed() >= limit {
            return Err(PluginError::TimedOut(format!(
                "{} is not drained after {}: the request is kept and the operator continues; see kubectl dbbalance status {name}",
                args.instance,
                format_span(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX))
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Ends the drain of an instance.
pub(super) async fn undrain_instance(
    session: &Session,
    args: &UndrainArgs,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    let (namespace, name) = (&session.namespace, &args.policy);
    let mut names = named_instances(&policy);
    if !names.contains(&args.instance) {
        say(&format!(
            "policy {namespace}/{name} does not drain {}",
            args.instance
        ));
        return Ok(());
    }
    names.retain(|n| *n != args.instance);
    let text = names.join(",");
    let text = (!names.is_empty()).then_some(text.as_str());
    session.annotate_policy(name, &[(DRAIN, text)]).await?;
    say(&format!(
        "policy {namespace}/{name}: {} gets its share again",
        args.instance
    ));
    Ok(())
}

/// Returns the instances that the policy drains.
fn named_instances(policy: &DbBalancePolicy) -> Vec<String> {
    let text = policy.annotations().get(DRAIN).map_or("", String::as_str);
    let names = text.split(',').map(str::trim).filter(|n| !n.is_empty());
    names.map(str::to_owned).collect()
}

/// Returns the annotation with one more instance.
fn add_instance(mut names: Vec<String>, instance: &str) -> String {
    if !names.iter().any(|n| n == instance) {
        names.push(instance.to_owned());
    }
    names.join(",")
}

/// Returns how the drain of an instance stands, by the condition. One that does not name the instance is from before.
fn drain_state(policy: &DbBalancePolicy, instance: &str) -> DrainState {
    let conditions = policy.status.as_ref().map(|s| s.conditions.as_slice());
    let found = conditions::find_condition(conditions.unwrap_or_default(), ConditionType::Drained);
    let waiting = "waiting for the operator to accept the request";
    let Some(found) = found else {
        return DrainState::Waiting(waiting.to_owned());
    };
    let is_named = found
        .message
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_named = is_named.into_iter().any(|word| word == instance);
    match (found.status.as_str(), found.reason.as_str()) {
        ("True", _) if is_named => DrainState::Drained(found.message.clone()),
        ("False", "NoRoom" | "NoReaderWithWeight" | "InvalidAnnotation" | "IsWriter") => {
            DrainState::Refused(found.message.clone())
        }
        ("Unknown", "NoEvidence") => DrainState::Refused(found.message.clone()),
        _ if is_named => DrainState::Waiting(found.message.clone()),
        _ => DrainState::Waiting(waiting.to_owned()),
    }
}

#[cfg(test)]
mod tests;
