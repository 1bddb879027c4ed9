//! Computes the weights by which the readers of a cluster share the connections of its reader pools.
//!
//! A weight is what the shares follow (nothing, or the vCPUs of the instance class), times what the user has set for the
//! reader, times how far a reader that has just come is on its ramp. Nothing is guessed: a class that is not understood
//! makes the shares equal, and it is said.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::budget::SERVERLESS_CLASS;
use crate::hash::StableHash;
use crate::topology::InstanceId;
use dbbalance_api::spec::{BalanceSpec, DEFAULT_WEIGHT, SharesBy};

/// In how many steps a reader comes to its whole share (docs/adr/0018-weights.md). Each is an episode, and a quarter is
/// about the least that whole pods of a small fleet can follow.
const RAMP_STEPS: u32 = 4;

/// The greatest size of a class that is read, as in `db.r8g.48xlarge`; AWS has none above.
const MOST_XLARGE: u32 = 64;

/// The reason of a warning: DNS works against the weights.
pub const WEIGHTS_FIGHT_DNS: &str = "WeightsFightDNS";

/// The weights of a cluster's readers, reduced to the smallest whole numbers: of equal ones each is 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReaderWeights {
    by_reader: BTreeMap<InstanceId, u32>,
    /// What the user must know about them.
    pub note: Option<WeightsNote>,
    /// When a reader comes to its next part.
    pub next_step: Option<Timestamp>,
}

/// Why the weights are not those that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WeightsNote {
    /// The shares cannot follow the capacity.
    CapacityUnknown {
        /// The reader that prevents it.
        instance: InstanceId,
        /// Its class; `None` if it is not known.
        class: Option<String>,
    },
    /// Every reader has the weight 0, so none counts.
    NoReaderLeft,
}

impl WeightsNote {
    /// Returns the reason in one word.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::CapacityUnknown { .. } => "CapacityUnknown",
            Self::NoReaderLeft => "NoReaderWithWeight",
        }
    }
}

impl fmt::Display for WeightsNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CapacityUnknown {
                instance,
                class: Some(class),
            } if class == SERVERLESS_CLASS => write!(
                f,
                "CapacityUnknown: shares are equal, because {instance} is serverless beside provisioned readers: set balance.weights"
            ),
            Self::CapacityUnknown { instance, class } => write!(
                f,
                "CapacityUnknown: shares are equal, because the vCPUs of {instance} (class {}) are not known: set balance.weights",
                class.as_deref().unwrap_or("unknown")
            ),
            Self::NoReaderLeft => f.write_str(
                "NoReaderWithWeight: every reader has weight 0, so no weight counts: give one of them a weight",
            ),
        }
    }
}

/// What is known of one reader.
#[derive(Clone, Copy, Debug)]
pub struct ReaderFacts<'a> {
    /// The reader.
    pub instance: &'a InstanceId,
    /// Its class.
    pub class: Option<&'a str>,
    /// When it came, if that is remembered.
    pub came: Option<Timestamp>,
}

impl ReaderWeights {
    /// Computes the weights that a policy asks for. `drained`: readers that are to be emptied whatever the policy says.
    #[must_use]
    pub fn compute(
        spec: &BalanceSpec,
        readers: &[ReaderFacts<'_>],
        drained: &[InstanceId],
        now: Timestamp,
    ) -> Self {
        let (capacity, mut note) = match spec.shares {
            SharesBy::Equal => (vec![1; readers.len()], None),
            SharesBy::Capacity => match find_capacities(readers) {
                Ok(capacity) => (capacity, None),
                Err(note) => (vec![1; readers.len()], Some(note)),
            },
        };
        let ramp = SignedDuration::from_secs(i64::from(spec.ramp_seconds));
        let told = |reader: &ReaderFacts| {
            let mut listed = spec.weights.iter();
            let weight = listed.find(|w| w.instance == reader.instance.0);
            let weight = weight.map_or(DEFAULT_WEIGHT, |w| u32::try_from(w.weight).unwrap_or(0));
            if drained.contains(reader.instance) {
                0
            } else {
                weight
            }
        };
        let parts = readers.iter().zip(&capacity).map(|(reader, capacity)| {
            let steps = count_ramp_steps(reader.came, ramp, now);
            (capacity.saturating_mul(steps), told(reader))
        });
        let parts: Vec<(u32, u32)> = parts.collect();
        let is_any_left = parts.iter().any(|(_, told)| *told > 0);
        if !is_any_left && !parts.is_empty() {
            note = Some(WeightsNote::NoReaderLeft);
        }
        let weigh = |(base, told): (u32, u32)| {
            if is_any_left {
                base.saturating_mul(told)
            } else {
                base
            }
        };
        let weights: Vec<u32> = parts.into_iter().map(weigh).collect();
        let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
        let by_reader = readers.iter().zip(weights);
        Self {
            by_reader: by_reader
                .map(|(reader, weight)| (reader.instance.clone(), weight / divisor))
                .collect(),
            note,
            next_step: readers
                .iter()
                .filter_map(|reader| find_next_step(reader.came?, ramp, now))
                .min(),
        }
    }

    /// Returns the weight of an instance: 1 for one that is not a reader of the cluster.
    #[must_use]
    pub fn weight(&self, instance: &InstanceId) -> u32 {
        self.by_reader.get(instance).copied().unwrap_or(1)
    }

    /// Returns whether all readers share alike.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.by_reader.values().all(|weight| *weight == 1)
    }

    /// Returns a short text that differs for other weights; empty if they are equal.
    #[must_use]
    pub fn key(&self) -> String {
        if self.is_equal() {
            return String::new();
        }
        let mut hash = StableHash::from_texts([]);
        for (instance, weight) in &self.by_reader {
            hash.write(&instance.0);
            hash.write(&weight.to_string());
        }
        hash.short_hex()
    }

    /// Describes that DNS works against the weights: it leads as many look-ups to each reader, so each restart of a pod
    /// deals it anew. `None` while no reader is to have less than half of an even share. `pods`: how many are dealt anew
    /// by a deploy.
    #[must_use]
    pub fn describe_fight_with_dns(&self, pods: usize) -> Option<String> {
        let readers = self.by_reader.len();
        let sum: u32 = self.by_reader.values().sum();
        let part = |weight: u32| f64::from(weight) / f64::from(sum.max(1));
        let even = 1.0 / f64::from(u32::try_from(readers.max(1)).unwrap_or(u32::MAX));
        let mut small = self
            .by_reader
            .iter()
            .filter(|(_, w)| part(**w) < even / 2.0);
        let (instance, _) = small.next()?;
        let above: f64 = self
            .by_reader
            .values()
            .map(|w| (even - part(*w)).max(0.0))
            .sum();
        let pods = f64::from(u32::try_from(pods).unwrap_or(u32::MAX));
        Some(format!(
            "{WEIGHTS_FIGHT_DNS}: DNS leads as many pods to {instance} as to the others, so about {:.0} of {pods} pods must be recycled after each rollout: a custom endpoint without it would need none",
            (pods * above).ceil()
        ))
    }
}

/// Returns in which quarter of its ramp a reader is, from 1 to [`RAMP_STEPS`].
fn count_ramp_steps(came: Option<Timestamp>, ramp: SignedDuration, now: Timestamp) -> u32 {
    let Some(came) = came.filter(|_| ramp > SignedDuration::ZERO) else {
        return RAMP_STEPS;
    };
    let age = now.duration_since(came).max(SignedDuration::ZERO);
    // A quarter from the beginning on, and the whole when three quarters more have passed.
    let parts = RAMP_STEPS.cast_signed() - 1;
    let passed = |step: &i32| age >= ramp * *step / parts;
    1 + u32::try_from((1..=parts).take_while(passed).count()).unwrap_or(0)
}

/// Returns when a reader comes to its next part; `None` if it has the whole.
fn find_next_step(came: Timestamp, ramp: SignedDuration, now: Timestamp) -> Option<Timestamp> {
    let mut steps =
        (1..RAMP_STEPS.cast_signed()).map(|step| ramp * step / (RAMP_STEPS.cast_signed() - 1));
    steps.find_map(|age| came.checked_add(age).ok().filter(|at| *at > now))
}

/// Returns what each reader can take, by vCPUs; serverless readers are all alike.
fn find_capacities(readers: &[ReaderFacts<'_>]) -> Result<Vec<u32>, WeightsNote> {
    let is_serverless = |reader: &&ReaderFacts| reader.class == Some(SERVERLESS_CLASS);
    let serverless = readers.iter().filter(is_serverless).count();
    if serverless == readers.len() {
        return Ok(vec![1; readers.len()]);
    }
    readers
        .iter()
        .map(|reader| {
            let unknown = || WeightsNote::CapacityUnknown {
                instance: reader.instance.clone(),
                class: reader.class.map(str::to_owned),
            };
            reader.class.and_then(find_vcpus).ok_or_else(unknown)
        })
        .collect()
}

/// Returns the vCPUs of an instance class, by the naming of AWS: `large` has 2, `xlarge` 4 and `Nxlarge` 4·N in every
/// family that Aurora has; of the burstable ones `medium` has 2 as well. `None` for a class that is named otherwise.
#[must_use]
pub fn find_vcpus(class: &str) -> Option<u32> {
    let (family, size) = class.strip_prefix("db.")?.split_once('.')?;
    let is_word = |text: &str| {
        text.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    if family.is_empty() || !is_word(family) {
        return None;
    }
    if family.starts_with('t') {
        let is_known = matches!(family, "t3" | "t4g") && matches!(size, "medium" | "large");
        return is_known.then_some(2);
    }
    match size {
        "large" => Some(2),
        "xlarge" => Some(4),
        _ => {
            let n: u32 = size.strip_suffix("xlarge")?.parse().ok()?;
            (2..=MOST_XLARGE).contains(&n).then_some(4 * n)
        }
    }
}

/// Returns the greatest common divisor; of a number and 0 the number.
fn gcd(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests;
