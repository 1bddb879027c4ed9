#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use tokio::net::TcpStream;
use tokio::sync::watch;

use tokio::time::Instant;

use super::*;
use crate::k8s::lease::{LeaseKeeper, LeaseState};
use kube::client::Body;

fn lease() -> LeaseConfig {
    LeaseConfig {
        namespace: "system".to_owned(),
        name: "dbbalance".to_owned(),
        identity: "a".to_owned(),
        duration: Duration::from_secs(15),
        renew: Duration::from_secs(2),
    }
}

/// The state of a replica that leads or stands by.
fn state(leads: bool) -> (HttpState, Readiness) {
    let (_, claim) = watch::channel(LeaseState {
        holder: leads.then(|| "a".into()),
        valid_until: Instant::now() + Duration::from_hours(1),
    });
    let ready = Readiness::default();
    let state = HttpState::new(
        Arc::new(Metrics::new()),
        Leadership::from_states("a", claim),
        ready.clone(),
        &lease(),
    );
    (state, ready)
}

#[tokio::test]
async fn a_standby_is_ready_when_its_caches_have_synced() {
    let (state, ready) = state(false);
    let asked = || get_readyz(State(state.clone()));
    assert_eq!(asked().await.0, StatusCode::SERVICE_UNAVAILABLE);
    ready.set(true);
    assert_eq!(asked().await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_lease_loop_that_stands_still_is_not_live() {
    let (state, _) = state(true);
    assert_eq!(get_healthz(State(state.clone())).await.0, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(30)).await;
    let hung_api_server = get_healthz(State(state.clone())).await;
    assert_eq!(hung_api_server.0, StatusCode::OK);
    tokio::time::advance(Duration::from_secs(30)).await;
    let (code, said) = get_healthz(State(state)).await;
    assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    assert!(said.contains("60 s"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn an_operator_whose_caches_take_long_is_live_and_not_ready() {
    let (service, _server) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    let client = kube::Client::new(service, "default");
    let (keeper, leadership) = LeaseKeeper::new(client, lease());
    let metrics = Arc::new(Metrics::new());
    let state = HttpState::new(metrics, leadership, Readiness::default(), &lease());
    tokio::time::advance(Duration::from_mins(10)).await;
    let live = || get_healthz(State(state.clone()));
    assert_eq!(live().await.0, StatusCode::OK);
    let ready = get_readyz(State(state.clone())).await.0;
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    // The first round has time too, counted from its start.
    tokio::spawn(keeper.run(CancellationToken::new()));
    tokio::task::yield_now().await;
    assert_eq!(live().await.0, StatusCode::OK);
}

#[tokio::test]
async fn metrics_are_served_and_the_server_ends_when_told() {
    let (state, _) = state(true);
    let listener = bind_listener(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let served = tokio::spawn(serve_http(listener, state, stop.clone()));
    let answer = reqwest::get(format!("http://{address}/metrics"))
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], OPEN_METRICS);
    let page = answer.text().await.unwrap();
    assert!(page.contains("dbbalance_leader 1"));
    assert!(page.ends_with("# EOF\n"));
    stop.cancel();
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_default_address_is_reached_by_ipv4_and_by_ipv6_where_the_kernel_has_it() {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let listener = bind_listener(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let by_v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    assert!(by_v4.is_ok(), "{by_v4:?}");
    if listener.local_addr().unwrap().is_ipv6() {
        let by_v6 = TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await;
        assert!(by_v6.is_ok(), "{by_v6:?}");
    }
}

#[test]
fn without_ipv6_all_ipv4_addresses_are_bound() {
    assert!(is_ipv6_absent(&io::Error::from_raw_os_error(97)));
    assert!(is_ipv6_absent(&io::ErrorKind::AddrNotAvailable.into()));
    assert!(!is_ipv6_absent(&io::ErrorKind::AddrInUse.into()));
    assert!(is_any_ipv6(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8080))));
    assert!(!is_any_ipv6(SocketAddr::from((Ipv6Addr::LOCALHOST, 8080))));
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let first = bind_listener(SocketAddr::from(([127, 0, 0, 1], 0)))
        .await
        .unwrap();
    let error = bind_listener(first.local_addr().unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--listen-address"));
}
