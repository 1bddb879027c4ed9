//! Starts and stops the process that holds a testbed's Aurora: started for the first cluster, stopped with all of them.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::control::{AuroraControl, FleetCommand};
use super::fleet::AuroraClusterSpec;
use crate::kubernetes::Testbed;
use crate::process::{self, Signal};
use crate::wait;

/// Its name in the testbed's records and logs.
pub const NAME: &str = "aurora";
/// Environment variable with the path of the `testbed` program, for other programs.
pub const PROGRAM_VARIABLE: &str = "DBBALANCE_TESTBED_PROGRAM";

/// A start takes well under a second.
const LIMIT: Duration = Duration::from_secs(30);

/// Where the databases' data are.
#[must_use]
pub fn data_folder(testbed: &Testbed) -> PathBuf {
    testbed.layout().path(NAME)
}

/// Finds the `testbed` program: this one, the one of the variable, or the one built beside a test.
fn find_program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(named.into());
    }
    let me = std::env::current_exe().context("cannot find the path of this program")?;
    if me.file_name().is_some_and(|name| name == "testbed") {
        return Ok(me);
    }
    // A test is in target/debug/deps, an example in target/debug/examples: the program is in target/debug.
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("testbed"))
        .find(|file| file.is_file());
    match found {
        Some(file) => Ok(file),
        None => bail!(
            "the program testbed is missing beside {}: build it with: cargo build -p dbbalance-testbed (or set {PROGRAM_VARIABLE})",
            me.display()
        ),
    }
}

/// Starts the program unless it runs. `profile` is for clusters that the RDS API makes.
pub fn start_daemon(testbed: &Testbed, profile: &str) -> Result<AuroraControl> {
    let control = AuroraControl::in_testbed(testbed);
    if testbed.spawned(NAME).is_none() {
        // Of one that was killed.
        end_databases(testbed)?;
        let mut command = Command::new(find_program()?);
        command
            .args(["aurora", "serve", "--profile", profile, "--folder"])
            .arg(data_folder(testbed));
        testbed.spawn(NAME, &command)?;
    }
    testbed.wait_for(NAME, LIMIT, || control.is_ready())?;
    Ok(control)
}

/// Creates a cluster, after starting the process if needed. All its instances serve when this returns.
pub fn create_cluster(testbed: &Testbed, up: &AuroraClusterSpec) -> Result<AuroraControl> {
    let control = start_daemon(testbed, &up.profile)?;
    control.send(&FleetCommand::Up(up.clone()))?;
    Ok(control)
}

/// Deletes everything, including what a killed process left.
pub fn stop_daemon(testbed: &Testbed) -> Result<()> {
    if testbed.spawned(NAME).is_some() {
        let control = AuroraControl::in_testbed(testbed);
        // In good order if it answers: addresses and rules of the network go too.
        if let Ok(status) = control.status() {
            for cluster in status.clusters {
                let order = FleetCommand::Down {
                    cluster: cluster.name,
                };
                control.send(&order)?;
            }
        }
    }
    testbed.stop(NAME, Duration::from_secs(1))?;
    end_databases(testbed)
}

fn end_databases(testbed: &Testbed) -> Result<()> {
    let folder = data_folder(testbed);
    wait::poll_uninterrupted("end of the databases", LIMIT, || {
        let left = process::find_processes_in(&folder)?;
        for process in &left {
            process.signal(Signal::SIGKILL)?;
        }
        Ok(left.is_empty().then_some(()))
    })?;
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
