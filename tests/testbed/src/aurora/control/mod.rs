//! Commands to the testbed's Aurora, over plain HTTP and JSON.
//!
//! [`FleetCommand`] has every command: the command line, tests, scenarios and the bench send them by
//! [`AuroraControl`], and [`server`] executes them. `POST /order` with a command returns JSON, or 400 with the error's
//! text.

pub mod server;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::address::{CONTROL_PORT, RDS_API};
use super::api::http_faults::HttpFaults;
use super::cluster_faults::ClusterFaults;
use super::event::FleetEvent;
use super::fleet::AuroraClusterSpec;
use super::observe::{ConnectionSample, Observation};
use super::script::FailoverOptions;
use super::status::FleetStatus;
use crate::kubernetes::Testbed;
use crate::rds::client::HttpClient;
use crate::wait;

/// The cluster where nothing says another.
pub const CLUSTER: &str = "orders";
/// A cluster with many readers on a busy machine is the longest.
const PATIENCE: Duration = Duration::from_mins(2);

/// What can be ordered. In JSON by the key `do`, in kebab case, with the fields beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum FleetCommand {
    /// A cluster with its instances; answers when all serve.
    Up(AuroraClusterSpec),
    /// Takes a cluster away.
    Down {
        /// The cluster.
        cluster: String,
    },
    /// `CreateDBInstance`; answers with the name.
    AddReader {
        /// The cluster.
        cluster: String,
        /// The instance; the next number if left out.
        #[serde(default)]
        name: Option<String>,
        /// Seconds from `available` until the reader endpoint may lead to it.
        #[serde(default)]
        dns_delay: Option<f64>,
    },
    /// `DeleteDBInstance` of a reader.
    RemoveReader {
        /// The instance.
        name: String,
    },
    /// `FailoverDBCluster`.
    Failover {
        /// The cluster.
        cluster: String,
        /// The new writer; AWS's choice if left out.
        #[serde(default)]
        to: Option<String>,
        /// How it differs from the plain one.
        #[serde(default)]
        options: FailoverOptions,
    },
    /// Kills an instance's processes.
    Crash {
        /// The instance.
        name: String,
        /// Does Aurora then restart it, or fail over?
        recover: bool,
    },
    /// Drops all packets from and to an instance's address: half-open, nothing is reset.
    Partition {
        /// The instance.
        name: String,
    },
    /// Undoes it.
    Heal {
        /// The instance.
        name: String,
    },
    /// Keeps the reader endpoint from leading to a reader, which serves on; for as long as nothing else changes its place.
    ReaderOut {
        /// The instance.
        name: String,
    },
    /// Undoes it.
    ReaderIn {
        /// The instance.
        name: String,
    },
    /// `RebootDBInstance`.
    Reboot {
        /// The instance.
        name: String,
    },
    /// The switch of a blue/green deployment: the same names with other resource ids.
    Replace {
        /// The cluster.
        cluster: String,
    },
    /// Sets the faults of the API for a cluster; none by default.
    SetFaults {
        /// The cluster.
        cluster: String,
        /// Its faults.
        faults: ClusterFaults,
    },
    /// Sets the faults of the API's HTTP answers; none by default.
    Fault {
        /// Its faults.
        faults: HttpFaults,
    },
    /// [`FleetStatus`].
    Status,
    /// What the API and the name server were asked, and answered.
    Asked,
    /// The events since a time.
    Events {
        /// Milliseconds since 1970.
        since: i64,
    },
    /// Starts to sample a cluster's connections; restarts if it is sampled already.
    Observe {
        /// The cluster.
        cluster: String,
    },
    /// The newest [`ConnectionSample`] alone; null before the first.
    Newest {
        /// The cluster.
        cluster: String,
    },
    /// Stops to sample a cluster, and forgets what was seen.
    Unobserve {
        /// The cluster.
        cluster: String,
    },
    /// The [`Observation`] so far.
    Seen {
        /// The cluster.
        cluster: String,
        /// And stop?
        stop: bool,
    },
}

/// Gives orders.
#[derive(Clone, Debug)]
pub struct AuroraControl {
    http: HttpClient,
}

impl AuroraControl {
    /// To the Aurora of a testbed; from outside its network too.
    #[must_use]
    pub fn in_testbed(testbed: &Testbed) -> Self {
        let base = format!("http://{RDS_API}:{CONTROL_PORT}");
        Self {
            http: HttpClient::new(&base, Some(testbed.layout().clone())).patient(PATIENCE),
        }
    }

    /// From inside the testbed's network.
    #[must_use]
    pub fn inside() -> Self {
        let base = format!("http://{RDS_API}:{CONTROL_PORT}");
        Self {
            http: HttpClient::new(&base, None).patient(PATIENCE),
        }
    }

    /// Gives an order; the answer as JSON.
    pub fn send(&self, order: &FleetCommand) -> Result<Value> {
        let body = serde_json::to_string(order)?;
        let (status, text) = self
            .http
            .send(
                "POST",
                "/order",
                &[("Content-Type", "application/json")],
                &body,
            )
            .context("the testbed's Aurora does not answer; start it with: testbed aurora up")?;
        if status != 200 {
            bail!("{text}");
        }
        serde_json::from_str(&text).context("the answer is not JSON")
    }

    fn query<T: DeserializeOwned>(&self, order: &FleetCommand) -> Result<T> {
        Ok(serde_json::from_value(self.send(order)?)?)
    }

    /// Does it answer?
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status().is_ok()
    }

    /// All clusters.
    pub fn status(&self) -> Result<FleetStatus> {
        self.query(&FleetCommand::Status)
    }

    /// Adds a reader; gives its name, though it is still `creating`.
    pub fn add_reader(&self, cluster: &str) -> Result<String> {
        self.query(&FleetCommand::AddReader {
            cluster: cluster.to_owned(),
            name: None,
            dns_delay: None,
        })
    }

    /// Begins a failover.
    pub fn failover(
        &self,
        cluster: &str,
        to: Option<&str>,
        options: FailoverOptions,
    ) -> Result<()> {
        self.send(&FleetCommand::Failover {
            cluster: cluster.to_owned(),
            to: to.map(str::to_owned),
            options,
        })
        .map(drop)
    }

    /// What happened since a time, in milliseconds since 1970.
    pub fn events(&self, since: i64) -> Result<Vec<FleetEvent>> {
        self.query(&FleetCommand::Events { since })
    }

    /// Starts to sample a cluster.
    pub fn observe(&self, cluster: &str) -> Result<()> {
        self.send(&FleetCommand::Observe {
            cluster: cluster.to_owned(),
        })
        .map(drop)
    }

    /// What was seen last; none before the first sample. For a live view: all of it grows with time.
    pub fn latest_sample(&self, cluster: &str) -> Result<Option<ConnectionSample>> {
        self.query(&FleetCommand::Newest {
            cluster: cluster.to_owned(),
        })
    }

    /// Stops to sample a cluster.
    pub fn unobserve(&self, cluster: &str) -> Result<()> {
        self.send(&FleetCommand::Unobserve {
            cluster: cluster.to_owned(),
        })
        .map(drop)
    }

    /// What was seen since then.
    pub fn observation(&self, cluster: &str) -> Result<Observation> {
        self.query(&FleetCommand::Seen {
            cluster: cluster.to_owned(),
            stop: false,
        })
    }

    /// Waits until nothing is under way in a cluster.
    pub fn wait_idle(&self, cluster: &str, limit: Duration) -> Result<()> {
        wait::poll_until(&format!("an idle {cluster}"), limit, || {
            let status = self.status()?;
            let found = status
                .cluster(cluster)
                .with_context(|| format!("there is no cluster {cluster}"))?;
            Ok(found.busy.is_empty().then_some(()))
        })
    }
}
