//! The plugin's commands and flags.
//!
//! Parses and checks ranges; reads no file and asks no server.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (the message says why), 2 wrong usage, 3 not proven (verify), 130 interrupted.";

/// See and steer how connection pools follow an Aurora cluster.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl dbbalance", bin_name = "kubectl dbbalance", version, about,
    disable_help_subcommand = true, after_help = EXIT_CODES
)]
#[allow(clippy::doc_markdown)] // the docs become --help, where backticks are noise
pub struct PluginCli {
    /// Which cluster, as whom and in which namespace.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
}

/// The flags that `kubectl` has, with the same meaning.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct ConnectArgs {
    /// The policy's namespace. Default: the one of the kubeconfig's context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    /// The kubeconfig's context to use. Default: its current one.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The kubeconfig to use. Default: $KUBECONFIG, then ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// What the plugin can do.
#[derive(Debug, Subcommand)]
#[allow(clippy::doc_markdown)]
pub enum PluginCommand {
    /// Show how a policy stands: cluster, conditions, targets, balance, plan and last runs.
    Status(StatusArgs),
    /// Show what would be done next for each target, and the first gate that holds it.
    Plan(PlanArgs),
    /// Measure which pod holds how many connections to which instance.
    ///
    /// Reads /proc/net of each pod by exec, with your own rights: list pods and create pods/exec in
    /// the namespace. Nothing is changed.
    Connections(ConnectionsArgs),
    /// Recycle one pod by its target's method and prove that its connections are new.
    ///
    /// Acts with your own rights: create pods/exec, patch pods, and what the method needs (Signal:
    /// nothing more, HTTP: pods/proxy, Evict: create pods/eviction). The pod is claimed meanwhile, so
    /// that the operator leaves it alone. Refused while the policy is not Ready, a run is in
    /// progress, or somebody's claim is on the pod.
    #[command(
        after_help = "Exit codes: 0 proven, 1 failed or refused before anything was done, 2 wrong usage,\n            \
                            3 the pod was recycled and its connections are not all new."
    )]
    Verify(VerifyArgs),
    /// Ask for a run: every pod of every target is recycled once, paced and inside the budget.
    Recycle(RecycleArgs),
    /// Pause a policy: nothing is done until a given time. Topology is still followed.
    Pause(PauseArgs),
    /// End a pause. What became due meanwhile is done, paced.
    Resume(PolicyArg),
}

/// A policy.
#[derive(Args, Clone, Debug)]
pub struct PolicyArg {
    /// The policy's name.
    pub policy: String,
}

/// How something is written.
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
    /// The policy's name. Default: all of the namespace, as a table.
    pub policy: Option<String>,
    /// Text for people, or the objects as JSON.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// The policy's name.
    pub policy: String,
    /// Text for people, or JSON.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `connections`.
#[derive(Args, Clone, Debug)]
pub struct ConnectionsArgs {
    /// The policy's name.
    pub policy: String,
    /// Only this target. Default: all of the policy.
    #[arg(long)]
    pub target: Option<String>,
    /// The port of the database. Default: the target's port, else the cluster's, else 5432.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Measure again every 2 seconds, in place on a terminal, until Ctrl-C.
    #[arg(short, long)]
    pub watch: bool,
    /// The most pods to list for each target, those with something to say first. 0: all.
    #[arg(long, default_value_t = 20, value_name = "PODS")]
    pub rows: usize,
    /// Text for people, or JSON; with --watch, one JSON object a line.
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

/// Options of `verify`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct VerifyArgs {
    /// The policy's name.
    pub policy: String,
    /// The target. Needed if the policy has several.
    #[arg(long)]
    pub target: Option<String>,
    /// The pod. Default: the Ready pod of the target with the most connections.
    #[arg(long)]
    pub pod: Option<String>,
    /// The port of the database. Default: the target's port, else the cluster's, else 5432.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Do not ask before the pod is recycled.
    #[arg(short, long)]
    pub yes: bool,
    /// How long the pod may take to renew its connections, as 30s or 2m.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    pub timeout: SignedDuration,
}

/// Options of `recycle`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct RecycleArgs {
    /// The policy's name.
    pub policy: String,
    /// The request's name, unlike the last one's. Default: the time.
    #[arg(long, value_parser = parse_token)]
    pub token: Option<String>,
    /// Wait until no pod is stale any more.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait, as 90s or 1h.
    #[arg(long, default_value = "30m", value_parser = parse_duration, requires = "wait")]
    pub timeout: SignedDuration,
}

/// Options of `pause`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::doc_markdown)]
pub struct PauseArgs {
    /// The policy's name.
    pub policy: String,
    /// For how long, as 30m, 2h or 1d.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
    pub duration: SignedDuration,
    /// Until when, as 2026-05-04T18:00:00Z (RFC 3339).
    #[arg(long, value_name = "TIME", conflicts_with = "duration")]
    pub until: Option<Timestamp>,
    /// Why, for those who meet the pause.
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// A time span, with days of 24 hours; more than nothing, at most a year.
fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    const YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);
    let span: Span = text.parse().map_err(|_| wrong_duration(text))?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong_duration(text))?;
    if duration <= SignedDuration::ZERO || duration > YEAR {
        return Err("must be more than nothing and at most a year".to_owned());
    }
    Ok(duration)
}

fn wrong_duration(text: &str) -> String {
    format!("{text:?} is no time span such as 90s, 30m, 2h or 1d")
}

/// A token goes into messages and events: short, and without blanks.
fn parse_token(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 printable characters without blanks".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use clap::CommandFactory;

    use super::*;

    fn parse(args: &[&str]) -> Result<PluginCommand, clap::Error> {
        let all = ["kubectl-dbbalance"].iter().chain(args);
        PluginCli::try_parse_from(all).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_is_sound_and_every_flag_has_help() {
        let mut command = PluginCli::command();
        command.build();
        command.clone().debug_assert();
        for sub in command.get_subcommands() {
            assert!(sub.get_about().is_some(), "{}", sub.get_name());
            for arg in sub.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {}",
                    sub.get_name(),
                    arg.get_id()
                );
            }
        }
    }

    #[test]
    fn flags_of_kubectl_are_taken_before_and_after_the_command() {
        for args in [
            ["-n", "shop", "--context", "c", "status", "orders"],
            ["status", "orders", "-n", "shop", "--context", "c"],
        ] {
            let cli = PluginCli::try_parse_from(["x"].iter().chain(&args)).unwrap();
            assert_eq!(cli.connect.namespace.as_deref(), Some("shop"));
            assert_eq!(cli.connect.context.as_deref(), Some("c"));
        }
    }

    #[test]
    fn a_pause_has_a_length_or_an_end_and_not_both() {
        let PluginCommand::Pause(args) = parse(&["pause", "orders", "--for", "1d 2h"]).unwrap()
        else {
            panic!("not pause");
        };
        assert_eq!(args.duration, SignedDuration::from_hours(26));
        for wrong in [
            &["--for", "0s"][..],
            &["--for", "-2h"],
            &["--for", "2 fortnights"],
            &["--for", "2h", "--until", "2026-05-04T18:00:00Z"],
            &["--until", "tomorrow"],
        ] {
            assert!(
                parse(&[&["pause", "orders"], wrong].concat()).is_err(),
                "{wrong:?}"
            );
        }
        let until = parse(&["pause", "orders", "--until", "2026-05-04T18:00:00Z"]);
        assert!(matches!(until.unwrap(), PluginCommand::Pause(a) if a.until.is_some()));
    }

    #[test]
    fn a_token_is_short_and_has_no_blanks() {
        assert!(parse(&["recycle", "orders", "--token", "release-7"]).is_ok());
        assert!(parse(&["recycle", "orders", "--token", ""]).is_err());
        assert!(parse(&["recycle", "orders", "--token", "a b"]).is_err());
    }
}
