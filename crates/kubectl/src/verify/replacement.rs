//! Proves an eviction: the pod is gone, and one that did not exist before holds connections.

use std::collections::BTreeSet;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::proof::Proof;
use super::verification::{LOOK, Verification};
use crate::error::PluginError;
use crate::pods;
use crate::requests::ReportLine;
use dbbalance_core::evidence::Socket;

/// Waits for a pod of the target that is not among `before`, is Ready and holds connections.
pub(super) async fn wait_for_replacement(
    verification: &Verification<'_>,
    before: &[Pod],
    began: Instant,
    say: ReportLine<'_>,
) -> Result<Proof, PluginError> {
    let known: BTreeSet<String> = before.iter().filter_map(ResourceExt::uid).collect();
    let mut said = String::new();
    loop {
        let now = verification.session.list_pods().await?;
        let state = check_replacement(verification, &known, &now).await?;
        let seconds = began.elapsed().as_secs_f64();
        let words = match state {
            ReplacementState::Serves(name, sockets) => {
                let proof =
                    Proof::compare(&verification.before, &sockets, &verification.address_map);
                say(proof.figures_text().trim_end());
                say(&format!(
                    "proven: pod {} is gone with its {} connections; {name} serves after {seconds:.1} s and holds {}",
                    verification.pod_name(),
                    proof.before,
                    proof.after
                ));
                return Ok(proof);
            }
            ReplacementState::Waits(words) => words,
        };
        if words != said {
            say(&format!("  {seconds:>5.1} s  {words}"));
            said.clone_from(&words);
        }
        if began.elapsed() >= verification.limit {
            return Err(PluginError::NotProven(format!(
                "after {} s {words}: a longer --timeout may help, if the app takes long to end or to start",
                verification.limit.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

enum ReplacementState {
    Serves(String, Vec<Socket>),
    Waits(String),
}

async fn check_replacement(
    verification: &Verification<'_>,
    known: &BTreeSet<String>,
    now: &[Pod],
) -> Result<ReplacementState, PluginError> {
    let old = now
        .iter()
        .find(|p| p.uid().as_deref() == Some(&verification.recycle.pod_ref.uid));
    if old.is_some() {
        return Ok(ReplacementState::Waits(format!(
            "{} is still ending",
            verification.pod_name()
        )));
    }
    let counted = pods::counted_pods(now, verification.recycle.target);
    let new = counted.iter().filter(|p| !known.contains(&p.facts.uid));
    let mut words = "no other pod has taken its place".to_owned();
    for pod in new {
        if !pod.facts.ready {
            words = format!("{} is not Ready", pod.facts.name);
            continue;
        }
        match verification.read_sockets(pod.object).await? {
            Ok(sockets) if sockets.iter().any(Socket::is_connection) => {
                return Ok(ReplacementState::Serves(pod.facts.name.clone(), sockets));
            }
            Ok(_) => words = format!("{} is Ready and holds no connection", pod.facts.name),
            Err(why) => words = format!("{} cannot be read: {why}", pod.facts.name),
        }
    }
    Ok(ReplacementState::Waits(words))
}
