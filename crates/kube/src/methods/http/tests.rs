//! The rules of the address, and real requests to a local server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::testing::pod_ref;
use super::*;

fn spec(port: i32) -> HttpSpec {
    HttpSpec {
        port,
        path: "/recycle?soft=1".to_owned(),
        verb: HttpVerb::Post,
        timeout_seconds: 2,
    }
}

fn pod(spec: &Value, ip: Option<&str>) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "shop", "name": "web-1", "uid": "u-1"},
        "spec": spec,
        "status": {"podIP": ip}
    }))
    .unwrap()
}

fn declaring(port: i32) -> Value {
    json!({"containers": [{"name": "app", "ports": [{"containerPort": port}]}]})
}

fn fault(pod: &Pod, port: i32) -> EffectFault {
    find_address(pod, &spec(port)).unwrap_err().0
}

#[test]
fn the_address_is_the_pod_s_own_and_the_port_is_declared() {
    let to = find_address(&pod(&declaring(8080), Some("10.1.2.3")), &spec(8080)).unwrap();
    assert_eq!(to.to_string(), "10.1.2.3:8080");
    let six = find_address(&pod(&declaring(8080), Some("2001:db8::7")), &spec(8080)).unwrap();
    assert_eq!(six.to_string(), "[2001:db8::7]:8080");
}

#[test]
fn a_port_that_no_container_declares_is_refused() {
    let udp = json!({"containers": [
        {"name": "app", "ports": [{"containerPort": 53, "protocol": "UDP"}]}
    ]});
    assert_eq!(
        fault(&pod(&declaring(8080), Some("10.1.2.3")), 9090),
        EffectFault::PortNotDeclared
    );
    assert_eq!(
        fault(&pod(&udp, Some("10.1.2.3")), 53),
        EffectFault::PortNotDeclared
    );
}

#[test]
fn a_pod_on_its_node_s_network_is_refused() {
    let mut host = declaring(8080);
    host["hostNetwork"] = json!(true);
    assert_eq!(
        fault(&pod(&host, Some("10.1.2.3")), 8080),
        EffectFault::HostNetwork
    );
}

#[test]
fn addresses_that_no_pod_has_are_refused() {
    for ip in [
        "127.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "::1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "evil.example",
    ] {
        assert_eq!(
            fault(&pod(&declaring(80), Some(ip)), 80),
            EffectFault::NoAddress,
            "{ip}"
        );
    }
    assert_eq!(
        fault(&pod(&declaring(80), None), 80),
        EffectFault::NoAddress
    );
}

/// Answers one request with these bytes and returns what it got.
async fn server(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let got = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = vec![0; 4096];
        let n = stream.read(&mut seen).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&seen[..n]).into_owned()
    });
    (to, got)
}

async fn sent(to: SocketAddr) -> EffectOutcome {
    let caller = PodCaller::new().unwrap();
    caller
        .send(&pod_ref(), to, &spec(i32::from(to.port())))
        .await
}

#[tokio::test]
async fn a_2xx_is_done_and_the_request_is_as_specified() {
    let (to, got) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(sent(to).await, EffectOutcome::Done);
    let got = got.await.unwrap();
    assert!(
        got.starts_with("POST /recycle?soft=1 HTTP/1.1\r\n"),
        "{got}"
    );
    assert!(got.to_lowercase().contains("content-length: 0"), "{got}");
}

#[tokio::test]
async fn other_statuses_fail_and_redirects_are_not_followed() {
    for (answer, said) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "503",
        ),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            "redirects are not followed",
        ),
    ] {
        let (to, _got) = server(answer).await;
        let EffectOutcome::Failed { fault, message } = sent(to).await else {
            panic!("not a failure");
        };
        assert_eq!(fault, EffectFault::HttpStatus);
        assert!(message.contains(said), "{message}");
        assert!(!message.contains("soft=1"), "{message}");
    }
}

#[tokio::test]
async fn a_closed_port_is_a_connection_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    let EffectOutcome::Failed { fault, message } = sent(to).await else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Connection);
    assert!(message.contains("/recycle?…"), "{message}");
    assert!(!message.contains("soft=1"), "{message}");
}

#[tokio::test]
async fn a_silent_app_ends_in_a_time_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let mut hasty = spec(i32::from(to.port()));
    hasty.timeout_seconds = 1;
    let caller = PodCaller::new().unwrap();
    let EffectOutcome::Failed { fault, message } = caller.send(&pod_ref(), to, &hasty).await else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Timeout);
    assert!(!message.contains("soft=1"), "{message}");
}
