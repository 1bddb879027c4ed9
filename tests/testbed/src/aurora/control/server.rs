//! The program behind `testbed aurora serve`: it holds the fleet, and carries orders out.
//!
//! One for a testbed, inside its network, with all clusters in it. It ends with the testbed, or by `testbed aurora down`; its
//! databases are ended by whoever ends it, as they outlive a killed one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};

use super::Order;
use crate::aurora::address::{AUTHORITY, CONTROL_PORT, RDS_API, RDS_API_PORT};
use crate::aurora::api::{self, ApiOptions};
use crate::aurora::dns::{self, DnsOptions};
use crate::aurora::estate::ControlPlane;
use crate::aurora::fleet::Fleet;
use crate::aurora::observe::{Observation, Observer};
use crate::aurora::postgres::{Postgres, network};

/// DNS's own.
const DNS_PORT: u16 = 53;

/// What the handlers share.
#[derive(Clone)]
struct Held {
    fleet: Fleet,
    observers: Arc<Mutex<BTreeMap<String, Observer>>>,
    api: Arc<api::Server>,
    dns: Arc<dns::Server>,
}

/// Serves until the process is ended. `folder` takes the databases' data.
pub fn serve(folder: &Path, profile: &str) -> Result<()> {
    let fleet = Fleet::new(Box::new(Postgres::below(folder)?), profile);
    for address in [RDS_API, AUTHORITY] {
        network::add(address)?;
    }
    let plane: Arc<dyn ControlPlane> = Arc::new(fleet.clone());
    let options = ApiOptions::default();
    let api = api::start((RDS_API, RDS_API_PORT).into(), Arc::clone(&plane), options)?;
    let dns = dns::start((AUTHORITY, DNS_PORT).into(), plane, &DnsOptions::default())?;
    fleet.keep();
    let held = Held {
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
        let app = Router::new().route("/order", post(order)).with_state(held);
        let listener = tokio::net::TcpListener::bind((RDS_API, CONTROL_PORT))
            .await
            .with_context(|| format!("cannot listen at {RDS_API}:{CONTROL_PORT}"))?;
        axum::serve(listener, app)
            .await
            .context("the control interface has ended")
    })
}

async fn order(State(held): State<Held>, body: String) -> (StatusCode, String) {
    let carried = tokio::task::spawn_blocking(move || {
        let order: Order = serde_json::from_str(&body).context("that is no order")?;
        held.carry_out(order)
    })
    .await
    .unwrap_or_else(|e| Err(e.into()));
    match carried {
        Ok(value) => (StatusCode::OK, value.to_string()),
        Err(e) => (StatusCode::BAD_REQUEST, format!("{e:#}")),
    }
}

impl Held {
    fn carry_out(&self, order: Order) -> Result<Value> {
        let fleet = &self.fleet;
        match order {
            Order::Up(up) => fleet.up(&up)?,
            Order::Down { cluster } => {
                self.observers().remove(&cluster);
                fleet.down(&cluster)?;
            }
            Order::AddReader {
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
            Order::RemoveReader { name } => fleet.remove_reader(&name)?,
            Order::Failover {
                cluster,
                to,
                options,
            } => fleet.fail_over(&cluster, to.as_deref(), &options)?,
            Order::Crash { name, recover } => fleet.crash(&name, recover)?,
            Order::Partition { name } => fleet.partition(&name)?,
            Order::Heal { name } => fleet.heal(&name)?,
            Order::ReaderOut { name } => fleet.lead(&name, false)?,
            Order::ReaderIn { name } => fleet.lead(&name, true)?,
            Order::Reboot { name } => {
                fleet.reboot(&name)?;
            }
            Order::Replace { cluster } => fleet.replace(&cluster)?,
            Order::Moods { cluster, moods } => fleet.set_moods(&cluster, moods)?,
            Order::Fault { mood } => self.api.mood().set(mood),
            Order::Status => return Ok(serde_json::to_value(fleet.status())?),
            Order::Asked => {
                let calls = self.api.calls();
                return Ok(json!({
                    "api": {"byAction": calls.by_action, "throttled": calls.throttled},
                    "dns": self.dns.log(),
                }));
            }
            Order::Events { since } => return Ok(serde_json::to_value(fleet.events(since))?),
            Order::Observe { cluster } => {
                let observer = Observer::start(fleet, &cluster);
                self.observers().insert(cluster, observer);
            }
            Order::Newest { cluster } => {
                let newest = self.observers().get(&cluster).and_then(Observer::newest);
                return Ok(serde_json::to_value(newest)?);
            }
            Order::Unobserve { cluster } => {
                self.observers().remove(&cluster);
            }
            Order::Seen { cluster, stop } => {
                let mut observers = self.observers();
                let seen = observers
                    .get(&cluster)
                    .map_or_else(Observation::default, Observer::seen);
                if stop {
                    observers.remove(&cluster);
                }
                return Ok(serde_json::to_value(seen)?);
            }
        }
        Ok(json!({}))
    }

    fn observers(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Observer>> {
        self.observers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
