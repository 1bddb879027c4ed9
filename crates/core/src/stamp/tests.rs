#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn a_stamp_reads_back_as_written() {
    let stamp = Stamp::parse("0a1b2c3d/12-3f9c").unwrap();
    assert_eq!(
        (stamp.epoch, stamp.to_string().as_str()),
        (12, "0a1b2c3d/12-3f9c")
    );
}

#[test]
fn what_is_no_stamp_is_none() {
    for text in [
        "", "12-3f9c", "a/b", "a/x-3f9c", "a/0-3f9c", "/1-3f9c", "a/1-", "a/-1-x",
    ] {
        assert_eq!(Stamp::parse(text), None, "{text}");
    }
}

#[test]
fn a_claim_reads_back_as_written() {
    let text = "0a1b2c3d/12 2 2026-05-04T03:02:01Z";
    assert_eq!(Claim::parse(text).unwrap().to_string(), text);
}

#[test]
fn a_mark_of_moves_reads_back_as_written() {
    let text = "0a1b2c3d/12@1777863721 2 2026-05-04T03:02:01.250Z";
    assert_eq!(MoveCounter::parse(text).unwrap().to_string(), text);
    for text in [
        "",
        "a/1 1",
        "a/1@2",
        "a/1@2 1 now",
        "a/1@2 1 2026-05-04T03:02:01Z x",
    ] {
        assert_eq!(MoveCounter::parse(text), None, "{text}");
    }
}

#[test]
fn a_released_claim_of_the_fallback_keeps_that_the_method_has_failed() {
    let claim = |attempt| Claim::parse(&format!("a/1 {attempt} 2026-05-04T03:02:01Z")).unwrap();
    assert_eq!(claim(1).released(), None);
    assert_eq!(claim(2).released(), None);
    assert_eq!(claim(4).released(), Some(claim(3)));
    assert_eq!(claim(5).released(), Some(claim(3)));
}

#[test]
fn what_is_no_claim_is_none() {
    for text in [
        "",
        "a/1",
        "a/1 1",
        "a/1 0 2026-05-04T03:02:01Z",
        "a/1 1 now",
        "a/1 1 2026-05-04T03:02:01Z x",
    ] {
        assert_eq!(Claim::parse(text), None, "{text}");
    }
}

#[test]
fn a_mark_of_restarts_reads_back_as_written() {
    let text = "0a1b2c3d/12 2026-05-04T03:02:01Z app=0,log-shipper=7";
    let mark = RestartMark::parse(text).unwrap();
    assert_eq!(mark.to_string(), text);
    assert_eq!(mark.restarts["log-shipper"], 7);
    assert!(mark.ready);
    let text = "0a1b2c3d/12 2026-05-04T03:02:01Z app=0 NotReady";
    let mark = RestartMark::parse(text).unwrap();
    assert_eq!((mark.to_string().as_str(), mark.ready), (text, false));
    assert!(!mark.refused);
    for text in [
        "0a1b2c3d/12 2026-05-04T03:02:01Z app=0 Refused",
        "0a1b2c3d/12 2026-05-04T03:02:01Z app=0 NotReady Refused",
    ] {
        let mark = RestartMark::parse(text).unwrap();
        assert_eq!((mark.to_string().as_str(), mark.refused), (text, true));
    }
    for text in [
        "",
        "a/1",
        "a/1 2026-05-04T03:02:01Z",
        "a/1 2026-05-04T03:02:01Z app",
        "a/1 2026-05-04T03:02:01Z app=-1",
        "a/1 2026-05-04T03:02:01Z app=1 x",
        "a/1 2026-05-04T03:02:01Z app=1 Refused NotReady",
        "a/1 now app=1",
    ] {
        assert_eq!(RestartMark::parse(text), None, "{text}");
    }
}
