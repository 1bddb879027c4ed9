//! The testbed's own network: a namespace with a bridge, and nothing in the machine's own network.
//!
//! No route leads out: pods and the testbed's programs reach only each other. Forwarding stays off. There is no
//! kube-proxy; one rule leads the API's service address to the API server, and a chain leads the name server's to the
//! servers that [`route_dns`] sets.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CloneFlags, setns};

use super::layout::{
    API_PORT, API_SERVICE_IP, BRIDGE, BRIDGE_MAC, DNS_SERVICE_IP, Layout, NODE_IP, PREFIX,
    SERVICE_RANGE,
};
use crate::{mounts, program};

/// Chain of the rules for the name server's service address.
const DNS_CHAIN: &str = "DBBALANCE-DNS";
/// DNS.
const DNS_PORT: u16 = 53;
/// Chain of the rules that cut pods off, so that they can be identified.
const CUT_CHAIN: &str = "DBBALANCE-CUT";

/// `nsenter` into the testbed's network, ready for a program and its arguments.
///
/// Not `ip netns exec`: that mounts another /sys, which hides the cgroups.
#[must_use]
pub fn enter_command(layout: &Layout) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", layout.netns().display()))
        .arg("--");
    command
}

/// Is the namespace there? Its file alone is not: the mount on it is what counts.
pub fn has_network(layout: &Layout) -> Result<bool> {
    Ok(mounts::list_mounts_below(&layout.netns())?.contains(&layout.netns()))
}

fn run_inside(layout: &Layout, line: &str) -> Result<String> {
    let (key, value) = layout.mark();
    program::run_output(enter_command(layout).args(line.split(' ')).env(key, value))
}

/// Makes namespace, bridge and the API's address; does nothing to what is there.
pub fn create_network(layout: &Layout) -> Result<()> {
    if !has_network(layout)? {
        let file = layout.netns();
        File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
        program::run_output(
            Command::new("unshare")
                .arg(format!("--net={}", file.display()))
                .arg("true"),
        )
        .context("cannot make a network namespace")?;
    }
    if program::run_succeeds(enter_command(layout).args([
        "ip",
        "route",
        "show",
        "to",
        "exact",
        SERVICE_RANGE,
        "dev",
        BRIDGE,
    ])) && !run_inside(layout, &format!("ip route show to exact {SERVICE_RANGE}"))?.is_empty()
    {
        return Ok(());
    }
    // Recreated as a whole if an earlier call was aborted: the route, made last, shows that it was not.
    for leftover in [BRIDGE, "kbd0"] {
        let _ = program::run_succeeds(enter_command(layout).args(["ip", "link", "del", leftover]));
    }
    for line in [
        "ip link set lo up".to_owned(),
        format!("ip link add {BRIDGE} address {BRIDGE_MAC} type bridge"),
        format!("ip addr add {NODE_IP}/{PREFIX} dev {BRIDGE}"),
        // A bridge without a port is down; this pair keeps it up while there are no pods.
        "ip link add kbd0 type veth peer name kbd1".to_owned(),
        format!("ip link set kbd0 master {BRIDGE}"),
        "ip link set kbd0 up".to_owned(),
        "ip link set kbd1 up".to_owned(),
        format!("ip link set {BRIDGE} up"),
    ] {
        run_inside(layout, &line)?;
    }
    // The API server listens on loopback; packets from the bridge may be sent there. This is a setting of the
    // namespace, which ends with it. Written by a program inside, as /proc/sys/net shows the reader's namespace.
    run_inside(
        layout,
        &format!("sysctl -qw net.ipv4.conf.{BRIDGE}.route_localnet=1"),
    )?;
    // Refusals of the name server's address are ICMP messages, of which a peer gets one a second by default: the rest
    // of a search list would wait for its time-outs.
    run_inside(layout, "sysctl -qw net.ipv4.icmp_ratelimit=0")?;
    let rule = format!(
        "PREROUTING -i {BRIDGE} -d {API_SERVICE_IP} -p tcp --dport 443 -j DNAT --to-destination 127.0.0.1:{API_PORT}"
    );
    iptables_once(layout, "nat", &rule)?;
    route_dns(layout, &[])?;
    for chain in ["PREROUTING", "OUTPUT"] {
        for protocol in ["udp", "tcp"] {
            let rule = format!(
                "{chain} -d {DNS_SERVICE_IP} -p {protocol} --dport {DNS_PORT} -j {DNS_CHAIN}"
            );
            iptables_once(layout, "nat", &rule)?;
        }
    }
    // Both ways, and by the conversation's first destination, as addresses are rewritten on the way.
    for chain in ["INPUT", "OUTPUT"] {
        let _ =
            program::run_succeeds(enter_command(layout).args(["iptables", "-w", "-N", CUT_CHAIN]));
        iptables_once(layout, "filter", &format!("{chain} -p tcp -j {CUT_CHAIN}"))?;
    }
    run_inside(
        layout,
        &format!("ip route add {SERVICE_RANGE} dev {BRIDGE}"),
    )?;
    Ok(())
}

fn iptables_once(layout: &Layout, table: &str, rule: &str) -> Result<()> {
    let there = |line: String| program::run_succeeds(enter_command(layout).args(line.split(' ')));
    if !there(format!("iptables -w -t {table} -C {rule}")) {
        run_inside(layout, &format!("iptables -w -t {table} -A {rule}"))?;
    }
    Ok(())
}

/// Who is led to a name server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrafficShare {
    /// One of this many new conversations that passed the rules before: kube-proxy's way, in its iptables mode.
    OneOf(u8),
    /// Who has this last part of an address, under this mask.
    Source {
        /// The bits that count.
        mask: u8,
        /// What they must be.
        bits: u8,
    },
}

/// Replaces the rules for the name server's service address, in one step, for pods and for programs of the testbed:
/// each new conversation is led to the first name server of the list whose share it falls into. What is led
/// nowhere goes to a closed port of the node: refused at once, like a Service without endpoints.
pub fn route_dns(layout: &Layout, servers: &[(TrafficShare, Ipv4Addr)]) -> Result<()> {
    let (key, value) = layout.mark();
    let mut child = enter_command(layout)
        .args(["iptables-restore", "-w", "--noflush"])
        .env(key, value)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run iptables-restore: install it with: apt-get install iptables")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(dns_rules(servers).as_bytes())
            .context("cannot write to iptables-restore")?;
    }
    let told = child
        .wait_with_output()
        .context("cannot run iptables-restore")?;
    if !told.status.success() {
        bail!(
            "iptables-restore failed ({}): {}",
            told.status,
            program::last_lines(&String::from_utf8_lossy(&told.stderr))
        );
    }
    Ok(())
}

/// Naming a chain empties it; all other rules stay.
fn dns_rules(servers: &[(TrafficShare, Ipv4Addr)]) -> String {
    let rule = |condition: &str, address: &str| {
        ["udp", "tcp"].map(|protocol| {
            format!(
                "-A {DNS_CHAIN} -p {protocol}{condition} -j DNAT --to-destination {address}:{DNS_PORT}"
            )
        })
    };
    let mut lines = vec!["*nat".to_owned(), format!(":{DNS_CHAIN} - [0:0]")];
    for (share, address) in servers {
        let condition = match share {
            TrafficShare::OneOf(0 | 1) => String::new(),
            TrafficShare::OneOf(number) => format!(
                " -m statistic --mode random --probability {:.10}",
                1.0 / f64::from(*number)
            ),
            TrafficShare::Source { mask, bits } => format!(" -s 0.0.0.{bits}/0.0.0.{mask}"),
        };
        lines.extend(rule(&condition, &address.to_string()));
    }
    lines.extend(rule("", NODE_IP));
    lines.push("COMMIT\n".to_owned());
    lines.join("\n")
}

/// Gives the testbed's bridge one more address, for a server of its own; does nothing if it has it.
pub fn add_address(layout: &Layout, address: Ipv4Addr) -> Result<()> {
    // /32: the range's route is there, and another one must not come or go with a server.
    run_inside(
        layout,
        &format!("ip addr replace {address}/32 dev {BRIDGE}"),
    )
    .map(drop)
}

/// Undoes [`add_address`]; fine if there is nothing to undo.
pub fn remove_address(layout: &Layout, address: Ipv4Addr) -> Result<()> {
    let there = run_inside(
        layout,
        &format!("ip -o addr show dev {BRIDGE} to {address}/32"),
    )?;
    if there.trim().is_empty() {
        return Ok(());
    }
    run_inside(layout, &format!("ip addr del {address}/32 dev {BRIDGE}")).map(drop)
}

fn cut_rules(pod_ip: &str) -> [String; 2] {
    [
        format!("{CUT_CHAIN} -s {pod_ip} -p tcp --dport {API_PORT} -j DROP"),
        format!("{CUT_CHAIN} -d {pod_ip} -p tcp --sport {API_PORT} -j DROP"),
    ]
}

/// Drops every packet between this pod and the API server, open connections included.
pub fn cut_off_pod(layout: &Layout, pod_ip: &str) -> Result<()> {
    let ip: std::net::Ipv4Addr = pod_ip
        .parse()
        .with_context(|| format!("{pod_ip:?} is not a pod address"))?;
    cut_rules(&ip.to_string())
        .iter()
        .try_for_each(|rule| iptables_once(layout, "filter", rule))
}

/// Undoes [`cut_off_pod`]; fine if there is nothing to undo.
pub fn restore_pod(layout: &Layout, pod_ip: &str) -> Result<()> {
    let ip: std::net::Ipv4Addr = pod_ip
        .parse()
        .with_context(|| format!("{pod_ip:?} is not a pod address"))?;
    for rule in cut_rules(&ip.to_string()) {
        let line = format!("iptables -w -C {rule}");
        while program::run_succeeds(enter_command(layout).args(line.split(' '))) {
            run_inside(layout, &format!("iptables -w -D {rule}"))?;
        }
    }
    Ok(())
}

/// Runs `work` on a thread that is in the testbed's network: what it connects, listens on or spawns is there too.
/// Threads that it starts, a runtime's workers for instance, inherit this.
pub fn run_in_network<T: Send>(layout: &Layout, work: impl FnOnce() -> T + Send) -> Result<T> {
    let path = layout.netns();
    let namespace = fs::File::open(&path).with_context(|| {
        format!(
            "cannot open {}: is the testbed up? start it with: testbed up",
            path.display()
        )
    })?;
    std::thread::scope(|scope| {
        scope
            .spawn(move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET).with_context(|| {
                    format!(
                        "cannot enter the network of {} (needs root)",
                        path.display()
                    )
                })?;
                Ok(work())
            })
            .join()
            .map_err(|_| anyhow!("the work inside the testbed's network panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_share_as_kube_proxy_would_have_it() {
        let address = |last| Ipv4Addr::new(198, 18, 0, last);
        let rules = dns_rules(&[
            (TrafficShare::OneOf(2), address(8)),
            (TrafficShare::OneOf(1), address(9)),
        ]);
        let lines: Vec<&str> = rules.lines().collect();
        assert_eq!(lines[..2], ["*nat", ":DBBALANCE-DNS - [0:0]"]);
        assert_eq!(
            lines[2],
            "-A DBBALANCE-DNS -p udp -m statistic --mode random --probability 0.5000000000 -j DNAT \
             --to-destination 198.18.0.8:53"
        );
        assert_eq!(
            lines[5],
            "-A DBBALANCE-DNS -p tcp -j DNAT --to-destination 198.18.0.9:53"
        );
        // Nothing gets that far here, but everything does without servers.
        assert!(lines[6].ends_with(" -p udp -j DNAT --to-destination 198.18.0.1:53"));
        let rules = dns_rules(&[(TrafficShare::Source { mask: 31, bits: 5 }, address(8))]);
        assert!(rules.contains(" -p udp -s 0.0.0.5/0.0.0.31 -j DNAT"));
    }
}
