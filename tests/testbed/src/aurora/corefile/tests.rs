#![allow(clippy::unwrap_used)]
use super::*;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 8);
const AURORA: &str = "orders.cluster-ro-c0lab0dbb0x.eu-west-1.rds.amazonaws.com";

fn block() -> SteeredBlock {
    "orders=dbbalance-system/orders-ro".parse().unwrap()
}

fn replica(distribution: Distribution, blocks: &[SteeredBlock]) -> String {
    render_replica(ADDRESS, distribution, blocks, Path::new("/k/coredns")).unwrap()
}

/// The lines of a server block, without those that only a machine of its own would not have.
fn server_block<'t>(text: &'t str, zone: &str) -> Vec<&'t str> {
    let from = format!("{zone} {{");
    let lines = text.lines().skip_while(|line| *line != from).skip(1);
    lines.take_while(|line| *line != "}").collect()
}

#[test]
fn cache_has_no_setting_and_nothing_leaves_the_testbed() {
    let text = render_cache(ADDRESS);
    assert_eq!(text.matches("    cache\n").count(), 2);
    assert_eq!(text.matches("forward").count(), 1);
    assert!(text.contains("forward . 198.18.0.3\n"));
}

#[test]
fn eks_keeps_services_for_five_seconds_behind_a_cache_of_thirty() {
    let text = replica(Distribution::Eks, &[]);
    let lines = server_block(&text, ".:53");
    assert!(lines.contains(&"    cache 30"), "{text}");
    assert!(!text.contains("ttl"), "the plugin's own 5 s: {text}");
    assert!(lines.contains(&"    kubernetes cluster.local in-addr.arpa ip6.arpa {"));
    assert!(lines.contains(&"    loadbalance"));
    // Replicas are the same under the caches of nodes.
    assert_eq!(text, replica(Distribution::NodeLocal, &[]));
}

#[test]
fn kubeadm_caches_no_name_of_the_cluster() {
    let text = replica(Distribution::Kubeadm, &[]);
    let lines = server_block(&text, ".:53");
    for line in [
        "        ttl 30",
        "        disable success cluster.local",
        "        disable denial cluster.local",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
}

#[test]
fn only_the_blocks_of_the_vpc_ask_the_authority() {
    for distribution in Distribution::ALL {
        for text in [
            replica(distribution, &[block()]),
            render_node(ADDRESS, &[ADDRESS], &[block()]),
        ] {
            assert_eq!(text.matches("forward . 198.18.0.3\n").count(), 1);
            assert!(!text.contains("/etc/resolv.conf"));
            // The search list of pods costs no time.
            let outside = server_block(&text, ".:5354");
            assert!(outside.contains(&"        rcode NXDOMAIN"), "{text}");
        }
    }
}

#[test]
fn a_steered_name_is_asked_of_the_service_first_and_kept_by_nobody() {
    let text = replica(Distribution::Eks, &[block()]);
    let lines = server_block(&text, &format!("{AURORA}:53"));
    let rewrite = format!(
        "    rewrite name exact {AURORA} orders-ro.dbbalance-system.svc.cluster.local answer auto"
    );
    assert!(lines.contains(&rewrite.as_str()), "{text}");
    for line in [
        "        namespaces dbbalance-system",
        "        labels dbbalance.io/steered=true",
        "        ttl 0",
        "        fallthrough",
        "    forward . 198.18.0.8:5353",
    ] {
        assert!(lines.contains(&line), "{line}: {text}");
    }
    assert!(!lines.iter().any(|line| line.contains("cache")), "{text}");
    // What falls through is Aurora's name again.
    let back = server_block(&text, ".:5353");
    assert!(
        back.iter()
            .any(|line| line.ends_with(&format!("{AURORA} answer auto"))),
        "{text}"
    );
    // Without a block nothing of it is there.
    let plain = replica(Distribution::Eks, &[]);
    assert!(!plain.contains("rewrite") && !plain.contains(":5353"));
}

#[test]
fn a_node_asks_the_replicas_for_services_and_for_steered_names_alone() {
    let replicas = [ADDRESS, Ipv4Addr::new(198, 18, 0, 9)];
    let node = Ipv4Addr::new(198, 18, 0, 10);
    let text = render_node(node, &replicas, &[block()]);
    let services = server_block(&text, "cluster.local:53");
    for line in [
        "        success 9984 30",
        "        denial 9984 5",
        "    forward . 198.18.0.8 198.18.0.9 {",
        "        force_tcp",
    ] {
        assert!(services.contains(&line), "{line}: {text}");
    }
    let steered = server_block(&text, &format!("{AURORA}:53"));
    assert!(steered.contains(&"    forward . 198.18.0.8 198.18.0.9 {"));
    assert!(!steered.iter().any(|line| line.contains("cache")), "{text}");
    let rest = server_block(&text, ".:53");
    assert!(rest.contains(&"    forward . 198.18.0.10:5354"), "{text}");
    // NodeLocal does not shuffle.
    assert!(!text.contains("loadbalance"));
}

#[test]
fn a_server_block_is_named_by_its_cluster_and_its_service() {
    assert_eq!(
        block(),
        SteeredBlock {
            cluster: "orders".into(),
            namespace: "dbbalance-system".into(),
            service: "orders-ro".into(),
        }
    );
    for text in [
        "",
        "orders",
        "orders=shop",
        "=shop/ro",
        "orders=shop/r.o",
        "orders=/ro",
    ] {
        let error = text.parse::<SteeredBlock>().unwrap_err().to_string();
        assert!(error.contains("CLUSTER=NAMESPACE/SERVICE"), "{error}");
    }
    for distribution in Distribution::ALL {
        assert_eq!(
            distribution.name().parse::<Distribution>().unwrap(),
            distribution
        );
    }
    assert!("gke".parse::<Distribution>().is_err());
}

/// The lines of all server blocks of a text from the first one of a zone on, without what only a testbed needs.
fn published_lines(text: &str, zone: &str, replaced: &[(&str, &str)]) -> Vec<String> {
    let only_here = ["bind ", "ready ", "kubeconfig "];
    server_block(text, zone)
        .into_iter()
        .filter(|line| !only_here.iter().any(|start| line.trim().starts_with(start)))
        .map(|line| {
            let replace = |line: String, (from, to): &(&str, &str)| line.replace(from, to);
            replaced.iter().fold(line.to_owned(), replace)
        })
        .collect()
}

#[test]
fn the_published_server_blocks_are_those_that_the_testbed_plays() {
    let recipe = include_str!("../../../../../docs/recipes/steered-name.md");
    let fences: Vec<&str> = recipe.split("```").skip(1).step_by(2).collect();
    let published = |text: &str| {
        let found = fences.iter().find(|fence| fence.contains(text));
        (*found.unwrap()).to_owned()
    };
    let aurora = format!("{AURORA}:53");
    let (replicas, node) = (published("fallthrough"), published("force_tcp"));
    let played = replica(Distribution::Eks, &[block()]);
    let replaced = [
        ("198.18.0.8:5353", "127.0.0.1:5353"),
        ("198.18.0.8:5354", "/etc/resolv.conf"),
    ];
    for zone in [aurora.as_str(), ".:5353"] {
        let wanted = published_lines(&replicas, zone, &[]);
        assert!(!wanted.is_empty(), "{zone}: {replicas}");
        assert_eq!(published_lines(&played, zone, &replaced), wanted);
    }
    let played = render_node(ADDRESS, &[ADDRESS], &[block()]);
    assert_eq!(
        published_lines(
            &played,
            &aurora,
            &[("198.18.0.8", "__PILLAR__CLUSTER__DNS__")]
        ),
        published_lines(&node, &aurora, &[])
    );
}
