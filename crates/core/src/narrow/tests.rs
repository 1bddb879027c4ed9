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
