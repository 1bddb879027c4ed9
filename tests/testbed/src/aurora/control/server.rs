//! The server behind `testbed aurora serve`: holds the fleet and executes commands.
//!
//! One per testbed, inside its network, with all its clusters. It ends with the testbed or by `testbed aurora down`;
//! whoever ends it also ends its databases, which survive a killed server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use super::FleetCommand;
use crate::aurora::address::{AUTHORITY, CONTROL_PORT, RDS_API, RDS_API_PORT};
use crate::aurora::api::{self, ApiOptions};
use crate::aurora::dns::{self, DnsOptions};
use crate::aurora::fleet::Fleet;
use crate::aurora::inventory::ControlPlane;
use crate::aurora::observe::{ConnectionObserver, Observation};
use crate::aurora::postgres::{Postgres, network};

/// DNS's own.
const DNS_PORT: u16 = 53;

/// What the handlers share.
#[derive(Clone)]
struct CommandServer {
    fleet: Fleet,
    observers: Arc<Mutex<BTreeMap<String, ConnectionObserver>>>,
    api: Arc<api::ApiServer>,
    dns: Arc<dns::DnsServer>,
}

/// Serves until the process is ended. `folder` takes the databases' data.
pub fn serve_commands(folder: &Path, profile: &str) -> Result<()> {
    let fleet = Fleet::new(Box::new(Postgres::below(folder)?), profile);
    for address in [RDS_API, AUTHORITY] {
        network::add_address(address)?;
    }
    let plane: Arc<dyn ControlPlane> = Arc::new(fleet.clone());
    let options = ApiOptions::default();
    let api = api::start_api((RDS_API, RDS_API_PORT).into(), Arc::clone(&plane), options)?;
    let dns = dns::start_dns((AUTHORITY, DNS_PORT).into(), plane, &DnsOptions::default())?;
    fleet.start_supervisor();
    let held = CommandServer {
        fleet,
        observers: Arc::default(),
        api: Arc::new(api),
        dns: Arc::new(dns),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let app = Router::new()
            .route("/order", post(handle_command))
            .with_state(held);
        let listener = tokio::net::TcpListener::bind((RDS_API, CONTROL_PORT))
            .await
            .with_context(|| format!("cannot listen at {RDS_API}:{CONTROL_PORT}"))?;
        axum::serve(listener, app)
            .await
            .context("the control interface has ended")
    })
}

async fn handle_command(State(held): State<CommandServer>, body: String) -> (StatusCode, String) {
    let carried = tokio::task::spawn_blocking(move || {
        let order: FleetCommand = serde_json::from_str(&body).context("invalid command")?;
        held.carry_out(order)
    })
    .await
    .unwrap_or_else(|e| Err(e.into()));
    match carried {
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err(e) => (StatusCode::BAD_REQUEST, format!("{e:#}")),
    }
}

impl CommandServer {
    fn carry_out(&self, order: FleetCommand) -> Result<Value> {
        let fleet = &self.fleet;
        match order {
            FleetCommand::Up(up) => fleet.start_cluster(&up)?,
            FleetCommand::Down { cluster } => {
                self.observers().remove(&cluster);
                fleet.remove_cluster(&cluster)?;
            }
            FleetCommand::AddReader {
                cluster,
                name,
                dns_delay,
            } => {
                return Ok(json!(fleet.add_reader(
                    &cluster,
                    name.as_deref(),
                    dns_delay
                )?));
            }
            FleetCommand::RemoveReader { name } => fleet.remove_reader(&name)?,
            FleetCommand::Failover {
                cluster,
                to,
                options,
            } => fleet.fail_over(&cluster, to.as_deref(), &options)?,
            FleetCommand::Crash { name, recover } => fleet.crash(&name, recover)?,
            FleetCommand::Partition { name } => fleet.partition(&name)?,
            FleetCommand::Heal { name } => fleet.heal(&name)?,
            FleetCommand::ReaderOut { name } => fleet.set_dns_reader(&name, false)?,
            FleetCommand::ReaderIn { name } => fleet.set_dns_reader(&name, true)?,
            FleetCommand::Reboot { name } => {
                fleet.reboot(&name)?;
            }
            FleetCommand::Replace { cluster } => fleet.replace(&cluster)?,
            FleetCommand::SetFaults { cluster, faults } => fleet.set_faults(&cluster, faults)?,
            FleetCommand::Fault { faults } => self.api.faults().set(faults),
            FleetCommand::Status => return Ok(serde_json::to_value(fleet.status())?),
            FleetCommand::Asked => {
                let calls = self.api.calls();
                return Ok(json!({
                    "api": {"byAction": calls.by_action, "throttled": calls.throttled},
                    "dns": self.dns.log(),
                }));
            }
            FleetCommand::Events { since } => {
                return Ok(serde_json::to_value(fleet.events(since))?);
            }
            FleetCommand::Observe { cluster } => {
                let observer = ConnectionObserver::start(fleet, &cluster);
                self.observers().insert(cluster, observer);
            }
            FleetCommand::Newest { cluster } => {
                let newest = self
                    .observers()
                    .get(&cluster)
                    .and_then(ConnectionObserver::latest_sample);
                return Ok(serde_json::to_value(newest)?);
            }
            FleetCommand::Unobserve { cluster } => {
                self.observers().remove(&cluster);
            }
            FleetCommand::Seen { cluster, stop } => {
                let mut observers = self.observers();
                let seen = observers
                    .get(&cluster)
                    .map_or_else(Observation::default, ConnectionObserver::observation);
                if stop {
                    observers.remove(&cluster);
                }
                return Ok(serde_json::to_value(seen)?);
            }
        }
        Ok(json!({}))
    }

    fn observers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, ConnectionObserver>> {
        self.observers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
