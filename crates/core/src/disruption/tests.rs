use super::*;

fn percent(text: &str) -> Option<IntOrString> {
    Some(IntOrString::String(text.into()))
}

fn number(n: i32) -> Option<IntOrString> {
    Some(IntOrString::Int(n))
}

fn refusal(
    max_unavailable: Option<IntOrString>,
    min_available: Option<IntOrString>,
    others: usize,
    expected: usize,
) -> Option<String> {
    let budget = DisruptionBudget {
        name: "web".into(),
        max_unavailable,
        min_available,
        pods: BTreeSet::new(),
        others,
    };
    budget.find_refusal(expected)
}

#[test]
fn a_budget_without_room_for_one_pod_refuses_by_its_spec() {
    assert_eq!(
        refusal(number(0), None, 0, 4).as_deref(),
        Some("maxUnavailable: 0")
    );
    assert!(refusal(percent("0%"), None, 0, 4).is_some());
    assert_eq!(
        refusal(None, number(4), 0, 4).as_deref(),
        Some("minAvailable: 4 of 4 pods")
    );
    assert!(refusal(None, number(9), 0, 4).is_some());
    assert!(refusal(None, percent("100%"), 0, 4).is_some());
    assert!(refusal(None, percent("51%"), 0, 1).is_some(), "rounds up");
}

#[test]
fn a_budget_with_room_for_one_pod_does_not_refuse() {
    assert_eq!(refusal(percent("1%"), None, 0, 4), None, "rounds up");
    assert_eq!(refusal(number(1), None, 0, 1), None);
    assert_eq!(refusal(None, number(3), 0, 4), None);
    assert_eq!(refusal(None, number(4), 1, 4), None, "another pod counts");
    assert_eq!(refusal(None, percent("75%"), 0, 4), None);
    assert_eq!(refusal(None, None, 0, 4), None);
}
