//! Defines the plugin's commands and flags, and checks their ranges.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (the message says why), 2 wrong usage, 3 not proven (verify), 130 interrupted.";

/// Show and control how connection pools follow an Aurora cluster.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl dbbalance", bin_name = "kubectl dbbalance", version, about,
    disable_help_subcommand = true, after_help = EXIT_CODES
)]
#[allow(clippy::doc_markdown)] // the docs become --help, where backticks are noise
pub struct PluginCli {
    /// The Kubernetes cluster, user and namespace.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// The command.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// The flags that `kubectl` has, with the same meaning.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct ConnectArgs {
    /// Namespace of the policy. Default: the namespace of the kubeconfig context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// Kubeconfig context to use. Default: the current context.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// Path of the kubeconfig. Default: $KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// The commands of the plugin.
#[derive(Debug, Subcommand)]
#[allow(clippy::doc_markdown)]
pub enum PluginCommand {
    /// Show a policy: cluster, conditions, targets, balance, plan and last runs.
    Status(StatusArgs),
    /// Show the next step of each target, and the first gate that holds it.
    Plan(PlanArgs),
    /// Measure the connections of each pod to each instance.
    ///
    /// Reads /proc/net of each pod by exec, with your own rights: list pods and create pods/exec in
    /// the namespace. Nothing is changed.
    Connections(ConnectionsArgs),
    /// Recycle one pod by its target's method and prove that its connections are new.
    ///
    /// Acts with your own rights: create pods/exec, patch pods, and what the method needs (Signal:
    /// nothing more, HTTP: pods/proxy, Evict: create pods/eviction). The pod is claimed meanwhile, so
    /// that the operator leaves it alone. Refused while the policy is not Ready, while a run is in
    /// progress, or if the pod has a claim.
    #[command(
        after_help = "Exit codes: 0 proven, 1 failed or refused before anything was done, 2 wrong usage,\n            \
                            3 the pod was recycled and its connections are not all new."
    )]
    Verify(VerifyArgs),
    /// Request a run: each pod of each target is recycled once, paced and within the budget.
    Recycle(RecycleArgs),
    /// Empty a reader, for example before it is rebooted, resized or deleted.
    ///
    /// Its connections move to the other readers, and it receives none until undrain. Refused by the
    /// operator if no reader with a weight would be left, or the others cannot take the connections.
    Drain(DrainArgs),
    /// End the drain of a reader, so that it gets its share again.
    Undrain(UndrainArgs),
    /// Pause a policy: stop all effects until a given time. Topology is still followed.
    Pause(PauseArgs),
    /// End a pause. What became due meanwhile is done, paced.
    Resume(PolicyArg),
    /// Lead the policy's name to Aurora's own answer, and keep the operator from narrowing it for a while.
    ///
    /// The operator does it, within a second; pods are recycled as without spec.dns.steering meanwhile.
    Widen(WidenArgs),
}

/// A policy.
#[derive(Args, Clone, Debug)]
pub struct PolicyArg {
    /// Name of the policy.
    pub policy: String,
}

/// An output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Options of `status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Name of the policy. Default: all policies of the namespace, as a table.
    pub policy: Option<String>,
    /// Output format: text, or the objects as JSON.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Name of the policy.
    pub policy: String,
    /// Output format: text or JSON.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `connections`.
#[derive(Args, Clone, Debug)]
pub struct ConnectionsArgs {
    /// Name of the policy.
    pub policy: String,
    /// Name of the only target to measure. Default: all targets of the policy.
    #[arg(long)]
    pub target: Option<String>,
    /// Port of the database. Default: the target's port, else the cluster's, else 5432.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Measure every 2 seconds until Ctrl-C; a terminal is redrawn in place.
    #[arg(short, long)]
    pub watch: bool,
    /// Maximum number of pods to list per target, pods with a problem first. 0 lists all.
    #[arg(long, default_value_t = 20, value_name = "PODS")]
    pub rows: usize,
    /// Output format: text or JSON; with --watch, one JSON array per line.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `verify`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct VerifyArgs {
    /// Name of the policy.
    pub policy: String,
    /// Name of the target. Required if the policy has several.
    #[arg(long)]
    pub target: Option<String>,
    /// Name of the pod. Default: the first Ready pod of the target, by name, that holds connections.
    #[arg(long)]
    pub pod: Option<String>,
    /// Port of the database. Default: the target's port, else the cluster's, else 5432.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Recycle the pod without asking first.
    #[arg(short, long)]
    pub yes: bool,
    /// Time within which the pod must renew its connections, for example 30s or 2m.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub timeout: SignedDuration,
}

/// Options of `recycle`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct RecycleArgs {
    /// Name of the policy.
    pub policy: String,
    /// Token of the request, different from the last one. Default: the current time.
    #[arg(long, value_parser = parse_token)]
    pub token: Option<String>,
    /// Wait until no pod is stale.
    #[arg(long)]
    pub wait: bool,
    /// Maximum time to wait, for example 90s or 1h.
    #[arg(long, default_value = "30m", value_parser = parse_duration, requires = "wait")]
    pub timeout: SignedDuration,
}

/// Options of `drain`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct DrainArgs {
    /// Name of the policy.
    pub policy: String,
    /// DB instance identifier of the reader.
    #[arg(value_parser = parse_instance)]
    pub instance: String,
    /// Wait until nothing of the policy is left on it.
    #[arg(long)]
    pub wait: bool,
    /// Maximum time to wait, for example 90s or 1h.
    #[arg(long, default_value = "30m", value_parser = parse_duration, requires = "wait")]
    pub timeout: SignedDuration,
}

/// Options of `undrain`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct UndrainArgs {
    /// Name of the policy.
    pub policy: String,
    /// DB instance identifier of the reader.
    #[arg(value_parser = parse_instance)]
    pub instance: String,
}

/// Options of `pause`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct PauseArgs {
    /// Name of the policy.
    pub policy: String,
    /// Length of the pause, for example 30m, 2h or 1d.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub duration: SignedDuration,
    /// End of the pause as an RFC 3339 time, for example 2026-05-04T18:00:00Z.
    #[arg(long, value_name = "TIME", conflicts_with = "duration")]
    pub until: Option<Timestamp>,
    /// Reason that status shows with the pause.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// Options of `widen`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct WidenArgs {
    /// Name of the policy.
    pub policy: String,
    /// Time for which the name stays wide, for example 30m, 2h or 1d.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub duration: SignedDuration,
    /// Maximum time to wait until the name is wide.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub timeout: SignedDuration,
}

/// Parses a duration, with days of 24 hours. It must be above zero and at most 366 days.
fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);
    let span: Span = text.parse().map_err(|_| wrong_duration(text))?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong_duration(text))?;
    if duration <= SignedDuration::ZERO || duration > YEAR {
        return Err("must be above zero and at most 366 days".to_owned());
    }
    Ok(duration)
}

fn wrong_duration(text: &str) -> String {
    format!("invalid duration {text:?} (examples: 90s, 30m, 2h, 1d)")
}

/// Parses a DB instance identifier, in lower case.
fn parse_instance(text: &str) -> Result<String, String> {
    let mut letters = text.chars();
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_name = letters.next().is_some_and(|c| c.is_ascii_lowercase());
    if is_name && letters.all(is_inner) && text.len() <= 63 {
        Ok(text.to_owned())
    } else {
        Err("must be a DB instance identifier in lower case".to_owned())
    }
}

/// Parses a token. It is part of messages and events: 1 to 128 printable characters without blanks.
fn parse_token(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 printable characters without blanks".to_owned())
    }
}

#[cfg(test)]
mod tests;
