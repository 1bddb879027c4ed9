//! A source that says what a test lets it say.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::aurora::testing::parse_reading;
use crate::aurora::{
    ClusterSource, PollResult, PollStats, ReadingError, SourceError, SourceFactory, SourceKey,
};
use dbbalance_core::topology::ClusterId;
use dbbalance_core::tracker::ClusterReading;

type Answer = Result<BTreeMap<ClusterId, Result<ClusterReading, ReadingError>>, SourceError>;

/// What the fake says of a cluster: members in words, or `!` for not whole, `?` for not found.
#[derive(Default)]
pub(super) struct World {
    pub(super) clusters: BTreeMap<String, String>,
    pub(super) error: Option<SourceError>,
    pub(super) hangs: bool,
    /// When which ids were asked for.
    pub(super) polls: Vec<(Instant, BTreeSet<ClusterId>)>,
    pub(super) sources_made: usize,
    pub(super) results: Vec<PollResult>,
    /// Whether the counts still know the source.
    pub(super) counted: bool,
}

/// One world for each region.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<HashMap<String, World>>>);

impl Fake {
    pub(super) fn with<T>(&self, region: &str, change: impl FnOnce(&mut World) -> T) -> T {
        change(self.0.lock().unwrap().entry(region.to_owned()).or_default())
    }

    pub(super) fn say(&self, cluster: &str, text: &str) {
        self.with("r1", |w| {
            w.clusters.insert(cluster.to_owned(), text.to_owned())
        });
    }

    pub(super) fn fail(&self, error: Option<SourceError>) {
        self.with("r1", |w| w.error = error);
    }

    pub(super) fn polls(&self) -> usize {
        self.with("r1", |w| w.polls.len())
    }
}

struct FakeSource(Fake, String);

#[async_trait]
impl ClusterSource for FakeSource {
    async fn read(&self, ids: &BTreeSet<ClusterId>) -> Answer {
        if self.0.with(&self.1, |w| {
            w.polls.push((Instant::now(), ids.clone()));
            w.hangs
        }) {
            std::future::pending::<()>().await;
        }
        self.0.with(&self.1, |w| {
            if let Some(error) = &w.error {
                return Err(error.clone());
            }
            let answer = |id: &ClusterId| match w.clusters.get(&id.0).map_or("?", String::as_str) {
                "?" => Err(ReadingError::NotFound(id.clone())),
                "!" => Err(ReadingError::NotWhole {
                    id: id.clone(),
                    detail: "x".to_owned(),
                }),
                text => Ok(parse_reading(&id.0, text)),
            };
            Ok(ids.iter().map(|id| (id.clone(), answer(id))).collect())
        })
    }
}

#[async_trait]
impl SourceFactory for Fake {
    async fn make_source(&self, key: &SourceKey) -> Result<Arc<dyn ClusterSource>, SourceError> {
        self.with(&key.region, |w| w.sources_made += 1);
        Ok(Arc::new(FakeSource(self.clone(), key.region.clone())))
    }
}

impl PollStats for Fake {
    fn count_poll(&self, source: &SourceKey, result: PollResult, _: Timestamp) {
        self.with(&source.region, |w| w.results.push(result));
    }

    fn retain(&self, sources: &HashSet<SourceKey>) {
        let mut worlds = self.0.lock().unwrap();
        for (region, world) in worlds.iter_mut() {
            world.counted = sources.iter().any(|s| s.region == *region);
        }
    }
}
