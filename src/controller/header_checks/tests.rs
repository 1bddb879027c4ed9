use std::cell::Cell;

use super::*;

fn reference(name: &str) -> HeaderSecretRef {
    HeaderSecretRef {
        name: name.to_owned(),
        key: "token".to_owned(),
        header: "Authorization".to_owned(),
    }
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + minute * 60).unwrap_or_default()
}

#[tokio::test]
async fn a_secret_is_read_once_in_five_minutes_and_its_problem_is_kept() {
    let checks = HeaderChecks::default();
    let reads = Cell::new(0);
    let find = async |name: &str, minute: i64, problem: Option<&str>| {
        let check = || {
            reads.set(reads.get() + 1);
            std::future::ready(problem.map(str::to_owned))
        };
        let reference = reference(name);
        checks
            .find_problem("shop", &reference, at(minute), check)
            .await
    };
    let missing = Some("there is none");
    assert_eq!(find("hook", 0, missing).await.as_deref(), missing);
    assert_eq!(find("hook", 4, None).await.as_deref(), missing);
    assert_eq!(reads.get(), 1);
    assert_eq!(find("other", 4, None).await, None);
    assert_eq!(find("hook", 5, None).await, None, "it was corrected");
    assert_eq!(reads.get(), 3);
    assert_eq!(find("hook", 70, None).await, None);
    assert_eq!(
        checks.0.lock().len(),
        1,
        "what nobody asks for is forgotten"
    );
}

#[tokio::test(start_paused = true)]
async fn a_check_that_is_not_answered_holds_a_pass_for_a_second_and_is_not_repeated_by_the_next() {
    let checks = HeaderChecks::default();
    let reference = reference("hook");
    let began = tokio::time::Instant::now();
    for minute in [0, 1, 4] {
        let problem = checks.find_problem("shop", &reference, at(minute), std::future::pending);
        assert_eq!(problem.await, None);
    }
    assert_eq!(began.elapsed(), CHECK_LIMIT);
}
