use super::super::testing::id;
use super::*;

#[test]
fn names_read_back_in_the_order_of_places_and_strangers_are_left_out() {
    let places = ["r00", "r01", "r02"].map(id);
    let set = ReaderSet::from_names(&places, ["r02", "gone", "r00", "r02"]);
    assert_eq!(set.to_names(&places), ["r00", "r02"]);
    assert_eq!(set.iter().collect::<Vec<_>>(), [0, 2]);
    assert_eq!((set.len(), set.is_empty()), (2, false));
    assert!(!set.contains(1));
}

#[test]
fn sets_are_joined_and_cut() {
    let (a, b): (ReaderSet, ReaderSet) =
        ([0, 1].into_iter().collect(), [1, 2].into_iter().collect());
    assert_eq!(a.union(b).iter().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(a.intersection(b).iter().collect::<Vec<_>>(), [1]);
    assert!(a.intersection(ReaderSet::default()).is_empty());
}

#[test]
fn a_place_beyond_the_last_is_never_in_a_set() {
    let set: ReaderSet = [31, 32, usize::MAX].into_iter().collect();
    assert_eq!(set.iter().collect::<Vec<_>>(), [31]);
    assert!(!set.contains(32));
}
