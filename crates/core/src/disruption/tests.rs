use super::*;

/// Reads a value as YAML does: a number, or a percentage.
fn value(text: &str) -> IntOrString {
    text.parse()
        .map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
}

/// What a budget with this `maxUnavailable` and `minAvailable` refuses by, of so many pods and so many others.
fn refusal(max: Option<&str>, min: Option<&str>, expected: usize, others: usize) -> Option<String> {
    let budget = DisruptionBudget {
        name: "web".into(),
        max_unavailable: max.map(value),
        min_available: min.map(value),
        pods: BTreeSet::new(),
        others,
    };
    budget.find_refusal(expected)
}

#[test]
fn a_budget_without_room_for_one_pod_refuses_by_its_spec() {
    let refused = |max, min, pods| refusal(max, min, pods, 0);
    assert_eq!(
        refused(Some("0"), None, 4).as_deref(),
        Some("maxUnavailable: 0")
    );
    assert!(refused(Some("0%"), None, 4).is_some());
    assert_eq!(
        refused(None, Some("4"), 4).as_deref(),
        Some("minAvailable: 4 of 4 pods")
    );
    assert!(refused(None, Some("9"), 4).is_some());
    assert!(refused(None, Some("100%"), 4).is_some());
    assert!(refused(None, Some("51%"), 1).is_some(), "rounds up");
}

#[test]
fn a_budget_with_room_for_one_pod_does_not_refuse() {
    let refused = |max, min, pods| refusal(max, min, pods, 0);
    assert_eq!(refused(Some("1%"), None, 4), None, "rounds up");
    assert_eq!(refused(Some("1"), None, 1), None);
    assert_eq!(refused(None, Some("3"), 4), None);
    assert_eq!(refused(None, Some("75%"), 4), None);
    assert_eq!(refused(None, None, 4), None);
    assert_eq!(refusal(None, Some("4"), 4, 1), None, "another pod counts");
}
