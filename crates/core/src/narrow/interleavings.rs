//! Two policies, one name, and all that may happen to them in any order: after each step, rules that are written down
//! here a second time must hold, whatever the code says.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Runs and steps: 10^5 steps in all.
const RUNS: u32 = 250;
const STEPS: usize = 400;

/// Who may narrow the name.
struct Steerer {
    mark: PolicyMark,
    hold: SignedDuration,
    steers: bool,
    allows_alone: bool,
    generation: i64,
    stops: NarrowingStops,
    wanted: Option<WantedLead>,
    rest_until: Option<Timestamp>,
    /// What stood when it last looked: its cache may be old.
    seen: ObservedName,
}

/// The name, and what look-ups of it were answered.
struct Stage {
    now: Timestamp,
    led: Led,
    claim: Option<NarrowClaim>,
    /// The object's resource version: a PATCH of an older one is refused.
    version: u64,
    seen_versions: [u64; 2],
    looks: Vec<NameLook>,
    follows: bool,
    readers: Option<BTreeSet<InstanceId>>,
    steerers: [Steerer; 2],
}

fn instance(n: u8) -> InstanceId {
    InstanceId(format!("r{}", n % 4))
}

fn steerer(uid: &str, hold: i64) -> Steerer {
    Steerer {
        mark: PolicyMark::from_uid(uid),
        hold: SignedDuration::from_secs(hold),
        steers: true,
        allows_alone: false,
        generation: 1,
        stops: NarrowingStops::default(),
        wanted: None,
        rest_until: None,
        seen: ObservedName::Unread,
    }
}

impl Stage {
    fn new() -> Self {
        Self {
            now: Timestamp::from_second(1000).unwrap(),
            led: Led::Aurora,
            claim: None,
            version: 1,
            seen_versions: [0, 0],
            looks: Vec::new(),
            follows: true,
            readers: Some((0..4).map(instance).collect()),
            steerers: [steerer("first", 60), steerer("second", 20)],
        }
    }

    fn wait(&mut self, millis: i64) {
        for _ in 0..millis / 100 {
            self.now += SignedDuration::from_millis(100);
            let led = if self.follows {
                self.led.clone()
            } else {
                Led::Aurora
            };
            self.looks.push(NameLook {
                at: self.now,
                led: Some(led),
                ttl: 5,
            });
        }
        let surplus = self.looks.len().saturating_sub(40);
        self.looks.drain(..surplus);
    }

    /// One thing happens to the world.
    fn disturb(&mut self, what: u8, number: u8) {
        let who = usize::from(number) % 2;
        let flip = number >= 128;
        let one = &mut self.steerers[who];
        match what % 24 {
            // Runs come and go far more often than anything else.
            0..=5 => {
                one.wanted = Some(WantedLead {
                    run: i64::from(number / 64),
                    receiver: instance(number),
                });
            }
            6 => one.wanted = None,
            7 => one.stops.is_urgent = flip,
            8 => one.stops.is_suspended = flip,
            9 if number.is_multiple_of(2) => one.stops.is_paused = flip,
            9 => one.stops.is_held_wide = flip,
            10 => one.stops.is_deleted = flip,
            11 => one.stops.is_observing = flip,
            12 => one.stops.is_shutting_down = flip,
            13 => one.stops.is_invalid = flip,
            14 => one.stops.is_operator_alone = flip,
            15 => one.allows_alone = flip,
            16 => one.generation += 1,
            17 => one.steers = number >= 32,
            18 => {
                let gone = instance(number);
                self.readers = (number >= 32).then(|| {
                    (0..4)
                        .map(instance)
                        .filter(|r| flip || *r != gone)
                        .collect()
                });
            }
            19 => self.follows = number >= 32,
            20 => {
                if let Some(last) = self.looks.last_mut() {
                    last.led = None;
                }
            }
            // Somebody else changes the object.
            21 => {
                self.version += 1;
                match number % 4 {
                    0 => self.claim = None,
                    1 => self.led = Led::Aurora,
                    2 => self.led = Led::Unknown,
                    _ => (self.led, self.claim) = (Led::Aurora, None),
                }
            }
            22 => one.rest_until = Some(self.now + SignedDuration::from_secs(number.into())),
            _ => one.stops = NarrowingStops::default(),
        }
    }

    /// A policy looks, unless its watch lags, decides, and its effect may be lost.
    fn pass(&mut self, who: usize, lags: bool, is_lost: bool) {
        if !lags {
            self.steerers[who].seen = ObservedName::Found {
                led: self.led.clone(),
                claim: self.claim.clone(),
            };
            self.seen_versions[who] = self.version;
        }
        let one = &self.steerers[who];
        let rules = NarrowingRules {
            hold: one.hold,
            settle: None,
            allows_single_operator: one.allows_alone,
        };
        let inputs = NarrowingInputs {
            now: self.now,
            observed: &one.seen,
            looks: &self.looks,
            greatest_ttl: Some(5),
            policy: &one.mark,
            generation: one.generation,
            rules: one.steers.then_some(&rules),
            stops: one.stops,
            readers: self.readers.as_ref(),
            rest_until: one.rest_until,
        };
        let wanted = one.wanted.as_ref().ok_or(WidenReason::NothingLeft);
        let action = decide_narrowing(&inputs, wanted);
        self.check(who, &action);
        if is_lost || self.seen_versions[who] != self.version {
            return;
        }
        match action {
            NameAction::Keep => {}
            NameAction::Narrow(claim) => {
                assert_eq!(self.claim, None, "two policies on one name");
                self.led = Led::Instance(claim.instance.clone());
                self.claim = Some(claim);
                self.version += 1;
            }
            NameAction::Widen(_) => {
                (self.led, self.claim) = (Led::Aurora, None);
                self.version += 1;
            }
        }
    }

    /// The rules, from what the policy has seen.
    fn check(&self, who: usize, action: &NameAction) {
        let one = &self.steerers[who];
        let ObservedName::Found { led, claim } = &one.seen else {
            return assert_eq!(*action, NameAction::Keep, "nothing is known of the name");
        };
        let NarrowingStops {
            is_urgent,
            is_deleted,
            is_observing,
            is_suspended,
            is_paused,
            is_held_wide,
            is_invalid,
            is_shutting_down,
            is_operator_alone,
        } = one.stops;
        let is_stopped = is_urgent
            || is_deleted
            || is_observing
            || is_suspended
            || is_paused
            || is_held_wide
            || is_invalid
            || is_shutting_down;
        let is_alone = is_operator_alone && !one.allows_alone;
        let serves = |i: &InstanceId| self.readers.as_ref().is_some_and(|r| r.contains(i));
        if let NameAction::Narrow(new) = action {
            let wanted = one.wanted.as_ref().unwrap();
            assert_eq!((&new.instance, new.run), (&wanted.receiver, wanted.run));
            assert!(serves(&new.instance), "to a reader that serves");
            assert!(one.steers && !is_stopped && !is_alone);
            assert_eq!((led, claim), (&Led::Aurora, &None), "it was narrowed");
            assert!(one.rest_until.is_none_or(|until| until <= self.now));
            assert_eq!((&new.policy, new.generation), (&one.mark, one.generation));
        }
        match claim {
            None => assert!(
                !matches!(action, NameAction::Widen(_)),
                "a name without a claim is not the operator's to widen"
            ),
            Some(claim) if claim.policy == one.mark => {
                let age = self.now.duration_since(claim.time);
                let wants = one.wanted.as_ref();
                let wants =
                    wants.is_some_and(|w| (w.run, &w.receiver) == (claim.run, &claim.instance));
                let newest = self.looks.iter().rfind(|look| look.at > claim.time);
                let has_failed = newest.is_some_and(|look| look.led.is_none());
                let may_stand = one.steers
                    && !is_stopped
                    && !is_alone
                    && wants
                    && serves(&claim.instance)
                    && age < one.hold
                    && claim.generation == one.generation
                    && *led == Led::Instance(claim.instance.clone())
                    && !has_failed;
                if !may_stand {
                    assert!(matches!(action, NameAction::Widen(_)), "{claim} must end");
                }
                // 5 s for the TTL, 5.5 s for a cache in front, 3 s for the look-ups.
                let is_due = age >= SignedDuration::from_millis(13_500);
                let last = self.looks.iter().rev().take(12);
                let agree = last.filter(|l| l.led == Some(Led::Instance(claim.instance.clone())));
                let follows = agree.count() == 12;
                match action {
                    NameAction::Narrow(_) => panic!("narrowed twice"),
                    NameAction::Widen(reason) if may_stand => {
                        assert_eq!(*reason, WidenReason::NotLed);
                        assert!(is_due && !follows, "widened for nothing");
                    }
                    NameAction::Widen(reason) if is_urgent => {
                        assert_eq!(*reason, WidenReason::Urgent);
                    }
                    NameAction::Keep => assert!(!is_due || follows, "not led"),
                    NameAction::Widen(_) => {}
                }
            }
            Some(claim) => {
                // The longest hold that the API takes.
                let is_overdue = self.now.duration_since(claim.time).as_secs() >= 300;
                let takes_over = is_overdue && one.steers && !is_stopped;
                let expected = if takes_over {
                    NameAction::Widen(WidenReason::ForeignOverdue)
                } else {
                    NameAction::Keep
                };
                assert_eq!(*action, expected, "another policy's name");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: RUNS, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_narrows_a_name_for_too_long_or_for_nothing(
        steps in vec((any::<u8>(), any::<u8>(), 0_u8..8, 0_i64..30), STEPS)
    ) {
        let mut stage = Stage::new();
        for (what, number, flags, tenths) in steps {
            // Mostly fractions of a second; now and then longer than any hold.
            let millis = if what == 255 { 400_000 } else { tenths * 100 };
            stage.wait(millis);
            stage.disturb(what, number);
            let lags = flags & 1 == 1 && number % 4 == 0;
            let is_lost = flags & 2 == 2 && number % 3 == 0;
            stage.pass(usize::from(flags >> 2), lags, is_lost);
        }
    }

    /// Whatever has happened: once both policies pass without a disturbance, the name is wide within the longer hold.
    #[test]
    fn a_name_is_wide_at_last_when_nothing_is_wanted_of_it(
        steps in vec((any::<u8>(), any::<u8>(), 0_u8..8, 0_i64..30), 50)
    ) {
        let mut stage = Stage::new();
        for (what, number, flags, tenths) in steps {
            stage.wait(tenths * 100);
            stage.disturb(what, number);
            stage.pass(usize::from(flags >> 2), false, flags & 1 == 1);
        }
        for one in &mut stage.steerers {
            one.wanted = None;
        }
        for who in [0, 1] {
            stage.pass(who, false, false);
        }
        prop_assert_eq!(stage.claim, None);
    }
}
