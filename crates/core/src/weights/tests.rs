#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use dbbalance_api::spec::InstanceWeight;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap_or_default()
}

fn spec(shares: SharesBy, weights: &[(&str, i32)]) -> BalanceSpec {
    let weights = weights.iter().map(|(instance, weight)| InstanceWeight {
        instance: (*instance).to_owned(),
        weight: *weight,
    });
    BalanceSpec {
        shares,
        weights: weights.collect(),
        ramp_seconds: 0,
    }
}

/// The weights of readers `a`, `b`, … with these classes.
fn weigh(spec: &BalanceSpec, classes: &[&str]) -> (Vec<u32>, Option<WeightsNote>) {
    let names: Vec<InstanceId> = (b'a'..)
        .take(classes.len())
        .map(|letter| InstanceId(char::from(letter).to_string()))
        .collect();
    let facts = names
        .iter()
        .zip(classes)
        .map(|(instance, class)| ReaderFacts {
            instance,
            class: (!class.is_empty()).then_some(*class),
            came: None,
        });
    let weights = ReaderWeights::compute(spec, &facts.collect::<Vec<_>>(), &[], at(0));
    let found = names.iter().map(|name| weights.weight(name)).collect();
    (found, weights.note)
}

#[test]
fn equal_shares_weigh_one_whatever_the_classes() {
    let spec = spec(SharesBy::Equal, &[]);
    assert_eq!(
        weigh(&spec, &["db.r6g.large", "", "x"]),
        (vec![1, 1, 1], None)
    );
}

#[test]
fn capacity_follows_the_vcpus_of_the_classes() {
    let spec = spec(SharesBy::Capacity, &[]);
    let (weights, note) = weigh(&spec, &["db.r6g.4xlarge", "db.r6g.large", "db.t4g.medium"]);
    assert_eq!((weights, note), (vec![8, 1, 1], None));
    for (class, vcpus) in [
        ("db.r7i.xlarge", Some(4)),
        ("db.r8g.48xlarge", Some(192)),
        ("db.x2g.16xlarge", Some(64)),
        ("db.t3.medium", Some(2)),
        ("db.t3.small", None),
        ("db.t2.large", None),
        ("db.r6g.metal", None),
        ("db.r6g.1xlarge", None),
        ("db.r6g.999xlarge", None),
        ("db.r5.4xlarge.tpc1.mem2x", None),
        ("r6g.large", None),
        ("db.serverless", None),
        ("", None),
    ] {
        assert_eq!(find_vcpus(class), vcpus, "{class}");
    }
}

#[test]
fn a_class_that_is_not_known_makes_shares_equal_and_is_said() {
    let spec = spec(SharesBy::Capacity, &[]);
    let (weights, note) = weigh(&spec, &["db.r6g.4xlarge", "db.r6g.metal"]);
    assert_eq!(weights, [1, 1]);
    let text = note.map(|n| n.to_string()).unwrap_or_default();
    assert!(
        text.starts_with("CapacityUnknown: shares are equal"),
        "{text}"
    );
    assert!(text.contains("b (class db.r6g.metal)"), "{text}");
    assert_eq!(weigh(&spec, &["db.r6g.4xlarge", ""]).0, [1, 1]);
}

#[test]
fn serverless_readers_are_alike_among_themselves_and_unknown_beside_others() {
    let spec = spec(SharesBy::Capacity, &[]);
    let both = weigh(&spec, &["db.serverless", "db.serverless"]);
    assert_eq!(both, (vec![1, 1], None));
    let (weights, note) = weigh(&spec, &["db.r6g.4xlarge", "db.serverless"]);
    assert_eq!(weights, [1, 1]);
    assert_eq!(note.map(|n| n.reason()), Some("CapacityUnknown"));
}

#[test]
fn told_weights_multiply_and_are_reduced() {
    let told = spec(SharesBy::Equal, &[("a", 50), ("nobody", 7)]);
    assert_eq!(weigh(&told, &["", "", ""]).0, [1, 2, 2]);
    let told = spec(SharesBy::Capacity, &[("a", 50)]);
    assert_eq!(weigh(&told, &["db.r6g.4xlarge", "db.r6g.large"]).0, [4, 1]);
    let all = spec(SharesBy::Equal, &[("a", 7), ("b", 7)]);
    assert_eq!(weigh(&all, &["", ""]).0, [1, 1], "equal ones are equal");
    let none = spec(SharesBy::Equal, &[("b", 0)]);
    assert_eq!(weigh(&none, &["", "", ""]).0, [1, 0, 1]);
}

#[test]
fn if_no_reader_is_left_no_weight_counts() {
    let told = spec(SharesBy::Equal, &[("a", 0), ("b", 0)]);
    let (weights, note) = weigh(&told, &["", ""]);
    assert_eq!(
        (weights, note),
        (vec![1, 1], Some(WeightsNote::NoReaderLeft))
    );
    assert_eq!(weigh(&told, &[]), (vec![], None), "without readers");
}

#[test]
fn a_drained_reader_has_no_weight_whatever_is_told() {
    let told = spec(SharesBy::Equal, &[("a", 200)]);
    let names = ["a", "b"].map(|n| InstanceId(n.to_owned()));
    let facts = names.each_ref().map(|instance| ReaderFacts {
        instance,
        class: None,
        came: None,
    });
    let weights = ReaderWeights::compute(&told, &facts, &names[..1], at(0));
    assert_eq!(names.each_ref().map(|n| weights.weight(n)), [0, 1]);
    assert!(!weights.key().is_empty() && !weights.is_equal());
}

#[test]
fn a_reader_comes_to_its_share_in_four_steps() {
    let told = BalanceSpec {
        ramp_seconds: 300,
        ..BalanceSpec::default()
    };
    let names = ["a", "b"].map(|n| InstanceId(n.to_owned()));
    let weights = |seconds: i64| {
        let facts =
            [(&names[0], None), (&names[1], Some(at(0)))].map(|(instance, came)| ReaderFacts {
                instance,
                class: None,
                came,
            });
        let weights = ReaderWeights::compute(&told, &facts, &[], at(seconds));
        let next = [100, 200, 300].into_iter().find(|step| *step > seconds);
        assert_eq!(weights.next_step, next.map(at));
        names.each_ref().map(|n| weights.weight(n))
    };
    assert_eq!(weights(-5), [4, 1]);
    assert_eq!(weights(99), [4, 1]);
    assert_eq!(weights(100), [2, 1]);
    assert_eq!(weights(200), [4, 3]);
    assert_eq!(weights(299), [4, 3]);
    assert_eq!(weights(300), [1, 1]);
}

#[test]
fn the_key_is_empty_for_equal_weights_and_differs_for_others() {
    let key = |weights: &[(&str, i32)]| {
        let spec = spec(SharesBy::Equal, weights);
        let names = ["a", "b"].map(|n| InstanceId(n.to_owned()));
        let facts = names.each_ref().map(|instance| ReaderFacts {
            instance,
            class: None,
            came: None,
        });
        ReaderWeights::compute(&spec, &facts, &[], at(0)).key()
    };
    assert_eq!(key(&[]), "");
    assert_eq!(key(&[("a", 100)]), "");
    assert_eq!(key(&[("a", 50)]), key(&[("b", 200)]));
    assert_ne!(key(&[("a", 50)]), key(&[("b", 50)]));
}

#[test]
fn weights_below_half_of_even_fight_dns_and_the_cost_is_said() {
    let fights = |weights: &[(&str, i32)]| {
        let spec = spec(SharesBy::Equal, weights);
        let names = ["a", "b"].map(|n| InstanceId(n.to_owned()));
        let facts = names.each_ref().map(|instance| ReaderFacts {
            instance,
            class: None,
            came: None,
        });
        ReaderWeights::compute(&spec, &facts, &[], at(0)).describe_fight_with_dns(20)
    };
    assert_eq!(fights(&[]), None);
    assert_eq!(fights(&[("a", 50)]), None, "a third is more than a quarter");
    let text = fights(&[("a", 0)]).unwrap_or_default();
    assert!(text.contains("about 10 of 20 pods"), "{text}");
}
