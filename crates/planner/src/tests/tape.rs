//! The tape: what the planner decided in thousands of random stories, to hold every later planner to.
//!
//! `tape/stories.txt` has a line for each story: kind, number, plans, and a hash over the text of all plans. A planner
//! that is only rewritten gives the same tape. One that decides otherwise on purpose writes a new one, by
//! `DBBALANCE_TAPE=write`, and the change says why.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use jiff::SignedDuration;

use super::{measured, stories};
use crate::testing::parse_policy;
use crate::testing::random::{self, NOW, Tape};
use crate::testing::recorder::{PlanDigest, PlanRecorder};
use crate::testing::{at, rules, target};
use crate::world::{EffectBackoff, World};
use crate::{Gate, plan};
use dbbalance_api::spec::{Fallback, Method};

/// `write` records the tape anew.
const MODE: &str = "DBBALANCE_TAPE";
/// Plays only these stories, as in `stamps-17,evidence-3`.
const ONLY: &str = "DBBALANCE_TAPE_STORY";
/// A directory for the text of all plans of stories that differ, or of those that were asked for.
const DUMP: &str = "DBBALANCE_TAPE_DUMP";
/// Differing stories beyond this are counted, and neither listed nor dumped.
const LISTED: usize = 20;
/// Worlds of one story of unrelated worlds.
const WORLDS: u64 = 20;
/// Plans of one world, each on the status that the last one left.
const PASSES: i64 = 4;

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum StoryKind {
    /// Pods are picked by their stamps.
    Stamps,
    /// Pods are picked by measured connections.
    Evidence,
    /// As `Evidence`, with a look at each turn at what would be planned if gates were closed that no measured story
    /// meets.
    Asides,
    /// No story: unrelated worlds in any state, which no story reaches.
    Worlds,
}

impl StoryKind {
    const ALL: [Self; 4] = [Self::Stamps, Self::Evidence, Self::Asides, Self::Worlds];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Stamps => "stamps",
            Self::Evidence => "evidence",
            Self::Asides => "asides",
            Self::Worlds => "worlds",
        }
    }

    /// Stories on the tape.
    const fn count(self) -> u64 {
        match self {
            Self::Stamps => 3_000,
            Self::Evidence | Self::Asides | Self::Worlds => 500,
        }
    }

    /// Bytes of the longest story.
    const fn length(self) -> u64 {
        match self {
            Self::Stamps => 120,
            Self::Evidence | Self::Asides => 100,
            Self::Worlds => 160,
        }
    }
}

/// A story by its kind and number, as in `stamps-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct StoryId {
    kind: StoryKind,
    number: u64,
}

impl fmt::Display for StoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.as_str(), self.number)
    }
}

impl StoryId {
    fn all() -> Vec<Self> {
        let of = |kind: StoryKind| (0..kind.count()).map(move |number| Self { kind, number });
        StoryKind::ALL.into_iter().flat_map(of).collect()
    }

    /// The bytes that the story chooses by: the same for ever, whatever generator a library has.
    fn bytes(self, part: u64) -> Vec<u8> {
        let mut seed = SplitMix::new(self.number << 16 | part << 2 | self.kind as u64);
        let length = seed.next() % self.kind.length();
        (0..length).map(|_| seed.next().to_le_bytes()[7]).collect()
    }

    /// Plays it, with the rules of all stories held. Returns what it recorded.
    fn play(self, keeps_text: bool) -> PlanRecorder {
        let recorder = PlanRecorder::new(keeps_text);
        // Some clocks run between seconds, which the status cannot hold.
        let late = SignedDuration::from_millis(if self.number % 3 == 2 { 437 } else { 0 });
        let recorder = match self.kind {
            StoryKind::Stamps => {
                let mut model = stories::play_from(&self.bytes(0), late, Some(recorder));
                model.recorder.take()
            }
            StoryKind::Evidence => {
                let mut model = measured::play_from(&self.bytes(0), late, Some(recorder));
                model.recorder.take()
            }
            StoryKind::Asides => self.play_asides(late, recorder),
            StoryKind::Worlds => Some(self.play_worlds(late, recorder)),
        };
        recorder.unwrap()
    }

    fn play_asides(self, late: SignedDuration, recorder: PlanRecorder) -> Option<PlanRecorder> {
        let bytes = self.bytes(0);
        let tape = &mut Tape::new(&bytes);
        let mut model = measured::start(tape);
        model.now += late;
        model.recorder = Some(recorder);
        for _ in 0..bytes.len() / 6 {
            measured::happen(tape, &mut model);
            model.pass();
            model.wait(tape.of(&[1, 2, 5]));
            let mut world = model.world.clone();
            random::standing(tape, &mut world);
            disturb_target(tape, &mut world);
            let recorder = model.recorder.as_mut()?;
            for _ in 0..2 {
                let plan = plan(&world, &parse_policy(&world), model.now);
                recorder.record_plan(&plan, model.now);
                world.status = plan.status;
                world.settling = plan.settling;
            }
        }
        model.recorder.take()
    }

    fn play_worlds(self, late: SignedDuration, mut recorder: PlanRecorder) -> PlanRecorder {
        for part in 0..WORLDS {
            let mut world = random::world(&self.bytes(part));
            for pass in 0..PASSES {
                // At once, then later.
                let now = at(NOW + 30 * (pass / 2)) + late;
                let plan = plan(&world, &parse_policy(&world), now);
                recorder.record_plan(&plan, now);
                rules::check(&world, &plan, now);
                world.status = plan.status;
                world.settling = plan.settling;
            }
        }
        recorder
    }
}

/// Closes a gate of the first target, or gives it a method that no measured story has.
fn disturb_target(tape: &mut Tape, world: &mut World) {
    let what = tape.below(12);
    let found = &mut world.targets[0];
    let recycle = &mut world.spec.targets[0].recycle;
    match (what, &mut found.workload) {
        (1, _) => found.owned_by = Some("older".into()),
        (2, _) => found.workload = None,
        (3, _) => world.peers.running = 3,
        (4, _) => {
            found.backoff = Some(EffectBackoff {
                gate: Gate::DisruptionBudget,
                message: "429".into(),
                until: at(100_000),
            });
        }
        (5, Some(workload)) => workload.paused = true,
        (6, Some(workload)) => workload.updated /= 2,
        (7, Some(workload)) => workload.wanted += 2,
        (8, Some(workload)) => workload.ignored = true,
        (9 | 10, _) => {
            *recycle = target("x", Method::Rollout).recycle;
            recycle.fallback = (what == 10).then_some(Fallback::Evict);
        }
        (11, _) => recycle.allow_single_replica = Some(true),
        _ => {}
    }
}

/// Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators (2014).
struct SplitMix(u64);

impl SplitMix {
    /// A generator whose sequence is not a shifted one of a neighbouring seed.
    fn new(seed: u64) -> Self {
        Self(Self(seed).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

type Digests = BTreeMap<StoryId, Result<PlanDigest, String>>;

/// Plays stories on all cores; a story that breaks a rule is an error with its words.
fn play_all(ids: &[StoryId]) -> Digests {
    let next = AtomicUsize::new(0);
    let digests = Mutex::new(Digests::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let played = std::panic::catch_unwind(|| id.play(false).digest());
                    let digest = played.map_err(|cause| {
                        let text = cause.downcast_ref::<String>().cloned();
                        text.unwrap_or_else(|| "a rule is broken".into())
                    });
                    digests.lock().unwrap().insert(*id, digest);
                }
            });
        }
    });
    digests.into_inner().unwrap()
}

fn tape_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/tape/stories.txt")
}

fn line(id: StoryId, digest: PlanDigest) -> String {
    let PlanDigest { plans, hash } = digest;
    format!("{} {} {plans} {hash:016x}", id.kind.as_str(), id.number)
}

/// The lines of the tape by kind and number.
fn read_tape() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(tape_path()).unwrap();
    let lines = text.lines().map(|line| {
        let mut words = line.split(' ');
        let id = format!("{}-{}", words.next().unwrap(), words.next().unwrap());
        (id, line.to_owned())
    });
    lines.collect()
}

fn write_tape(digests: &Digests) {
    let mut text = String::new();
    for (id, digest) in digests {
        let digest = digest.as_ref().map_err(|e| format!("{id}: {e}")).unwrap();
        writeln!(text, "{}", line(*id, *digest)).unwrap();
    }
    std::fs::write(tape_path(), text).unwrap();
}

/// Writes all plans of a story as text; of one that breaks a rule there are none.
fn dump_story(directory: &Path, id: StoryId) {
    let played = std::panic::catch_unwind(|| id.play(true));
    if let Ok(recorder) = played {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::write(directory.join(format!("{id}.txt")), recorder.text()).unwrap();
    }
}

#[test]
fn every_story_on_the_tape_gets_the_plans_that_were_recorded() {
    let began = Instant::now();
    let mode = std::env::var(MODE).ok();
    assert!(mode.as_deref().is_none_or(|m| m == "write"), "{MODE}=write");
    let only = std::env::var(ONLY).ok();
    let asked: Option<Vec<&str>> = only.as_deref().map(|o| o.split(',').collect());
    let mut ids = StoryId::all();
    ids.retain(|id| {
        let asked = asked.as_ref();
        asked.is_none_or(|asked| asked.contains(&id.to_string().as_str()))
    });
    assert!(!ids.is_empty(), "{ONLY}: no such story");
    let digests = play_all(&ids);
    if mode.is_some() {
        assert!(asked.is_none(), "the tape is written as a whole");
        write_tape(&digests);
    }
    let tape = read_tape();
    let mut differing = Vec::new();
    for (id, digest) in &digests {
        let recorded = tape.get(&id.to_string()).map_or("nothing", String::as_str);
        let found = match digest {
            Ok(digest) => line(*id, *digest),
            Err(broken) => broken.clone(),
        };
        if found != recorded {
            differing.push((*id, format!("{id}: recorded {recorded}, found {found}")));
        }
    }
    if let Some(directory) = std::env::var_os(DUMP) {
        let dumped: Vec<StoryId> = match &asked {
            Some(_) => ids.clone(),
            None => differing.iter().map(|(id, _)| *id).take(LISTED).collect(),
        };
        for id in dumped {
            dump_story(Path::new(&directory), id);
        }
    }
    let plans: usize = digests.values().flatten().map(|d| d.plans).sum();
    println!(
        "{} stories, {plans} plans, differences {}, in {:?}",
        digests.len(),
        differing.len(),
        began.elapsed()
    );
    let listed: Vec<&str> = differing
        .iter()
        .map(|d| d.1.as_str())
        .take(LISTED)
        .collect();
    assert!(
        differing.is_empty(),
        "{} stories differ:\n{}\nTo see where, run this with the planner before and after, and diff the two files:\n  \
         {DUMP}=target/tape/before {ONLY}={} make tape",
        differing.len(),
        listed.join("\n"),
        differing[0].0,
    );
    assert!(
        asked.is_some() || tape.len() == digests.len(),
        "the tape has stories that were not played"
    );
}
