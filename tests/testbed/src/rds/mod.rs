//! An RDS API on this machine: moto, with microburst's faults in front of it if wanted.
//!
//! Two ways to run them: in a testbed ([`start_servers`], [`stop_servers`]), where pods and the operator reach them at
//! 198.18.0.1, and alone on loopback for contract tests ([`moto::Moto`], [`microburst::Microburst`]), ended with
//! the test. [`client::RdsClient`] speaks to either.
//!
//! moto's limits that tests must know: no state takes time (`available` on the first look), the writer flips at
//! once, its clusters never page, all instances share one `DbiResourceId`, and a failover target of another
//! cluster is accepted. What it cannot show is shown by other means, never by changing moto.

pub mod client;
pub mod microburst;
pub mod model;
pub mod moto;
pub mod xml;

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::cache::ToolCache;
use crate::kubernetes::{NODE_IP, Testbed};
use crate::tools::python;
use client::RdsClient;

/// moto's port in a testbed: its own default.
pub const MOTO_PORT: u16 = 5000;
/// microburst's port in a testbed.
pub const FAULTS_PORT: u16 = 5001;
/// The region where nothing says another.
pub const REGION: &str = "eu-west-1";

/// Names of the two in a testbed's records and logs.
const MOTO: &str = "moto";
const MICROBURST: &str = "microburst";

/// Python starts slowly on a busy machine; alone it takes under two seconds.
const LIMIT: Duration = Duration::from_mins(1);
/// They keep nothing that must be written on leaving.
const GRACE: Duration = Duration::from_secs(1);

/// moto's arguments for an address.
fn moto_command(cache: &ToolCache, host: &str, port: u16) -> Result<Command> {
    let mut command = Command::new(python::python_interpreter(cache)?);
    command.args([
        "-m",
        "moto.server",
        "--host",
        host,
        "--port",
        &port.to_string(),
    ]);
    Ok(command)
}

/// microburst's arguments for an address.
fn microburst_command(cache: &ToolCache, host: &str, port: u16, upstream: &str) -> Result<Command> {
    let mut command = Command::new(python::python_interpreter(cache)?);
    command.args([
        "-m",
        "microburst",
        "--host",
        host,
        "--port",
        &port.to_string(),
        "--upstream",
        upstream,
    ]);
    Ok(command)
}

/// Starts moto in a testbed, and microburst if `faults`; does nothing to what runs.
pub fn start_servers(testbed: &Testbed, faults: bool) -> Result<()> {
    let cache = ToolCache::locate()?;
    if testbed.spawned(MOTO).is_none() {
        testbed.spawn(MOTO, &moto_command(&cache, NODE_IP, MOTO_PORT)?)?;
    }
    let client = RdsClient::in_testbed(testbed, REGION);
    testbed.wait_for(MOTO, LIMIT, || client.describe_clusters().is_ok())?;
    if faults {
        if testbed.spawned(MICROBURST).is_none() {
            let upstream = format!("http://{NODE_IP}:{MOTO_PORT}");
            testbed.spawn(
                MICROBURST,
                &microburst_command(&cache, NODE_IP, FAULTS_PORT, &upstream)?,
            )?;
        }
        let control = fault_control(testbed);
        testbed.wait_for(MICROBURST, LIMIT, || control.healthy())?;
    }
    Ok(())
}

/// Stops both; what moto knew is gone.
pub fn stop_servers(testbed: &Testbed) -> Result<()> {
    testbed.stop(MICROBURST, GRACE)?;
    testbed.stop(MOTO, GRACE)
}

/// The faults of a testbed's microburst.
#[must_use]
pub fn fault_control(testbed: &Testbed) -> microburst::FaultControl {
    microburst::FaultControl::in_testbed(testbed, &format!("http://{NODE_IP}:{FAULTS_PORT}"))
}
