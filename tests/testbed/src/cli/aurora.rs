//! `testbed aurora …`: commands to the testbed's Aurora.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use dbbalance_testbed::aurora::cluster_faults::ClusterFaults;
use dbbalance_testbed::aurora::control::CLUSTER;
use dbbalance_testbed::aurora::control::server;
use dbbalance_testbed::aurora::scenario::Scenario;
use dbbalance_testbed::aurora::script::FailoverOptions;
use dbbalance_testbed::aurora::{AuroraClusterSpec, AuroraControl, FleetCommand, daemon, timeline};
use dbbalance_testbed::kubernetes::Testbed;

/// With the late DNS of a long test still within it.
const LIMIT: Duration = Duration::from_mins(3);

#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// The DB cluster.
    #[arg(long, default_value = CLUSTER)]
    cluster: String,
}

#[derive(Debug, Args)]
pub struct FaultArgs {
    /// Age of every answer, in seconds.
    #[arg(long)]
    late: Option<f64>,
    /// Freeze answers as they are now.
    #[arg(long)]
    stale: bool,
    /// Answer from two replicas in turn, one of them this many seconds behind.
    #[arg(long)]
    alternate: Option<f64>,
    /// Number of members reported as writers: 0 or 2.
    #[arg(long)]
    writers: Option<u8>,
    /// Add rows of `DocumentDB`, Neptune and a Multi-AZ cluster.
    #[arg(long)]
    foreign: bool,
}

#[derive(Debug, Subcommand)]
pub enum AuroraCommand {
    /// Create a cluster: a primary and its standbys, all serving.
    Up {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Readers beside the writer.
        #[arg(long, default_value_t = 2)]
        readers: u8,
        /// Durations of operations: realistic or quick.
        #[arg(long, default_value = timeline::DEFAULT)]
        profile: String,
        /// Each instance's `max_connections`.
        #[arg(long, default_value_t = 500)]
        max_connections: u16,
    },
    /// Delete one cluster, or all.
    Down {
        /// Delete only this cluster.
        #[arg(long)]
        cluster: Option<String>,
    },
    /// Show clusters and instances: state of the databases, and what API and DNS report.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show events, as JSON.
    Events {
        /// Start time, in milliseconds since 1970.
        #[arg(long, default_value_t = 0)]
        since: i64,
    },
    /// Add a reader, which takes the profile's time.
    AddReader {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// Its identifier; CLUSTER-NUMBER by default.
        #[arg(long)]
        instance: Option<String>,
        /// Seconds from available until the reader endpoint may lead to it.
        #[arg(long)]
        dns_delay: Option<f64>,
        /// Wait until the operation is complete.
        #[arg(long)]
        wait: bool,
    },
    /// Delete a reader.
    RemoveReader {
        /// The instance.
        instance: String,
    },
    /// Make another instance the writer.
    Failover {
        #[command(flatten)]
        cluster: ClusterArgs,
        /// The new writer.
        #[arg(long)]
        to: Option<String>,
        /// Move the writer's record to the new instance, back, and again.
        #[arg(long)]
        flicker: bool,
        /// Seconds from the promotion until the records move.
        #[arg(long)]
        dns_delay: Option<f64>,
        /// Seconds from the promotion until the API reports it.
        #[arg(long)]
        api_delay: Option<f64>,
        /// Promote without a restart: connections to the target stay, and can write.
        #[arg(long)]
        keep_target: bool,
        /// Wait until the operation is complete.
        #[arg(long)]
        wait: bool,
    },
    /// Kill an instance's processes; Aurora then restarts it or fails over.
    Crash {
        /// The instance.
        instance: String,
        /// Do not recover it.
        #[arg(long)]
        stay_dead: bool,
    },
    /// Drop all packets from and to an instance without a reset, so that connections are half-open.
    Partition {
        /// The instance.
        instance: String,
    },
    /// Undo a partition.
    Heal {
        /// The instance.
        instance: String,
    },
    /// Remove a reader from the reader endpoint; it keeps serving.
    ReaderOut {
        /// The instance.
        instance: String,
    },
    /// Add it to the reader endpoint again.
    ReaderIn {
        /// The instance.
        instance: String,
    },
    /// Restart an instance.
    Reboot {
        /// The instance.
        instance: String,
    },
    /// Switch blue and green: the same names with new resource ids.
    Replace {
        #[command(flatten)]
        cluster: ClusterArgs,
    },
    /// Show the requests that API and name server received, as JSON.
    Asked,
    /// Set the faults of the API for a cluster; without options, clear them.
    Api {
        #[command(flatten)]
        cluster: ClusterArgs,
        #[command(flatten)]
        faults: FaultArgs,
    },
    /// Run a scenario, and write a JSON record of what was measured.
    Scenario {
        /// The scenario.
        file: PathBuf,
        /// The record.
        #[arg(long)]
        out: PathBuf,
    },
    /// Run the server; `up` starts it inside the testbed.
    #[command(hide = true)]
    Serve {
        /// Folder of the databases' data.
        #[arg(long)]
        folder: PathBuf,
        /// Profile of clusters created through the RDS API.
        #[arg(long, default_value = timeline::DEFAULT)]
        profile: String,
    },
}

impl AuroraCommand {
    /// Returns the fleet command of those that print nothing.
    fn order(&self) -> Option<FleetCommand> {
        let order = match self {
            Self::Down {
                cluster: Some(cluster),
            } => FleetCommand::Down {
                cluster: cluster.clone(),
            },
            Self::RemoveReader { instance } => FleetCommand::RemoveReader {
                name: instance.clone(),
            },
            Self::Crash {
                instance,
                stay_dead,
            } => FleetCommand::Crash {
                name: instance.clone(),
                recover: !stay_dead,
            },
            Self::Partition { instance } => FleetCommand::Partition {
                name: instance.clone(),
            },
            Self::Heal { instance } => FleetCommand::Heal {
                name: instance.clone(),
            },
            Self::ReaderOut { instance } => FleetCommand::ReaderOut {
                name: instance.clone(),
            },
            Self::ReaderIn { instance } => FleetCommand::ReaderIn {
                name: instance.clone(),
            },
            Self::Reboot { instance } => FleetCommand::Reboot {
                name: instance.clone(),
            },
            Self::Replace { cluster } => FleetCommand::Replace {
                cluster: cluster.cluster.clone(),
            },
            Self::Api { cluster, faults } => FleetCommand::SetFaults {
                cluster: cluster.cluster.clone(),
                faults: ClusterFaults {
                    late: faults.late,
                    stale: faults.stale,
                    alternate: faults.alternate,
                    writers: faults.writers,
                    foreign: faults.foreign,
                },
            },
            _ => return None,
        };
        Some(order)
    }
}

/// Executes the command.
pub fn run_aurora(testbed: &str, command: AuroraCommand) -> Result<()> {
    // Runs inside the testbed already, and must not ask for the testbed's tools.
    if let AuroraCommand::Serve { folder, profile } = &command {
        return server::serve_commands(folder, profile);
    }
    let testbed = Testbed::open(testbed)?;
    let control = AuroraControl::in_testbed(&testbed);
    if let Some(order) = command.order() {
        return control.send(&order).map(drop);
    }
    match command {
        AuroraCommand::Up {
            cluster,
            readers,
            profile,
            max_connections,
        } => {
            let up = AuroraClusterSpec {
                cluster: cluster.cluster,
                readers,
                profile,
                max_connections,
            };
            let control = daemon::create_cluster(&testbed, &up)?;
            print!("{}", control.status()?.table());
        }
        AuroraCommand::Down { .. } => daemon::stop_daemon(&testbed)?,
        AuroraCommand::Status { json: true } => {
            println!("{}", serde_json::to_string_pretty(&control.status()?)?);
        }
        AuroraCommand::Status { json: false } => print!("{}", control.status()?.table()),
        AuroraCommand::Events { since } => {
            println!("{}", serde_json::to_string_pretty(&control.events(since)?)?);
        }
        AuroraCommand::Asked => {
            println!(
                "{}",
                serde_json::to_string_pretty(&control.send(&FleetCommand::Asked)?)?
            );
        }
        AuroraCommand::AddReader {
            cluster,
            instance,
            dns_delay,
            wait,
        } => {
            let name = control.send(&FleetCommand::AddReader {
                cluster: cluster.cluster.clone(),
                name: instance,
                dns_delay,
            })?;
            println!("{}", name.as_str().unwrap_or_default());
            wait_and_show(&control, &cluster.cluster, wait)?;
        }
        AuroraCommand::Failover {
            cluster,
            to,
            flicker,
            dns_delay,
            api_delay,
            keep_target,
            wait,
        } => {
            let options = FailoverOptions {
                flicker,
                dns_delay,
                api_delay,
                keep_target,
            };
            control.failover(&cluster.cluster, to.as_deref(), options)?;
            wait_and_show(&control, &cluster.cluster, wait)?;
        }
        AuroraCommand::Scenario { file, out } => run_scenario(&testbed, &file, &out)?,
        // All others were sent above.
        _ => {}
    }
    Ok(())
}

fn wait_and_show(control: &AuroraControl, cluster: &str, wait: bool) -> Result<()> {
    if wait {
        control.wait_idle(cluster, LIMIT)?;
        print!("{}", control.status()?.table());
    }
    Ok(())
}

fn run_scenario(testbed: &Testbed, file: &PathBuf, out: &PathBuf) -> Result<()> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let record = Scenario::parse(&text)
        .with_context(|| file.display().to_string())?
        .run(testbed)?;
    std::fs::write(out, serde_json::to_vec(&record)?)
        .with_context(|| format!("cannot write {}", out.display()))?;
    println!(
        "{}: {} samples, {} connections, {} events in {}",
        record.scenario,
        record.samples.len(),
        record.lives.len(),
        record.events.len(),
        out.display()
    );
    match record.failed {
        Some(why) => bail!("the scenario ended early: {why}"),
        None => Ok(()),
    }
}
