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
    let PluginCommand::Pause(args) = parse(&["pause", "orders", "--for", "1d 2h"]).unwrap() else {
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
