//! The state that each run starts from, and how the bed gets there: two readers, each with half of the connections.

use std::time::{Duration, Instant};

use dbbalance_lab::aurora::Order;
use dbbalance_lab::aurora::observe::Sample;

use crate::app::App;
use crate::bed::{Bed, CLUSTER, LIMIT};

/// A renewed pool has opened anew, and given back what was in use: the longest request at the bench's rate, and more.
const RENEWED: Duration = Duration::from_millis(2500);
/// CoreDNS keeps an answer for 5 s.
const CACHED: Duration = Duration::from_millis(5500);
/// How far from half the start may be, of all connections of the readers.
const EVEN: f64 = 0.05;

impl Bed<'_> {
    /// The state that each run starts from: no policy, two readers, and half of the connections on each.
    pub fn start_state(&self, app: &App) {
        self.no_policy();
        self.control
            .wait_idle(CLUSTER, LIMIT)
            .expect("an idle cluster");
        for name in self.readers().into_iter().skip(2) {
            self.control
                .order(&Order::RemoveReader { name })
                .expect("a reader removed");
        }
        self.control
            .wait_idle(CLUSTER, LIMIT)
            .expect("an idle cluster");
        self.control.observe(CLUSTER).expect("an observer");
        self.deploy(app);
        let want = app.pods * app.size;
        let readers = self.readers();
        let whole = |sample: &Sample| {
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
            // What opens anew opens on the other one, once no cache names this one any more.
            self.lead(&fuller, false);
            let flipped = Instant::now() + CACHED;
            self.within(LIMIT, || (Instant::now() >= flipped).then_some(()));
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
            self.lead(&fuller, true);
            None
        });
        // Samples of the run alone.
        self.control.observe(CLUSTER).expect("an observer");
    }

    /// Whether the reader endpoint may lead to this reader.
    fn lead(&self, reader: &str, there: bool) {
        let name = reader.to_owned();
        let order = if there {
            Order::ReaderIn { name }
        } else {
            Order::ReaderOut { name }
        };
        self.control.order(&order).expect("a reader of the cluster");
    }
}

/// The fuller of two readers, and the pods to renew so that both hold the same, within [`EVEN`]: those with most
/// connections there. None if they do.
fn surplus(sample: &Sample, readers: &[String], size: usize) -> Option<(String, Vec<String>)> {
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
