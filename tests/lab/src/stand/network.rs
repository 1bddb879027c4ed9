//! The stand's own network: a namespace with a bridge, and not a thing in the machine's own.
//!
//! No route leads out: neither pods nor the stand's programs reach anything but each other. Forwarding stays off.
//! There is no kube-proxy; one rule brings the API's service address to the API server.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::layout::{API_PORT, API_SERVICE_IP, BRIDGE, Layout, NODE_IP, PREFIX, SERVICE_RANGE};
use crate::{mounts, program};

/// Chain of the rules that cut pods off, so that they can be told from others.
const CUT_CHAIN: &str = "DBBALANCE-CUT";

/// `nsenter` into the stand's network, ready for a program and its arguments.
///
/// Not `ip netns exec`: that mounts another /sys, which hides the cgroups.
#[must_use]
pub fn inside(layout: &Layout) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", layout.netns().display()))
        .arg("--");
    command
}

/// Is the namespace there? Its file alone is not: the mount on it is what counts.
pub fn exists(layout: &Layout) -> Result<bool> {
    Ok(mounts::below(&layout.netns())?.contains(&layout.netns()))
}

fn run(layout: &Layout, line: &str) -> Result<String> {
    let (key, value) = layout.mark();
    program::output(inside(layout).args(line.split(' ')).env(key, value))
}

/// Makes namespace, bridge and the API's address; does nothing to what is there.
pub fn create(layout: &Layout) -> Result<()> {
    if !exists(layout)? {
        let file = layout.netns();
        File::create(&file).with_context(|| format!("cannot make {}", file.display()))?;
        program::output(
            Command::new("unshare")
                .arg(format!("--net={}", file.display()))
                .arg("true"),
        )
        .context("cannot make a network namespace")?;
    }
    if program::succeeds(inside(layout).args([
        "ip",
        "route",
        "show",
        "to",
        "exact",
        SERVICE_RANGE,
        "dev",
        BRIDGE,
    ])) && !run(layout, &format!("ip route show to exact {SERVICE_RANGE}"))?.is_empty()
    {
        return Ok(());
    }
    // Made anew as a whole if an earlier call was cut short: the route, made last, says that it was not.
    for leftover in [BRIDGE, "kbd0"] {
        let _ = program::succeeds(inside(layout).args(["ip", "link", "del", leftover]));
    }
    for line in [
        "ip link set lo up".to_owned(),
        format!("ip link add {BRIDGE} type bridge"),
        format!("ip addr add {NODE_IP}/{PREFIX} dev {BRIDGE}"),
        // A bridge without a port is down; this pair keeps it up while there are no pods.
        "ip link add kbd0 type veth peer name kbd1".to_owned(),
        format!("ip link set kbd0 master {BRIDGE}"),
        "ip link set kbd0 up".to_owned(),
        "ip link set kbd1 up".to_owned(),
        format!("ip link set {BRIDGE} up"),
    ] {
        run(layout, &line)?;
    }
    // The API server listens on loopback; packets from the bridge may be sent there. This is a setting of the
    // namespace, which ends with it. Written by a program inside, as /proc/sys/net shows the reader's namespace.
    run(
        layout,
        &format!("sysctl -qw net.ipv4.conf.{BRIDGE}.route_localnet=1"),
    )?;
    let rule = format!(
        "PREROUTING -i {BRIDGE} -d {API_SERVICE_IP} -p tcp --dport 443 -j DNAT --to-destination 127.0.0.1:{API_PORT}"
    );
    iptables_once(layout, "nat", &rule)?;
    // Both ways, and by the conversation's first destination, as addresses are rewritten on the way.
    for chain in ["INPUT", "OUTPUT"] {
        let _ = program::succeeds(inside(layout).args(["iptables", "-w", "-N", CUT_CHAIN]));
        iptables_once(layout, "filter", &format!("{chain} -p tcp -j {CUT_CHAIN}"))?;
    }
    run(
        layout,
        &format!("ip route add {SERVICE_RANGE} dev {BRIDGE}"),
    )?;
    Ok(())
}

fn iptables_once(layout: &Layout, table: &str, rule: &str) -> Result<()> {
    let there = |line: String| program::succeeds(inside(layout).args(line.split(' ')));
    if !there(format!("iptables -w -t {table} -C {rule}")) {
        run(layout, &format!("iptables -w -t {table} -A {rule}"))?;
    }
    Ok(())
}

fn cut_rules(pod_ip: &str) -> [String; 2] {
    [
        format!("{CUT_CHAIN} -s {pod_ip} -p tcp --dport {API_PORT} -j DROP"),
        format!("{CUT_CHAIN} -d {pod_ip} -p tcp --sport {API_PORT} -j DROP"),
    ]
}

/// Drops every packet between this pod and the API server, open connections included.
pub fn cut_off(layout: &Layout, pod_ip: &str) -> Result<()> {
    let ip: std::net::Ipv4Addr = pod_ip
        .parse()
        .with_context(|| format!("{pod_ip:?} is no pod address"))?;
    cut_rules(&ip.to_string())
        .iter()
        .try_for_each(|rule| iptables_once(layout, "filter", rule))
}

/// Undoes [`cut_off`]; fine if there is nothing to undo.
pub fn restore(layout: &Layout, pod_ip: &str) -> Result<()> {
    let ip: std::net::Ipv4Addr = pod_ip
        .parse()
        .with_context(|| format!("{pod_ip:?} is no pod address"))?;
    for rule in cut_rules(&ip.to_string()) {
        let line = format!("iptables -w -C {rule}");
        while program::succeeds(inside(layout).args(line.split(' '))) {
            run(layout, &format!("iptables -w -D {rule}"))?;
        }
    }
    Ok(())
}

/// Runs `work` on a thread that is in the stand's network: what it connects, listens on or spawns is there too.
/// Threads that it starts, a runtime's workers for instance, inherit this.
pub fn enter<T: Send>(layout: &Layout, work: impl FnOnce() -> T + Send) -> Result<T> {
    let path = layout.netns();
    let namespace = fs::File::open(&path).with_context(|| {
        format!(
            "cannot open {}: is the stand up? start it with: lab up",
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
            .map_err(|_| anyhow!("the work inside the stand's network panicked"))?
    })
}
