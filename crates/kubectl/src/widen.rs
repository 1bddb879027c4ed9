//! Makes the request to widen a policy's name, and waits until the operator has done so.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;

use super::cli::WidenArgs;
use super::error::PluginError;
use super::requests::ReportLine;
use super::session::Session;
use dbbalance_api::DbBalancePolicy;
use dbbalance_api::annotations::{NARROWED, WIDE_UNTIL, WIDENS_TO};
use dbbalance_api::spec::SteeringVia;
use dbbalance_api::status::DnsStatus;
use dbbalance_terminal::render::{format_span, format_time};

/// Interval of reads while waiting: the operator acts within a second.
const LOOK: Duration = Duration::from_millis(250);

/// Asks the operator to widen the name of a policy, and waits until its status says so.
pub(super) async fn widen_name(
    session: &Session,
    args: &WidenArgs,
    say: ReportLine<'_>,
) -> Result<(), PluginError> {
    let policy = session.get_policy(&args.policy).await?;
    check_steered(&policy)?;
    let now = Timestamp::now();
    let until = now
        .checked_add(args.duration)
        .map_err(|e| PluginError::Declined(format!("--for {:#}: {e}", args.duration)))?;
    // To the second: it is read by people too.
    let text = until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    session
        .annotate_policy(&args.policy, &[(WIDE_UNTIL, Some(&text))])
        .await?;
    let (namespace, name) = (&session.namespace, &args.policy);
    say(&format!(
        "policy {namespace}/{name}: its name stays wide until {}, for {}; end it with kubectl annotate dbp/{name} -n \
         {namespace} {WIDE_UNTIL}-",
        format_time(until),
        format_span(until.duration_since(now).as_secs())
    ));
    let limit = args.timeout.unsigned_abs();
    let started = std::time::Instant::now();
    loop {
        let policy = session.get_policy(name).await?;
        let Some(narrowed) = narrowed_name(&policy) else {
            say("it leads to Aurora's own answer");
            return Ok(());
        };
        if started.elapsed() >= limit {
            return Err(PluginError::TimedOut(describe_narrowed(
                &policy,
                narrowed,
                limit.as_secs(),
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Refuses a policy that steers no name and has none left over.
fn check_steered(policy: &DbBalancePolicy) -> Result<(), PluginError> {
    let is_recorded = policy.status.as_ref().is_some_and(|s| s.dns.is_some());
    if policy.spec.dns.steering.is_some() || is_recorded {
        return Ok(());
    }
    Err(PluginError::Declined(format!(
        "policy {} steers no name: it has no spec.dns.steering",
        policy.name_any()
    )))
}

/// The name that the status says is narrowed.
fn narrowed_name(policy: &DbBalancePolicy) -> Option<&DnsStatus> {
    let dns = policy.status.as_ref()?.dns.as_ref()?;
    (dns.narrowed_since.is_some()).then_some(dns)
}

/// Says that a name is still narrowed, and how a person widens it without the operator.
fn describe_narrowed(policy: &DbBalancePolicy, dns: &DnsStatus, seconds: u64) -> String {
    let namespace = policy.namespace().unwrap_or_default();
    let by_hand = match dns.via {
        SteeringVia::Service => format!(
            "kubectl -n {namespace} patch service {} --type merge -p \
             '{{\"metadata\":{{\"annotations\":{{\"{NARROWED}\":null}}}},\"spec\":{{\"externalName\":\"<its annotation \
             {WIDENS_TO}>\"}}}}'",
            dns.service
        ),
        SteeringVia::Slice => format!(
            "kubectl -n <the operator's namespace> patch endpointslice {} --type merge -p \
             '{{\"metadata\":{{\"annotations\":{{\"{NARROWED}\":null}}}},\"endpoints\":[]}}'",
            dns.service
        ),
    };
    format!(
        "{} {} still leads to {} after {seconds} s: the operator is away or may not patch it; see its log, or widen it \
         yourself: {by_hand}",
        dns.via.as_str(),
        dns.service,
        dns.led
    )
}

#[cfg(test)]
mod tests;
