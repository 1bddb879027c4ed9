//! A watch on pods by the test itself: every pod that ever was, and when it was first claimed.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use tokio::sync::oneshot;

use crate::suite::TestCase;
use crate::workloads::find_claim;

/// A pod that was seen.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The pod's name.
    pub name: String,
    /// Its label `app`.
    pub app: String,
    /// When its first claim was seen.
    pub claimed: Option<Instant>,
}

/// What the watch has seen, by pod UID.
#[derive(Clone, Default)]
pub struct Sightings(Arc<Mutex<BTreeMap<String, Sighting>>>);

impl Sightings {
    fn note(&self, pod: &Pod) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sighting = all
            .entry(pod.uid().unwrap_or_default())
            .or_insert_with(|| Sighting {
                name: pod.name_any(),
                app: pod.labels().get("app").cloned().unwrap_or_default(),
                claimed: None,
            });
        if sighting.claimed.is_none() && find_claim(pod).is_some() {
            sighting.claimed = Some(Instant::now());
        }
    }

    /// Returns the pods seen so far.
    pub fn all(&self) -> BTreeMap<String, Sighting> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.clone()
    }

    /// How many pods an app ever had.
    pub fn ever(&self, app: &str) -> usize {
        self.all().values().filter(|s| s.app == app).count()
    }
}

impl TestCase<'_> {
    /// Watches the namespace's pods from now on, for as long as the test runs.
    pub async fn watch_pods(&self) -> Sightings {
        let sightings = Sightings::default();
        let (begun, ready) = oneshot::channel();
        let (seen, api) = (sightings.clone(), self.api::<Pod>());
        tokio::spawn(async move {
            let mut begun = Some(begun);
            let mut events = pin!(watcher(api, watcher::Config::default()));
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Apply(pod) | Event::InitApply(pod) | Event::Delete(pod)) => {
                        seen.note(&pod);
                    }
                    Ok(Event::InitDone) => drop(begun.take().map(|b| b.send(()))),
                    Ok(Event::Init) | Err(_) => {}
                }
            }
        });
        ready.await.unwrap();
        sightings
    }
}
