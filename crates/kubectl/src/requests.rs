//! Makes requests to the operator: `recycle`, `pause` and `resume`, each by annotations of the policy.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::cli::{PauseArgs, RecycleArgs};
use super::error::PluginError;
use super::session::Session;
use super::status::policy_state;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::annotations::{PAUSE_REASON, PAUSE_UNTIL, RECYCLE_REQUESTED};
use dbbalance_api::conditions::{self, ConditionType};
use dbbalance_api::status::{DbBalancePolicyStatus, RunResult};
use dbbalance_terminal::Canvas;
use dbbalance_terminal::render::{format_span, format_time};

/// Interval of reads while waiting. The steps of a run are seconds apart.
const LOOK: Duration = Duration::from_secs(1);

/// Prints a line for the user at once.
pub(super) type ReportLine<'a> = &'a mut dyn FnMut(&str);

/// Sets the token, and waits if asked to.
pub(super) async fn request_run(
    session: &Session,
    args: &RecycleArgs,
    canvas: Canvas,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    let now = Timestamp::now();
    let token = args
        .token
        .clone()
        .unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    check_request(&policy, &token)?;
    session
        .annotate_policy(&args.policy, &[(RECYCLE_REQUESTED, Some(&token))])
        .await?;
    say(&format!(
        "policy {}/{}: a run is requested, token {token}",
        session.namespace, args.policy
    ));
    let plain = Canvas {
        colour: false,
        ..canvas
    };
    let stands = policy_state(&policy, plain, now);
    if stands != "Enforce" {
        say(&format!(
            "the policy is {stands}: the request is recorded, and pods are recycled once it may act"
        ));
    }
    if args.wait {
        wait_for_run(session, &args.policy, &token, args.timeout, say).await?;
    }
    Ok(())
}

/// Refuses a request that the operator would not accept.
fn check_request(policy: &DbBalancePolicy, token: &str) -> Result<(), PluginError> {
    let name = policy.name_any();
    let status = policy.status.as_ref();
    if status.and_then(|s| s.epoch).is_none() {
        return Err(PluginError::Declined(format!(
            "policy {name} has not been seen by an operator yet, which would take the first token that it finds \
             for an old one: wait for Ready (kubectl wait dbp/{name} --for=condition=Ready)"
        )));
    }
    if status.and_then(|s| s.recycle_requested.as_deref()) == Some(token) {
        return Err(PluginError::Declined(format!(
            "policy {name} has already accepted token {token}: pass another --token, or omit it"
        )));
    }
    Ok(())
}

async fn wait_for_run(
    session: &Session,
    name: &str,
    token: &str,
    limit: SignedDuration,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let started = std::time::Instant::now();
    let limit = limit.unsigned_abs();
    let mut said = String::new();
    loop {
        let policy = session.get_policy(name).await?;
        let stands = request_state(&policy, token);
        match &stands {
            RequestState::Fresh(words) => {
                say(words);
                return Ok(());
            }
            RequestState::Halted(words) => return Err(PluginError::Halted(words.clone())),
            RequestState::Waiting(words) => {
                if *words != said {
                    say(words);
                    said.clone_from(words);
                }
            }
        }
        if started.elapsed() >= limit {
            return Err(PluginError::TimedOut(format!(
                "policy {name} is not fresh after {}: the request is kept and the operator continues; see kubectl \
                 dbbalance status {name}",
                format_span(i64::try_from(limit.as_secs()).unwrap_or(i64::MAX))
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum RequestState {
    Fresh(String),
    Halted(String),
    Waiting(String),
}

/// How the request stands.
fn request_state(policy: &DbBalancePolicy, token: &str) -> RequestState {
    let empty = DbBalancePolicyStatus::default();
    let status = policy.status.as_ref().unwrap_or(&empty);
    if status.recycle_requested.as_deref() != Some(token) {
        return match policy.annotations().get(RECYCLE_REQUESTED) {
            Some(other) if other != token => {
                RequestState::Halted(format!("another request replaced this one: token {other}"))
            }
            _ => RequestState::Waiting("waiting for the operator to accept the request".to_owned()),
        };
    }
    let halted = status.targets.iter().find_map(|t| {
        let run = t.run.as_ref().filter(|r| r.result == RunResult::Halted)?;
        (run.epoch >= t.due_epoch).then_some((t.name.as_str(), run))
    });
    if let Some((target, run)) = halted {
        let message = run.message.as_deref().unwrap_or("no reason given");
        return RequestState::Halted(format!(
            "the run of target {target} has halted, {} of {} pods recycled: {message}",
            run.recycled, run.pods
        ));
    }
    let running = status.targets.iter().any(|t| {
        t.run
            .as_ref()
            .is_some_and(|r| r.result == RunResult::Running)
    });
    let fresh = conditions::find_condition(&status.conditions, ConditionType::Fresh)
        .is_some_and(|c| c.status == "True");
    let epoch = status.epoch.unwrap_or_default();
    if fresh && !running && status.pending_epoch.is_none() {
        return RequestState::Fresh(format!("all pods are fresh at epoch {epoch}"));
    }
    let stale = status.stale.as_deref().unwrap_or("?");
    // Without countdowns, so that a line is printed once for each change.
    let gates: Vec<String> = status
        .plan
        .iter()
        .filter_map(|p| {
            Some(format!(
                "{} waits for {}",
                p.target,
                p.waiting_for.as_ref()?
            ))
        })
        .filter(|text| !text.ends_with("Pacing"))
        .collect();
    let gates = if gates.is_empty() {
        String::new()
    } else {
        format!("; {}", gates.join(", "))
    };
    RequestState::Waiting(format!("{stale} pods are stale{gates}"))
}

/// Sets the pause.
pub(super) async fn pause_policy(
    session: &Session,
    args: &PauseArgs,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    let now = Timestamp::now();
    let until = pause_end(args, now)?;
    // To the second: it is read by people too.
    let text = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let reason = args.reason.as_deref();
    session
        .annotate_policy(
            &args.policy,
            &[(PAUSE_UNTIL, Some(&text)), (PAUSE_REASON, reason)],
        )
        .await?;
    let left = format_span(until.duration_since(now).as_secs());
    let name = policy.name_any();
    say(&format!(
        "policy {}/{name}: paused until {}, for {left}; end it with kubectl dbbalance resume {name}",
        session.namespace,
        format_time(until)
    ));
    Ok(())
}

fn pause_end(args: &PauseArgs, now: Timestamp) -> Result<Timestamp, PluginError> {
    let until = match args.until {
        Some(until) => until,
        None => now
            .checked_add(args.duration)
            .map_err(|e| PluginError::Declined(format!("--for {:#}: {e}", args.duration)))?,
    };
    if until <= now {
        return Err(PluginError::Declined(format!(
            "--until {until} is in the past: it is {} now",
            format_time(now)
        )));
    }
    Ok(until)
}

/// Takes the pause away.
pub(super) async fn resume_policy(
    session: &Session,
    name: &str,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(name).await?;
    let was = policy.annotations().get(PAUSE_UNTIL).cloned();
    let namespace = &session.namespace;
    let Some(was) = was else {
        say(&format!("policy {namespace}/{name} is not paused"));
        return Ok(());
    };
    let after = session
        .annotate_policy(name, &[(PAUSE_UNTIL, None), (PAUSE_REASON, None)])
        .await?;
    say(&format!(
        "policy {namespace}/{name}: the pause until {was} has ended"
    ));
    if after.spec.suspend {
        say("it is still suspended by spec.suspend");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
