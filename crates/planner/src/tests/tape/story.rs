//! The stories on the tape: how each is made of its kind and number alone.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use super::super::{measured, stories};
use crate::plan;
use crate::testing::disturb::disturb_target;
use crate::testing::model::Model;
use crate::testing::parse_policy;
use crate::testing::random::{self, NOW, Tape};
use crate::testing::recorder::PlanRecorder;
use crate::testing::{at, rules, seconds};
use crate::world::World;

/// Worlds of one story of unrelated worlds.
const WORLDS: u64 = 20;
/// Bytes that a turn with a look aside takes, more or less.
const TURN: usize = 13;
/// Plans of one world, each on the status that the last one left.
const PASSES: i64 = 4;

/// What a story is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StoryKind {
    /// Pods are picked by their stamps.
    Stamps,
    /// Pods are picked by measured connections.
    Evidence,
    /// By stamps or by evidence in turn; after each happening also what would be planned in a disturbed world, while the
    /// story itself goes on undisturbed.
    Asides,
    /// No story: unrelated worlds in any state, which no story reaches.
    Worlds,
}

impl StoryKind {
    const ALL: [Self; 4] = [Self::Stamps, Self::Evidence, Self::Asides, Self::Worlds];

    pub(super) const fn as_str(self) -> &'static str {
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
            Self::Evidence | Self::Worlds => 500,
            Self::Asides => 1_500,
        }
    }

    /// Bytes of the longest story.
    const fn length(self) -> u64 {
        match self {
            Self::Stamps => 120,
            Self::Evidence => 100,
            Self::Asides => 200,
            Self::Worlds => 160,
        }
    }
}

/// A story by its kind and number, as in `stamps-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoryId {
    pub(super) kind: StoryKind,
    pub(super) number: u64,
}

impl fmt::Display for StoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.as_str(), self.number)
    }
}

impl StoryId {
    pub(super) fn all() -> Vec<Self> {
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
    pub(super) fn play(self, keeps_text: bool) -> PlanRecorder {
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
        if self.number.is_multiple_of(2) {
            let mut model = measured::start(tape);
            model.now += late;
            model.recorder = Some(recorder);
            for _ in 0..bytes.len() / TURN {
                measured::happen(tape, &mut model);
                model.pass();
                model.wait(tape.of(&[1, 2, 5]));
                let (world, now) = (model.world.clone(), model.now);
                look_aside(tape, world, now, model.recorder.as_mut()?);
            }
            return model.recorder;
        }
        let mut model = Model::new(stories::start(tape), 10);
        model.now += late;
        model.recorder = Some(recorder);
        for _ in 0..bytes.len() / TURN {
            stories::happen(tape, &mut model);
            model.pass();
            model.wait(tape.of(&[1, 2, 5]));
            let (world, now) = (model.world.clone(), model.now);
            look_aside(tape, world, now, model.recorder.as_mut()?);
        }
        model.recorder
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

/// Disturbs the world in two ways, and records what would be planned in it now and some time later.
fn look_aside(tape: &mut Tape, mut world: World, now: Timestamp, recorder: &mut PlanRecorder) {
    // Stories are held by these for long, and nothing else can be seen meanwhile.
    world.spec.suspend = false;
    for found in &mut world.targets {
        found.owned_by = None;
    }
    if tape.rare(3) {
        random::standing(tape, &mut world);
    }
    for _ in 0..2 {
        let index = tape.below(world.targets.len());
        disturb_target(tape, &mut world, index, now);
    }
    for gap in [0, 0, 0, 20] {
        let now = now + seconds(gap);
        let plan = plan(&world, &parse_policy(&world), now);
        recorder.record_plan(&plan, now);
        world.status = plan.status;
        world.settling = plan.settling;
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
