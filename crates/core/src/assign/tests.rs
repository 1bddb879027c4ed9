#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn reader(place: usize, weight: u32) -> WeightedReader {
    WeightedReader {
        instance: InstanceId(format!("r{place}")),
        weight,
    }
}

fn pod(number: usize, home: Option<usize>, size: u32) -> AssignablePod {
    AssignablePod {
        id: format!("p{number}"),
        held: home
            .map(|place| (InstanceId(format!("r{place}")), size))
            .into_iter()
            .collect(),
        told: None,
        size,
        movable: true,
        ready: true,
        recycles: 0,
        created: None,
    }
}

/// Pods of ten connections, so many on each reader.
fn fleet(counts: &[usize]) -> Vec<AssignablePod> {
    let homes = counts
        .iter()
        .enumerate()
        .flat_map(|(place, count)| std::iter::repeat_n(place, *count));
    let pods = homes.enumerate();
    pods.map(|(number, home)| pod(number, Some(home), 10))
        .collect()
}

fn equal(readers: usize) -> Vec<WeightedReader> {
    (0..readers).map(|place| reader(place, 100)).collect()
}

fn assign(pods: &[AssignablePod], readers: &[WeightedReader]) -> Vec<PodAssignment> {
    assign_pods(pods, readers, 15, 50)
}

/// The connections of each reader once all moves are made.
fn sums_after(
    pods: &[AssignablePod],
    readers: &[WeightedReader],
    moves: &[PodAssignment],
) -> BTreeMap<InstanceId, u32> {
    let mut sums: BTreeMap<_, _> = readers.iter().map(|r| (r.instance.clone(), 0)).collect();
    for pod in pods {
        let to = moves.iter().find(|m| m.pod == pod.id).map(|m| m.to.clone());
        let most = pod.held.iter().max_by_key(|(_, n)| **n);
        if let Some(home) = to.or_else(|| most.map(|(id, _)| id.clone())) {
            *sums.entry(home).or_default() += pod.size;
        }
    }
    sums
}

#[test]
fn a_reader_that_joins_gets_its_share_by_the_fewest_moves() {
    let pods = fleet(&[10, 10, 0]);
    let moves = assign(&pods, &equal(3));
    assert_eq!(moves.len(), 6);
    assert!(moves.iter().all(|m| m.to.0 == "r2"));
    let sums: Vec<u32> = sums_after(&pods, &equal(3), &moves).into_values().collect();
    assert_eq!(sums, [70, 70, 60]);
}

#[test]
fn several_readers_that_join_are_filled_in_one_go() {
    let pods = fleet(&[10, 10, 0, 0]);
    let moves = assign(&pods, &equal(4));
    assert_eq!(moves.len(), 10);
    let sums: Vec<u32> = sums_after(&pods, &equal(4), &moves).into_values().collect();
    assert_eq!(sums, [50; 4]);
}

#[test]
fn a_reader_without_weight_is_emptied_and_never_told() {
    let readers = [reader(0, 100), reader(1, 0), reader(2, 100)];
    let pods = fleet(&[2, 4, 2]);
    let moves = assign(&pods, &readers);
    assert_eq!(moves.len(), 4);
    assert_eq!(
        sums_after(&pods, &readers, &moves)[&InstanceId("r1".into())],
        0
    );
}

#[test]
fn nobody_moves_where_no_reader_has_a_weight() {
    assert_eq!(assign(&fleet(&[3]), &[reader(0, 0)]), []);
    assert_eq!(assign(&fleet(&[3]), &[]), []);
}

#[test]
fn pods_that_may_not_move_stay() {
    let mut pods = fleet(&[6, 0]);
    for pod in &mut pods[..4] {
        pod.movable = false;
    }
    let moves = assign(&pods, &equal(2));
    let ids: Vec<&str> = moves.iter().map(|m| m.pod.as_str()).collect();
    assert_eq!(ids, ["p4", "p5"]);
}

#[test]
fn the_pods_that_serve_nobody_and_were_disturbed_least_move_first() {
    let mut pods = fleet(&[4, 0]);
    pods[0].recycles = 3;
    pods[1].recycles = 1;
    pods[3].ready = false;
    let moves = assign(&pods, &equal(2));
    let ids: Vec<&str> = moves.iter().map(|m| m.pod.as_str()).collect();
    assert_eq!(ids, ["p3", "p2"]);
}

#[test]
fn a_pod_without_connections_is_told_the_reader_that_lacks_most() {
    let mut pods = fleet(&[2, 1]);
    pods.push(pod(3, None, 10));
    let moves = assign(&pods, &equal(2));
    assert_eq!(
        moves,
        [PodAssignment {
            pod: "p3".to_owned(),
            to: InstanceId("r1".to_owned())
        }]
    );
}

#[test]
fn a_pod_whose_connections_are_split_counts_for_the_reader_that_it_was_told() {
    let mut split = pod(0, None, 10);
    split.held = BTreeMap::from([(InstanceId("r0".into()), 5), (InstanceId("r1".into()), 5)]);
    split.told = Some(InstanceId("r1".into()));
    let pods = [split, pod(1, Some(0), 10)];
    assert_eq!(assign(&pods, &equal(2)), []);
}

#[test]
fn pods_of_several_sizes_end_inside_the_tolerance() {
    let sizes = [20, 10, 10, 5, 5, 5, 5];
    let pods: Vec<_> = (0..7)
        .map(|number| pod(number, Some(0), sizes[number]))
        .collect();
    let moves = assign(&pods, &equal(2));
    let sums: Vec<u32> = sums_after(&pods, &equal(2), &moves).into_values().collect();
    assert!(sums.iter().all(|n| (15..=34).contains(n)), "{sums:?}");
    assert!(moves.len() <= 2, "{moves:?}");
}

/// All ways to put so many pods on so many readers.
fn distributions(pods: usize, readers: usize) -> Vec<Vec<usize>> {
    if readers == 1 {
        return vec![vec![pods]];
    }
    (0..=pods)
        .flat_map(|first| {
            let rest = distributions(pods - first, readers - 1);
            rest.into_iter().map(move |mut tail| {
                tail.insert(0, first);
                tail
            })
        })
        .collect()
}

/// The least moves to any distribution within one pod of the exact shares, by trying all.
fn least_by_trying_all(counts: &[usize], weights: &[usize]) -> usize {
    let (pods, sum): (usize, usize) = (counts.iter().sum(), weights.iter().sum());
    let is_near = |ends: &[usize]| {
        ends.iter().zip(weights).all(|(end, weight)| {
            (pods * weight / sum..=(pods * weight).div_ceil(sum)).contains(end)
        })
    };
    let moves = |ends: &Vec<usize>| -> usize {
        let gone = counts.iter().zip(ends).map(|(c, e)| c.saturating_sub(*e));
        gone.sum()
    };
    distributions(pods, counts.len())
        .iter()
        .filter(|ends| is_near(ends))
        .map(moves)
        .min()
        .unwrap()
}

#[test]
fn no_other_way_needs_fewer_moves_in_any_small_fleet() {
    let (mut fleets, mut moved) = (0, 0);
    for readers in 1..=4 {
        let all_weights = (0..4_usize.pow(u32::try_from(readers).unwrap())).map(|code| {
            let digit = |place| [0, 1, 2, 4][code / 4_usize.pow(place) % 4];
            (0..u32::try_from(readers).unwrap())
                .map(digit)
                .collect::<Vec<usize>>()
        });
        for weights in all_weights.filter(|w| w.iter().sum::<usize>() > 0) {
            let members: Vec<_> = weights
                .iter()
                .enumerate()
                .map(|(place, weight)| reader(place, u32::try_from(*weight).unwrap()))
                .collect();
            for pods in 0..=8 {
                for counts in distributions(pods, readers) {
                    let found = assign(&fleet(&counts), &members);
                    let least = least_by_trying_all(&counts, &weights);
                    assert_eq!(found.len(), least, "{counts:?} by {weights:?}");
                    fleets += 1;
                    moved += found.len();
                }
            }
        }
    }
    println!("{fleets} fleets, {moved} moves, each the least");
}

proptest! {
    #[test]
    fn an_assignment_is_within_the_shares_and_repeating_it_moves_nobody(
        homes in prop::collection::vec(0_usize..5, 0..40),
        weights in prop::collection::vec(0_u32..=1000, 5),
        sizes in prop::collection::vec(1_u32..40, 40),
        is_one_size in any::<bool>(),
    ) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let readers: Vec<_> = weights.iter().enumerate().map(|(i, w)| reader(i, *w)).collect();
        let size = |number: usize| if is_one_size { 10 } else { sizes[number] };
        let mut pods: Vec<_> = homes
            .iter()
            .enumerate()
            .map(|(number, home)| pod(number, Some(*home), size(number)))
            .collect();
        let moves = assign(&pods, &readers);
        let mut ids: Vec<_> = moves.iter().map(|m| &m.pod).collect();
        ids.sort();
        ids.dedup();
        prop_assert_eq!(ids.len(), moves.len(), "a pod moves once");
        for assignment in &moves {
            let to = readers.iter().find(|r| r.instance == assignment.to).unwrap();
            prop_assert!(to.weight > 0, "a reader without weight receives nothing");
            let pod = pods.iter_mut().find(|p| p.id == assignment.pod).unwrap();
            pod.held = BTreeMap::from([(assignment.to.clone(), pod.size)]);
        }
        if is_one_size {
            let sum: u64 = weights.iter().map(|w| u64::from(*w)).sum();
            for reader in &readers {
                let has = pods.iter().filter(|p| p.held.contains_key(&reader.instance)).count() as u64;
                let exact = homes.len() as u64 * u64::from(reader.weight);
                prop_assert!(has >= exact / sum && has <= exact.div_ceil(sum));
            }
            prop_assert_eq!(assign(&pods, &readers), [], "what is even stays");
        }
    }
}
