//! Adds, removes and partitions the address of an instance on the testbed's bridge.
//!
//! Runs inside the testbed's network namespace, as the process that holds the databases does. Touches only addresses
//! of instances, and its own chain of rules.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::Result;

use crate::kubernetes::layout::BRIDGE;
use crate::program;

/// The chain of rules that drop packets, so that they can be identified and removed together.
const CHAIN: &str = "DBBALANCE-HALFOPEN";

fn run_ip(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    program::run_output(command.args(words)).map(drop)
}

fn succeeds(line: &str) -> bool {
    let mut words = line.split(' ');
    program::run_succeeds(Command::new(words.next().unwrap_or_default()).args(words))
}

/// Adds the address; fine if it is there.
pub fn add_address(address: Ipv4Addr) -> Result<()> {
    run_ip(&format!("ip addr replace {address}/32 dev {BRIDGE}"))
}

/// Takes the address away, cut off or not; fine if it is not there.
pub fn remove_address(address: Ipv4Addr) -> Result<()> {
    restore_packets(address)?;
    let _ = succeeds(&format!("ip addr del {address}/32 dev {BRIDGE}"));
    Ok(())
}

fn drop_rules(address: Ipv4Addr) -> [String; 2] {
    [
        format!("{CHAIN} -s {address} -j DROP"),
        format!("{CHAIN} -d {address} -j DROP"),
    ]
}

/// Drops every packet from and to the address: nothing is reset, open connections just never hear again.
pub fn drop_packets(address: Ipv4Addr) -> Result<()> {
    let _ = succeeds(&format!("iptables -w -N {CHAIN}"));
    for parent in ["INPUT", "OUTPUT"] {
        if !succeeds(&format!("iptables -w -C {parent} -j {CHAIN}")) {
            run_ip(&format!("iptables -w -I {parent} -j {CHAIN}"))?;
        }
    }
    for rule in drop_rules(address) {
        if !succeeds(&format!("iptables -w -C {rule}")) {
            run_ip(&format!("iptables -w -A {rule}"))?;
        }
    }
    Ok(())
}

/// Undoes [`drop_packets`]; fine if there is nothing to undo.
pub fn restore_packets(address: Ipv4Addr) -> Result<()> {
    for rule in drop_rules(address) {
        while succeeds(&format!("iptables -w -C {rule}")) {
            run_ip(&format!("iptables -w -D {rule}"))?;
        }
    }
    Ok(())
}
