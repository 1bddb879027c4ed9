//! What befalls the stand, and how it ends.

use std::time::Duration;

use dbbalance_testbed::aurora::api::http_faults::HttpFaults;
use dbbalance_testbed::aurora::cluster_faults::ClusterFaults;
use dbbalance_testbed::aurora::control::FleetCommand;
use dbbalance_testbed::aurora::script::FailoverOptions;
use dbbalance_testbed::kubernetes::component::Component;
use dbbalance_testbed::process::Signal;
use dbbalance_testkit::workloads::is_ready;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, EvictParams};
use serde_json::json;

use crate::fixture::{CLUSTER, cluster, readers};
use crate::night::{APPS, EVICTED, Night};

/// The readers that the night's clusters have at least and at most.
const READERS: std::ops::RangeInclusive<usize> = 2..=4;
const BUDGET: &str = "night";

/// A kind of disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    Failover,
    FlickeringFailover,
    WriterCrash,
    ReaderReboot,
    ReaderAdded,
    ReaderRemoved,
    ReaderNameFlicker,
    RdsBroken,
    RdsTruncated,
    RdsLate,
    ApiServerOutage,
    OperatorKill,
    FrozenLeader,
    CutLeader,
    FrozenContainer,
    Deploy,
    Scale,
    DisruptionBudget,
    UserEviction,
}

use Disturbance::{
    ApiServerOutage, CutLeader, Deploy, DisruptionBudget, Failover, FlickeringFailover,
    FrozenContainer, FrozenLeader, OperatorKill, RdsBroken, RdsLate, RdsTruncated, ReaderAdded,
    ReaderNameFlicker, ReaderReboot, ReaderRemoved, Scale, UserEviction, WriterCrash,
};

/// The kinds that move connections.
pub const MOVERS: &[Disturbance] = &[
    Failover,
    FlickeringFailover,
    WriterCrash,
    ReaderAdded,
    ReaderRemoved,
];

/// All kinds.
pub const ALL: &[Disturbance] = &[
    Failover,
    FlickeringFailover,
    WriterCrash,
    ReaderReboot,
    ReaderAdded,
    ReaderRemoved,
    ReaderNameFlicker,
    RdsBroken,
    RdsTruncated,
    RdsLate,
    ApiServerOutage,
    OperatorKill,
    FrozenLeader,
    CutLeader,
    FrozenContainer,
    Deploy,
    Scale,
    DisruptionBudget,
    UserEviction,
];

impl Disturbance {
    /// Whether the operator may not learn if an effect has reached its pod, so that it may repeat it once.
    pub fn leaves_effects_unknown(self) -> bool {
        matches!(
            self,
            ApiServerOutage | OperatorKill | FrozenLeader | CutLeader | FrozenContainer
        )
    }
}

/// What must be undone.
#[derive(Clone, Debug)]
pub enum Ending {
    Thaw(usize),
    Restore(usize),
    ThawContainer(String),
    RdsFaults,
    DisruptionBudget,
    ReaderIn(String),
}

impl Night<'_> {
    /// Lets it happen; returns what must be undone later.
    pub async fn begin(&mut self, what: Disturbance) -> Option<Ending> {
        match what {
            Failover | FlickeringFailover => {
                self.fail_over(what == FlickeringFailover);
                None
            }
            WriterCrash => {
                let name = cluster(&self.control).writer?;
                let crash = FleetCommand::Crash {
                    name,
                    recover: true,
                };
                self.order(&crash);
                None
            }
            ReaderReboot | ReaderAdded | ReaderRemoved | ReaderNameFlicker => {
                self.change_readers(what)
            }
            RdsBroken | RdsTruncated | RdsLate => Some(self.break_rds(what)),
            ApiServerOutage => {
                self.freeze_api_server().await;
                None
            }
            OperatorKill | FrozenLeader | CutLeader => self.lose_the_leader(what).await,
            FrozenContainer => {
                let app = *self.dice.pick(APPS)?;
                let pod = self.pick_pod(app).await?.name_any();
                let testbed = &self.case.suite.testbed;
                let frozen = testbed.signal_container(CLUSTER, &pod, "app", Signal::SIGSTOP);
                frozen.ok().map(|()| Ending::ThawContainer(pod))
            }
            Deploy => {
                let app = *self.dice.pick(APPS)?;
                let template = json!({"metadata": {"annotations": {"night": self.dice.between(0, u64::MAX - 1).to_string()}}});
                let patch = json!({"spec": {"template": template}});
                self.case.patch::<Deployment>(app, patch).await;
                None
            }
            Scale => {
                let app = *self.dice.pick(APPS)?;
                let pods = self.dice.between(2, 4);
                let patch = json!({"spec": {"replicas": pods}});
                self.set_wanted(app, usize::try_from(pods).unwrap());
                self.case.patch::<Deployment>(app, patch).await;
                None
            }
            DisruptionBudget => {
                let object = json!({
                    "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": BUDGET},
                    "spec": {"maxUnavailable": 0, "selector": {"matchLabels": {"app": EVICTED}}},
                });
                let api = self.case.api::<PodDisruptionBudget>();
                let object = serde_json::from_value(object).unwrap();
                let made = api.create(&kube::api::PostParams::default(), &object).await;
                made.ok().map(|_| Ending::DisruptionBudget)
            }
            UserEviction => {
                let app = *self.dice.pick(APPS)?;
                let pod = self.pick_pod(app).await?.name_any();
                let api = self.case.api::<Pod>();
                // A disruption budget may refuse it.
                drop(api.evict(&pod, &EvictParams::default()).await);
                None
            }
        }
    }

    /// Undoes it.
    pub async fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Thaw(seat) => {
                let process = self.seats[seat].process.as_ref();
                if let Some(process) = process.filter(|p| p.is_alive()) {
                    process.thaw();
                }
            }
            Ending::Restore(seat) => self.seats[seat].relay.restore(),
            Ending::ThawContainer(pod) => {
                let testbed = &self.case.suite.testbed;
                // A pod that was replaced in between is gone.
                drop(testbed.signal_container(CLUSTER, &pod, "app", Signal::SIGCONT));
            }
            Ending::RdsFaults => {
                self.order(&FleetCommand::Fault {
                    faults: HttpFaults::default(),
                });
                self.order(&FleetCommand::SetFaults {
                    cluster: CLUSTER.to_owned(),
                    faults: ClusterFaults::default(),
                });
            }
            Ending::DisruptionBudget => {
                let api = self.case.api::<PodDisruptionBudget>();
                drop(api.delete(BUDGET, &DeleteParams::default()).await);
            }
            Ending::ReaderIn(name) => self.order(&FleetCommand::ReaderIn { name }),
        }
    }

    /// Gives an order; the fleet refuses what does not fit what is under way.
    fn order(&self, command: &FleetCommand) {
        drop(self.control.send(command));
    }

    fn fail_over(&mut self, flicker: bool) {
        let Some(to) = self.dice.pick(&readers(&self.control)).cloned() else {
            return;
        };
        let options = FailoverOptions {
            flicker,
            keep_target: self.dice.coin(),
            ..FailoverOptions::default()
        };
        drop(self.control.failover(CLUSTER, Some(&to), options));
    }

    fn change_readers(&mut self, what: Disturbance) -> Option<Ending> {
        let all = cluster(&self.control).instances.len() - 1;
        let name = self.dice.pick(&readers(&self.control)).cloned()?;
        // What the number of readers does not allow becomes the other.
        let adds = match what {
            ReaderAdded => all < *READERS.end(),
            _ => all <= *READERS.start(),
        };
        match what {
            ReaderAdded | ReaderRemoved if adds => drop(self.control.add_reader(CLUSTER)),
            ReaderAdded | ReaderRemoved => self.order(&FleetCommand::RemoveReader { name }),
            ReaderReboot => self.order(&FleetCommand::Reboot { name }),
            ReaderNameFlicker => {
                self.order(&FleetCommand::ReaderOut { name: name.clone() });
                return Some(Ending::ReaderIn(name));
            }
            _ => {}
        }
        None
    }

    fn break_rds(&self, what: Disturbance) -> Ending {
        let command = match what {
            RdsLate => FleetCommand::SetFaults {
                cluster: CLUSTER.to_owned(),
                faults: ClusterFaults {
                    late: Some(10.0),
                    ..ClusterFaults::default()
                },
            },
            _ => FleetCommand::Fault {
                faults: HttpFaults {
                    broken: what == RdsBroken,
                    truncate_at: (what == RdsTruncated).then_some(1500),
                    ..HttpFaults::default()
                },
            },
        };
        self.order(&command);
        Ending::RdsFaults
    }

    /// Stops the API server for everybody for a while that the leader's lease does not outlast.
    async fn freeze_api_server(&mut self) {
        let layout = self.case.suite.testbed.layout();
        let server = Component::Apiserver.running(layout).expect("an API server");
        let seconds = self.dice.between(3, 12);
        if self.dice.coin() {
            self.fail_over(false);
        }
        server.signal(Signal::SIGSTOP).unwrap();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        server.signal(Signal::SIGCONT).unwrap();
    }

    async fn lose_the_leader(&mut self, what: Disturbance) -> Option<Ending> {
        let seat = self.leading_seat().await?;
        match what {
            OperatorKill => {
                self.seats[seat].process = None;
                None
            }
            FrozenLeader => {
                self.seats[seat].process.as_ref()?.freeze();
                Some(Ending::Thaw(seat))
            }
            _ => {
                self.seats[seat].relay.cut();
                Some(Ending::Restore(seat))
            }
        }
    }

    async fn pick_pod(&mut self, app: &str) -> Option<Pod> {
        let mut pods = self.case.pods(app).await;
        pods.retain(is_ready);
        self.dice.pick(&pods).cloned()
    }
}
