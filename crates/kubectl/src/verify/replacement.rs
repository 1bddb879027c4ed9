//! The proof of an eviction: the pod is gone, and one that was not there before holds connections.
//!
//! Waits and looks; the eviction was made by `effect`.

use std::collections::BTreeSet;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::case::{Case, LOOK};
use super::proof::Proof;
use crate::error::Error;
use crate::pods;
use crate::wish::Say;
use dbbalance_core::evidence::Socket;

/// Waits for a pod of the target that is not among `before`, is Ready and holds connections.
pub(super) async fn wait(
    case: &Case<'_>,
    before: &[Pod],
    began: Instant,
    say: Say<'_>,
) -> Result<Proof, Error> {
    let known: BTreeSet<String> = before.iter().filter_map(ResourceExt::uid).collect();
    let mut said = String::new();
    loop {
        let now = case.session.pods().await?;
        let state = look(case, &known, &now).await?;
        let seconds = began.elapsed().as_secs_f64();
        let words = match state {
            State::Serves(name, sockets) => {
                let proof = Proof::of(&case.before, &sockets, &case.book);
                say(proof.figures().trim_end());
                say(&format!(
                    "proven: pod {} is gone with its {} connections; {name} serves after {seconds:.1} s and holds {}",
                    case.of.name, proof.before, proof.after
                ));
                return Ok(proof);
            }
            State::Waits(words) => words,
        };
        if words != said {
            say(&format!("  {seconds:>5.1} s  {words}"));
            said.clone_from(&words);
        }
        if began.elapsed() >= case.limit {
            return Err(Error::NotProven(format!(
                "after {} s {words}: a longer --timeout may help, if the app takes long to end or to start",
                case.limit.as_secs()
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

enum State {
    Serves(String, Vec<Socket>),
    Waits(String),
}

async fn look(case: &Case<'_>, known: &BTreeSet<String>, now: &[Pod]) -> Result<State, Error> {
    let old = now
        .iter()
        .find(|p| p.uid().as_deref() == Some(&case.of.uid));
    if old.is_some() {
        return Ok(State::Waits(format!("{} is still ending", case.of.name)));
    }
    let counted = pods::of_target(now, case.target);
    let new = counted.iter().filter(|p| !known.contains(&p.facts.uid));
    let mut words = "no other pod has taken its place".to_owned();
    for pod in new {
        if !pod.facts.ready {
            words = format!("{} is not Ready", pod.facts.name);
            continue;
        }
        match case.look(pod.object).await? {
            Ok(sockets) if sockets.iter().any(Socket::is_connection) => {
                return Ok(State::Serves(pod.facts.name.clone(), sockets));
            }
            Ok(_) => words = format!("{} is Ready and holds no connection", pod.facts.name),
            Err(why) => words = format!("{} cannot be read: {why}", pod.facts.name),
        }
    }
    Ok(State::Waits(words))
}
