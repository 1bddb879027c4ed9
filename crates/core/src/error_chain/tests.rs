use super::*;

#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Layer {
    text: &'static str,
    source: Option<Box<Layer>>,
}

/// Builds an error with these messages, the outermost first.
fn layers(texts: &[&'static str]) -> Layer {
    let (text, rest) = texts.split_first().unwrap_or((&"", &[]));
    Layer {
        text,
        source: (!rest.is_empty()).then(|| Box::new(layers(rest))),
    }
}

#[test]
fn an_error_without_a_cause_is_its_own_message() {
    assert_eq!(format_error_chain(&layers(&["no route"])), "no route");
}

#[test]
fn causes_follow_from_the_outermost_to_the_innermost() {
    let error = layers(&["cannot read", "request failed", "connection refused"]);
    assert_eq!(
        format_error_chain(&error),
        "cannot read: request failed: connection refused"
    );
}

#[test]
fn a_cause_that_an_outer_message_repeats_is_not_added() {
    let error = layers(&["cannot read: timed out", "timed out", "after 10 s"]);
    assert_eq!(
        format_error_chain(&error),
        "cannot read: timed out: after 10 s"
    );
}

#[test]
fn an_empty_cause_adds_nothing() {
    assert_eq!(format_error_chain(&layers(&["broken", ""])), "broken");
}
