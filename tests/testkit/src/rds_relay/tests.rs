//! The relay in front of a server that always answers with one cluster.

use super::*;

const ANSWER: &str = "<R><DBClusters><M><IsClusterWriter>true</IsClusterWriter></M>\
                      <M><IsClusterWriter>false</IsClusterWriter></M></DBClusters></R>";

/// Starts a server that answers with [`ANSWER`] and the `Host` that it was called by.
fn start_upstream(runtime: &Runtime) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async |headers: HeaderMap| {
        let host = headers.get("host").unwrap().clone();
        ([("x-called-by", host)], ANSWER)
    };
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, Router::new().fallback(answer)).await
    });
    address
}

fn call(runtime: &Runtime, relay: &RdsRelay) -> (StatusCode, HeaderMap, String) {
    runtime.block_on(async {
        let client = build_http_client().build().unwrap();
        let request = client
            .post(relay.endpoint())
            .header("authorization", "Credential=AKID")
            .body("Action=DescribeDBClusters");
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        (status, headers, answer.text().await.unwrap())
    })
}

#[test]
fn answers_pass_are_emptied_or_alternate_and_requests_are_recorded() {
    let runtime = Runtime::new().unwrap();
    let upstream = start_upstream(&runtime);
    let relay = RdsRelay::start("127.0.0.1", &format!("http://{upstream}"));
    let (status, headers, text) = call(&runtime, &relay);
    assert_eq!((status, text.as_str()), (StatusCode::OK, ANSWER));
    assert_eq!(headers["x-called-by"], upstream.to_string());

    relay.set_mode(AnswerMode::Empty);
    assert_eq!(call(&runtime, &relay).2, "<R><DBClusters></DBClusters></R>");

    relay.set_mode(AnswerMode::Alternating);
    let (swapped, plain) = (call(&runtime, &relay).2, call(&runtime, &relay).2);
    assert_eq!((swapped, plain.as_str()), (swap_roles(ANSWER), ANSWER));
    assert_ne!(swap_roles(ANSWER), ANSWER);

    assert_eq!((relay.calls(), relay.swapped_lists()), (4, 2));
    let first = relay.requests().swap_remove(0);
    assert_eq!(first.body, "Action=DescribeDBClusters");
    assert_eq!(first.authorization, "Credential=AKID");
}

#[test]
fn an_upstream_that_does_not_answer_is_a_bad_gateway() {
    let runtime = Runtime::new().unwrap();
    // Bound and never listened on again: connections are refused.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let relay = RdsRelay::start("127.0.0.1", &format!("http://{address}"));
    assert_eq!(call(&runtime, &relay).0, StatusCode::BAD_GATEWAY);
}
