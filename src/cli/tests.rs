#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use clap::CommandFactory;

use super::*;

fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
    let all = ["dbbalance", "run"].iter().chain(args);
    OperatorCli::try_parse_from(all).map(|cli| match cli.command {
        OperatorCommand::Run(args) => *args,
        OperatorCommand::Crd => panic!("not run"),
    })
}

#[test]
fn the_definition_is_sound_and_every_flag_has_help_and_an_environment_twin() {
    let mut command = OperatorCli::command();
    command.build();
    command.clone().debug_assert();
    let run = command.find_subcommand("run").unwrap();
    for arg in run.get_arguments().filter(|a| a.get_id() != "help") {
        assert!(arg.get_help().is_some(), "{}", arg.get_id());
        assert!(arg.get_env().is_some(), "{}", arg.get_id());
    }
}

#[test]
fn the_defaults_agree_with_each_other() {
    let args = run(&[]).unwrap();
    args.check().unwrap();
    assert_eq!(args.lease_duration(), Duration::from_secs(15));
    assert_eq!(args.listen_address.port(), 8080);
    assert!(args.identity().starts_with("local-") || args.identity.is_some());
}

#[test]
fn lists_are_comma_separated_and_empty_items_do_not_count() {
    let args = run(&["--watch-namespaces", "shop, pay,"]).unwrap();
    assert_eq!(args.watch_namespaces.0, ["shop", "pay"]);
    assert!(
        run(&["--watch-namespaces", ""])
            .unwrap()
            .watch_namespaces
            .0
            .is_empty()
    );
    assert!(run(&["--watch-namespaces", "Shop"]).is_err());
    assert!(run(&["--allowed-role-arns", "arn:aws:iam::123456789012:role/r"]).is_ok());
    assert!(run(&["--allowed-role-arns", "r"]).is_err());
}

#[test]
fn dns_servers_are_addresses_with_or_without_a_port() {
    let args = run(&["--dns-servers", "10.96.0.10, 127.0.0.1:5353,[fd00::a]:53"]).unwrap();
    let shown: Vec<String> = args.dns_servers.0.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.96.0.10:53", "127.0.0.1:5353", "[fd00::a]:53"]);
    assert!(run(&["--dns-servers", "kube-dns"]).is_err());
    assert!(run(&[]).unwrap().dns_servers.0.is_empty());
    assert!(run(&["--dns-lookups-per-second", "4"]).is_err());
}

#[test]
fn signals_are_granted_by_name_or_everywhere() {
    let granted = |args: &[&str]| run(args).unwrap().signal_namespaces.0;
    assert_eq!(
        granted(&["--signal-namespaces", "shop,pay"]),
        ["shop", "pay"]
    );
    assert_eq!(granted(&["--signal-namespaces", "*"]), ["*"]);
    assert!(granted(&[]).is_empty());
}

#[test]
fn evidence_is_granted_by_name_or_everywhere() {
    let granted = |args: &[&str]| run(args).unwrap().evidence_namespaces.0;
    assert_eq!(granted(&["--evidence-namespaces", "shop"]), ["shop"]);
    assert_eq!(granted(&["--evidence-namespaces", "*"]), ["*"]);
    assert!(granted(&[]).is_empty());
}

#[test]
fn numbers_have_ranges_and_relations() {
    assert!(run(&["--lease-duration-seconds", "4"]).is_err());
    let slow = run(&["--lease-renew-seconds", "8"]).unwrap();
    assert!(
        slow.check()
            .unwrap_err()
            .contains("--lease-renew-seconds (8)")
    );
    let odd = run(&["--poll-moving-seconds", "9"]).unwrap();
    assert!(odd.check().is_err());
    assert!(run(&["--rds-endpoint-url", "ftp://x"]).is_err());
}

#[test]
fn steered_names_are_listed_with_their_namespace_or_their_endpoint() {
    let args = run(&[
        "--steering-services",
        "shop/orders-ro, pay/ledger-ro",
        "--steering-slices",
        "stock-ro=stock.cluster-ro-x.eu-west-1.rds.amazonaws.com",
    ])
    .unwrap();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        args.steering_services.0,
        [pair("shop", "orders-ro"), pair("pay", "ledger-ro")]
    );
    assert_eq!(args.steering_slices.0[0].0, "stock-ro");
    for wrong in [
        "orders-ro",
        "shop/*",
        "shop/1-ro",
        "Shop/orders-ro",
        "shop/",
    ] {
        assert!(run(&["--steering-services", wrong]).is_err(), "{wrong}");
    }
    for wrong in ["stock-ro", "stock-ro=", "Stock=a.b", "=a.b"] {
        assert!(run(&["--steering-slices", wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn by_default_no_name_is_steered_and_one_replica_is_reckoned_with() {
    let args = run(&[]).unwrap();
    assert!(args.steering_services.0.is_empty() && args.steering_slices.0.is_empty());
    assert_eq!(args.replicas, 1);
    assert_eq!(args.cluster_domain, "cluster.local");
    assert!(run(&["--steering-allowed-cidrs", "0.0.0.0/0"]).is_err());
}
