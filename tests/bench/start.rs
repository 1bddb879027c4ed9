//! The state that each run starts from, and how the fixture gets there: two readers, each with half of the connections.

use std::time::{Duration, Instant};

use dbbalance_testbed::aurora::FleetCommand;
use dbbalance_testbed::aurora::observe::ConnectionSample;

use crate::app::App;
use crate::fixture::{BenchFixture, CLUSTER, LIMIT};
use crate::names::ReaderName;

/// A renewed pool has opened anew, and given back what was in use: the longest request at the bench's rate, and more.
const RENEWED: Duration = Duration::from_millis(2500);
/// How far from half the start may be, of all connections of the readers.
const EVEN: f64 = 0.05;

impl BenchFixture<'_> {
    /// The state that each run starts from: no policy, two readers, and half of the connections on each.
    pub fn start_state(&self, app: &App, name: ReaderName) {
        self.no_policy();
        self.serve(name);
        self.control
            .wait_idle(CLUSTER, LIMIT)
            .expect("an idle cluster");
        self.control.observe(CLUSTER).expect("an observer");
        for reader in self.readers().into_iter().skip(2) {
            self.leave(&reader, name);
            self.control
                .send(&FleetCommand::RemoveReader { name: reader })
                .expect("a reader removed");
        }
        self.control
            .wait_idle(CLUSTER, LIMIT)
            .expect("an idle cluster");
        self.deploy(app);
        let want = app.pods * app.size;
        let readers = self.readers();
        let whole = |sample: &ConnectionSample| {
            readers
                .iter()
                .filter_map(|name| sample.connections(name))
                .sum::<usize>()
                == want
        };
        self.until("an even start", 2 * LIMIT, || {
            let sample = self.sample();
            if !whole(&sample) {
                return None;
            }
            let Some((fuller, ips)) = surplus(&sample, &readers, app.size) else {
                return Some(());
            };
            // What opens anew opens on the other one.
            self.unname(&fuller, name);
            if app.keeps_dns() {
                // Its process would open anew where its own cache leads: mostly to where it was.
                self.replace(&ips);
                self.ready(app);
            } else {
                self.renew(&ips);
                // Old connections end when they are given back: until then both are counted.
                let end = Instant::now() + RENEWED;
                self.within(LIMIT, || {
                    (Instant::now() >= end && whole(&self.sample())).then_some(())
                });
            }
            self.control
                .send(&FleetCommand::ReaderIn { name: fuller })
                .expect("a reader of the cluster");
            None
        });
        // Samples of the run alone.
        self.control.observe(CLUSTER).expect("an observer");
    }

    /// Pods leave a reader before it goes: one that loses its connections may ask for the old address for a minute.
    fn leave(&self, reader: &str, name: ReaderName) {
        self.unname(reader, name);
        self.until("a reader that its pods have left", LIMIT, || {
            let sample = self.sample();
            let seen = sample.instances.get(reader)?.as_ref()?;
            let ips: Vec<String> = self
                .pods()
                .into_iter()
                .map(|pod| pod.ip)
                .filter(|ip| seen.clients.contains_key(ip))
                .collect();
            if ips.is_empty() {
                return Some(());
            }
            self.renew(&ips);
            self.within(RENEWED, || None::<()>);
            None
        });
    }

    /// The reader endpoint no longer leads to a reader, and no cache names it any more.
    fn unname(&self, reader: &str, name: ReaderName) {
        let order = FleetCommand::ReaderOut {
            name: reader.to_owned(),
        };
        self.control.send(&order).expect("a reader of the cluster");
        self.within(name.kept(), || None::<()>);
    }
}

/// The fuller of two readers, and the pods to renew so that both hold the same, within [`EVEN`]: those with most
/// connections there. None if they do.
fn surplus(
    sample: &ConnectionSample,
    readers: &[String],
    size: usize,
) -> Option<(String, Vec<String>)> {
    let held = |name: &String| sample.connections(name).unwrap_or_default();
    let total: usize = readers.iter().map(held).sum();
    let fuller = readers.iter().max_by_key(|name| held(name))?;
    let above = held(fuller).saturating_sub(total / readers.len());
    #[allow(clippy::cast_precision_loss)] // hundreds of connections
    if above as f64 <= EVEN * total as f64 {
        return None;
    }
    let clients = sample
        .instances
        .get(fuller)
        .and_then(Option::as_ref)
        .map(|seen| &seen.clients);
    let mut pods: Vec<_> = clients.into_iter().flatten().collect();
    pods.sort_by_key(|(_, held)| std::cmp::Reverse(held.count));
    let ips = pods.into_iter().take(above.div_ceil(size));
    Some((fuller.clone(), ips.map(|(ip, _)| ip.clone()).collect()))
}
