#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::*;

#[test]
fn a_claim_reads_as_it_was_written() {
    let text = "6f1c9a2b/1764460000-3 orders-4 2026-11-29T15:40:01Z";
    let claim = NarrowClaim::parse(text);
    assert_eq!(claim.policy.as_str(), "6f1c9a2b");
    assert_eq!((claim.run, claim.generation), (1_764_460_000, 3));
    assert_eq!(claim.instance.0, "orders-4");
    assert_eq!(claim.to_string(), text);
}

#[test]
fn a_text_that_is_not_a_claim_is_nobodys_and_as_old_as_time() {
    for text in [
        "",
        "orders",
        "6f1c9a2b/1 orders-4 2026-11-29T15:40:01Z",
        "/1-1 orders-4 2026-11-29T15:40:01Z",
        "6f1c9a2b/1-1 orders-4",
        "6f1c9a2b/1-1 orders-4 yesterday",
        "6f1c9a2b/1-1 orders-4 2026-11-29T15:40:01Z more",
    ] {
        let claim = NarrowClaim::parse(text);
        assert_eq!(claim.policy.as_str(), "", "{text:?}");
        assert_eq!(claim.time, Timestamp::UNIX_EPOCH, "{text:?}");
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn instance(name: &str) -> InstanceId {
    InstanceId(name.to_owned())
}

const RULES: NarrowingRules = NarrowingRules {
    hold: SignedDuration::from_secs(60),
    settle: None,
    allows_single_operator: false,
};

/// A change of something, and why it widens a name.
type Change<T> = (fn(&mut T), WidenReason);

/// A name with all that a decision about it depends on, as the policy `mine00` sees it at second 1000.
struct Scene {
    now: Timestamp,
    observed: ObservedName,
    looks: Vec<NameLook>,
    greatest_ttl: Option<u32>,
    policy: PolicyMark,
    rules: Option<NarrowingRules>,
    stops: NarrowingStops,
    readers: Option<BTreeSet<InstanceId>>,
    rest_until: Option<Timestamp>,
    wanted: Result<WantedLead, WidenReason>,
}

impl Scene {
    /// The name leads to Aurora, and a run wants reader `c`.
    fn wide() -> Self {
        Self {
            now: at(1000),
            observed: ObservedName::Found {
                led: Led::Aurora,
                claim: None,
            },
            looks: Vec::new(),
            greatest_ttl: Some(5),
            policy: PolicyMark::from_uid("mine00"),
            rules: Some(RULES),
            stops: NarrowingStops::default(),
            readers: Some(["b", "c"].map(instance).into()),
            rest_until: None,
            wanted: Ok(WantedLead {
                run: 900,
                receiver: instance("c"),
            }),
        }
    }

    /// The name was narrowed to `c` so many seconds ago, and look-ups follow it since half a second after that.
    fn narrowed(ago: i64) -> Self {
        let mut scene = Self::wide();
        scene.claim("mine00", ago);
        scene.look(|_| Some(Led::Instance(instance("c"))));
        scene
    }

    fn claim(&mut self, policy: &str, ago: i64) {
        self.observed = ObservedName::Found {
            led: Led::Instance(instance("c")),
            claim: Some(NarrowClaim {
                policy: PolicyMark::from_uid(policy),
                run: 900,
                generation: 1,
                instance: instance("c"),
                time: at(1000 - ago),
            }),
        };
    }

    /// Twenty look-ups, ten a second, the newest now; the youngest has number 0.
    fn look(&mut self, led: impl Fn(i32) -> Option<Led>) {
        self.looks = (0..20)
            .rev()
            .map(|n| NameLook {
                at: self.now - SignedDuration::from_millis(100) * n,
                led: led(n),
                ttl: 5,
            })
            .collect();
    }

    fn lend(&self) -> NarrowingInputs<'_> {
        NarrowingInputs {
            now: self.now,
            observed: &self.observed,
            looks: &self.looks,
            greatest_ttl: self.greatest_ttl,
            policy: &self.policy,
            generation: 1,
            rules: self.rules.as_ref(),
            stops: self.stops,
            readers: self.readers.as_ref(),
            rest_until: self.rest_until,
        }
    }

    fn decide(&self) -> NameAction {
        decide_narrowing(&self.lend(), self.wanted.as_ref().map_err(|reason| *reason))
    }
}

#[test]
fn a_name_is_narrowed_to_the_receiver_of_the_run_in_whole_seconds() {
    let mut scene = Scene::wide();
    scene.now = at(1000) + SignedDuration::from_millis(700);
    let NameAction::Narrow(claim) = scene.decide() else {
        panic!("{:?}", scene.decide());
    };
    assert_eq!(claim.to_string(), "mine00/900-1 c 1970-01-01T00:16:40Z");
}

#[test]
fn a_name_stays_narrowed_while_its_run_wants_the_same_receiver() {
    for ago in [0, 5, 30, 59] {
        assert_eq!(Scene::narrowed(ago).decide(), NameAction::Keep, "{ago} s");
    }
}

#[test]
fn each_stop_widens_a_name_and_keeps_it_from_being_narrowed() {
    let stops: [Change<NarrowingStops>; 8] = [
        (|s| s.is_urgent = true, WidenReason::Urgent),
        (|s| s.is_deleted = true, WidenReason::Deleted),
        (|s| s.is_shutting_down = true, WidenReason::ShuttingDown),
        (|s| s.is_observing = true, WidenReason::Observed),
        (|s| s.is_suspended = true, WidenReason::Suspended),
        (|s| s.is_paused = true, WidenReason::Paused),
        (|s| s.is_invalid = true, WidenReason::InvalidSpec),
        (|s| s.is_operator_alone = true, WidenReason::SingleOperator),
    ];
    for (stop, reason) in stops {
        let mut scene = Scene::narrowed(5);
        stop(&mut scene.stops);
        assert_eq!(scene.decide(), NameAction::Widen(reason));
        let mut scene = Scene::wide();
        stop(&mut scene.stops);
        assert_eq!(scene.decide(), NameAction::Keep, "{reason}");
    }
}

#[test]
fn an_only_replica_narrows_a_name_if_the_policy_allows_it() {
    let mut scene = Scene::wide();
    scene.stops.is_operator_alone = true;
    scene.rules = Some(NarrowingRules {
        allows_single_operator: true,
        ..RULES
    });
    assert!(matches!(scene.decide(), NameAction::Narrow(_)));
}

#[test]
fn a_name_is_widened_when_its_hold_is_over_and_rests_as_it_is_told() {
    assert_eq!(
        Scene::narrowed(60).decide(),
        NameAction::Widen(WidenReason::HoldOver)
    );
    let mut scene = Scene::wide();
    scene.rest_until = Some(at(1001));
    assert_eq!(scene.decide(), NameAction::Keep);
    scene.rest_until = Some(at(1000));
    assert!(matches!(scene.decide(), NameAction::Narrow(_)));
}

#[test]
fn a_name_is_widened_when_nothing_explains_it_any_more() {
    let changes: [Change<Scene>; 9] = [
        (|s| s.rules = None, WidenReason::NotSteered),
        (|s| s.readers = None, WidenReason::TopologyNotCurrent),
        (
            |s| s.readers = Some([instance("b")].into()),
            WidenReason::ReceiverGone,
        ),
        (
            |s| s.wanted = Err(WidenReason::TargetMoving),
            WidenReason::TargetMoving,
        ),
        (
            |s| s.wanted.as_mut().unwrap().run = 901,
            WidenReason::Unexplained,
        ),
        (
            |s| s.wanted.as_mut().unwrap().receiver = instance("b"),
            WidenReason::Reached,
        ),
        (
            |s| {
                if let ObservedName::Found { claim, .. } = &mut s.observed {
                    claim.as_mut().unwrap().generation = 0;
                }
            },
            WidenReason::Edited,
        ),
        // A GitOps controller has put the host name back, and left the annotation.
        (
            |s| {
                if let ObservedName::Found { led, .. } = &mut s.observed {
                    *led = Led::Aurora;
                }
            },
            WidenReason::NotLed,
        ),
        (|s| s.claim("mine00", -60), WidenReason::Unexplained),
    ];
    for (change, reason) in changes {
        let mut scene = Scene::narrowed(5);
        change(&mut scene);
        assert_eq!(scene.decide(), NameAction::Widen(reason));
    }
}

#[test]
fn what_the_operator_does_not_recognise_is_left_as_it_is() {
    for observed in [
        ObservedName::Unread,
        ObservedName::Missing,
        ObservedName::WrongType,
        ObservedName::NotAllowed,
        ObservedName::HasSelector { claim: None },
        ObservedName::ForeignSlice { claim: None },
        ObservedName::Found {
            led: Led::Unknown,
            claim: None,
        },
        ObservedName::Found {
            led: Led::Instance(instance("c")),
            claim: None,
        },
    ] {
        let mut scene = Scene::wide();
        scene.observed = observed;
        assert_eq!(scene.decide(), NameAction::Keep, "{:?}", scene.observed);
    }
}

#[test]
fn the_operators_own_slice_is_widened_beside_a_foreign_one() {
    let mut scene = Scene::narrowed(5);
    let claim = find_claim(&scene.observed).cloned();
    scene.observed = ObservedName::ForeignSlice { claim };
    assert_eq!(scene.decide(), NameAction::Widen(WidenReason::NotLed));
}

#[test]
fn another_policys_claim_is_waited_for_until_it_is_overdue() {
    let mut scene = Scene::wide();
    scene.claim("theirs", 299);
    assert_eq!(scene.decide(), NameAction::Keep);
    scene.claim("theirs", 300);
    assert_eq!(
        scene.decide(),
        NameAction::Widen(WidenReason::ForeignOverdue)
    );
    scene.stops.is_observing = true;
    assert_eq!(scene.decide(), NameAction::Keep, "it changes nothing");
}

#[test]
fn a_failed_look_up_widens_at_once() {
    let mut scene = Scene::narrowed(5);
    scene.look(|n| (n > 0).then(|| Led::Instance(instance("c"))));
    assert_eq!(scene.decide(), NameAction::Widen(WidenReason::LookFailed));
    scene.look(|n| (n != 1).then(|| Led::Instance(instance("c"))));
    assert_eq!(scene.decide(), NameAction::Keep, "the newest was answered");
}

#[test]
fn a_name_is_told_once_twelve_look_ups_in_a_row_lead_to_it() {
    let told = |scene: &Scene| is_told(&scene.lend(), find_claim(&scene.observed).unwrap());
    let mut scene = Scene::narrowed(5);
    assert!(told(&scene));
    for other in [None, Some(Led::Aurora), Some(Led::Instance(instance("b")))] {
        scene.look(|n| {
            if n == 11 {
                other.clone()
            } else {
                Some(Led::Instance(instance("c")))
            }
        });
        assert!(!told(&scene), "{other:?}");
    }
    assert!(!told(&Scene::narrowed(1)), "ten were asked since");
    let mut scene = Scene::narrowed(5);
    scene.now = at(1003);
    assert!(!told(&scene), "they are too old");
}

#[test]
fn a_name_that_look_ups_do_not_follow_is_widened_once_all_caches_must_have() {
    let decide = |ago: i64, ttl: Option<u32>| {
        let mut scene = Scene::narrowed(ago);
        scene.greatest_ttl = ttl;
        scene.look(|_| Some(Led::Aurora));
        scene.decide()
    };
    let not_led = NameAction::Widen(WidenReason::NotLed);
    assert_eq!(decide(13, Some(5)), NameAction::Keep);
    assert_eq!(decide(14, Some(5)), not_led);
    assert_eq!(decide(38, Some(30)), NameAction::Keep);
    assert_eq!(decide(39, Some(30)), not_led);
    assert_eq!(
        decide(38, None),
        NameAction::Keep,
        "as for the longest default"
    );
    assert_eq!(decide(39, None), not_led);
}

#[test]
fn a_name_is_not_narrowed_for_less_than_its_caches_keep_it() {
    let mut scene = Scene::wide();
    scene.greatest_ttl = Some(60);
    assert_eq!(
        check_narrowing(&scene.lend()),
        Err(NarrowingRefusal::CacheTooLong)
    );
    assert_eq!(scene.decide(), NameAction::Keep);
    scene.greatest_ttl = Some(51);
    assert!(matches!(scene.decide(), NameAction::Narrow(_)));
}

/// Ends the claim of second 1000 at this second for this reason.
fn ended(memory: NarrowingMemory, reason: WidenReason, second: i64) -> NarrowingMemory {
    let scene = Scene::narrowed(0);
    let claim = find_claim(&scene.observed).unwrap();
    memory.after_widening(claim, reason, &RULES, Some(5), at(second))
}

#[test]
fn a_name_whose_hold_ran_out_rests_for_as_long_again() {
    let memory = ended(NarrowingMemory::default(), WidenReason::HoldOver, 1060);
    assert_eq!(memory.rest_until, Some(at(1120)));
    assert!(!memory.is_given_up(at(1061)));
    let memory = ended(NarrowingMemory::default(), WidenReason::Reached, 1010);
    assert_eq!(memory, NarrowingMemory::default(), "no rest after success");
}

#[test]
fn a_name_that_was_not_followed_twice_in_a_row_is_given_up_for_an_hour() {
    for reason in [WidenReason::NotLed, WidenReason::LookFailed] {
        let first = NarrowingMemory {
            failures: 1,
            rest_until: Some(at(990)),
        };
        let memory = ended(first, reason, 1014);
        assert_eq!(memory.rest_until, Some(at(1014 + 3600)));
        assert!(memory.is_given_up(at(1015)) && !memory.is_given_up(at(1014 + 3600)));
        assert_eq!(ended(first.after_told(), reason, 1014).failures, 1);
    }
}

#[test]
fn the_end_of_a_claim_counts_once_however_often_it_is_tried() {
    let once = ended(NarrowingMemory::default(), WidenReason::NotLed, 1014);
    assert_eq!(once.failures, 1);
    assert!(once.rest_until > Some(at(1014)), "the caches follow first");
    assert_eq!(ended(once, WidenReason::NotLed, 1015), once);
    assert_eq!(ended(once, WidenReason::HoldOver, 1060), once);
}
