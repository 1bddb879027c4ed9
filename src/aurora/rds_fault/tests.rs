use super::*;

fn reason(status: u16, code: &str) -> &'static str {
    match classify_code("rds:DescribeDBClusters", status, Some(code), Some("text")) {
        RdsFault::Missing(_) => "missing",
        RdsFault::Refused(_) => "refused",
        RdsFault::Source(error) => error.reason(),
    }
}

#[test]
fn codes_are_sorted_by_what_somebody_can_do() {
    let expected = [
        (400, "Throttling", "Throttled"),
        (400, "ThrottlingException", "Throttled"),
        (503, "SlowDown", "Throttled"),
        (429, "", "Throttled"),
        (400, "ExpiredToken", "CredentialsExpired"),
        (403, "ExpiredTokenException", "CredentialsExpired"),
        (403, "InvalidClientTokenId", "NoCredentials"),
        (403, "SignatureDoesNotMatch", "NoCredentials"),
        (403, "AccessDenied", "AccessDenied"),
        (400, "AccessDeniedException", "AccessDenied"),
        (500, "InternalFailure", "ReadFailed"),
        (503, "ServiceUnavailable", "ReadFailed"),
        (400, "RequestTimeout", "ReadFailed"),
        (200, "", "ReadingNotWhole"),
        (404, "DBClusterNotFoundFault", "missing"),
        (404, "DBInstanceNotFound", "missing"),
        (400, "InvalidParameterValue", "refused"),
    ];
    for (status, code, reason_) in expected {
        assert_eq!(reason(status, code), reason_, "{status} {code}");
    }
}

#[test]
fn denied_message_names_the_actions_to_allow() {
    let denied = classify_code("rds:DescribeDBInstances", 403, Some("AccessDenied"), None);
    let RdsFault::Source(error) = denied else {
        unreachable!()
    };
    let text = error.to_string();
    assert!(
        text.contains("AWS denies rds:DescribeDBInstances"),
        "{text}"
    );
    assert!(
        text.contains("Allow rds:DescribeDBClusters and rds:DescribeDBInstances"),
        "{text}"
    );
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let text = shorten_text(&"ä".repeat(400));
    assert!(text.len() <= MAX_DETAIL + '…'.len_utf8() && text.ends_with("ä…"));
    assert_eq!(shorten_text("Rate\n exceeded."), "Rate exceeded");
}
