//! The rules of the address, and real requests to a local server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::testing::{client_answering, failure_body, pod_ref, silent_client};
use super::*;
use dbbalance_api::spec::HeaderSecretRef;

fn spec(port: i32) -> HttpSpec {
    HttpSpec {
        port,
        path: "/recycle?soft=1".to_owned(),
        verb: HttpVerb::Post,
        timeout_seconds: 2,
        tls: None,
        header_secret_ref: None,
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
    let caller = PodCaller::new(silent_client()).unwrap();
    caller
        .send(&pod_ref(), to, &spec(i32::from(to.port())), None)
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
    let caller = PodCaller::new(silent_client()).unwrap();
    let EffectOutcome::Failed { fault, message } = caller.send(&pod_ref(), to, &hasty, None).await
    else {
        panic!("not a failure");
    };
    assert_eq!(fault, EffectFault::Timeout);
    assert!(!message.contains("soft=1"), "{message}");
}

fn failure(outcome: EffectOutcome) -> (EffectFault, String) {
    match outcome {
        EffectOutcome::Failed { fault, message } => (fault, message),
        other => panic!("not a failure: {other:?}"),
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_without_an_answer_names_a_mesh_and_its_settings() {
    let (to, _got) = server("").await;
    let (fault, message) = failure(sent(to).await);
    assert_eq!(fault, EffectFault::Connection);
    assert!(
        message.contains("service mesh that requires mTLS"),
        "{message}"
    );
    assert!(message.contains("portLevelMtls"), "{message}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    drop(listener);
    let (_, message) = failure(sent(to).await);
    assert!(!message.contains("mesh"), "nothing listens: {message}");
}

const AUTHORITY: &[u8] = include_bytes!("testdata/ca.pem");

/// Serves HTTPS with a certificate for `pay.shop.svc`, and returns the first request that it got.
async fn tls_server() -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let chain = CertificateDer::from_pem_slice(include_bytes!("testdata/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server-key.pem")).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let got = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else {
            return "no handshake".to_owned();
        };
        let mut seen = vec![0; 4096];
        let n = stream.read(&mut seen).await.unwrap();
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream.flush().await.unwrap();
        String::from_utf8_lossy(&seen[..n]).into_owned()
    });
    (to, got)
}

fn verified(name: &str) -> HttpTlsSpec {
    HttpTlsSpec {
        server_name: Some(name.to_owned()),
        ca_bundle: Some(ByteString(AUTHORITY.to_vec())),
        insecure_skip_verify: None,
    }
}

async fn sent_by_tls(tls: HttpTlsSpec) -> (EffectOutcome, String) {
    let (to, got) = tls_server().await;
    let spec = HttpSpec {
        tls: Some(tls),
        ..spec(i32::from(to.port()))
    };
    let caller = PodCaller::new(silent_client()).unwrap();
    let outcome = caller.send(&pod_ref(), to, &spec, None).await;
    (outcome, got.await.unwrap())
}

#[tokio::test]
async fn a_hook_by_https_is_called_at_the_pod_s_address_and_its_certificate_verified() {
    let (outcome, got) = sent_by_tls(verified("pay.shop.svc")).await;
    assert_eq!(outcome, EffectOutcome::Done);
    assert!(got.to_lowercase().contains("host: pay.shop.svc"), "{got}");
}

#[tokio::test]
async fn a_certificate_that_is_not_the_named_one_s_is_refused() {
    let untrusted = HttpTlsSpec {
        ca_bundle: Some(ByteString(include_bytes!("testdata/server.pem").to_vec())),
        ..verified("pay.shop.svc")
    };
    for tls in [verified("other.shop.svc"), untrusted] {
        let (outcome, got) = sent_by_tls(tls).await;
        let (fault, message) = failure(outcome);
        assert_eq!(fault, EffectFault::Connection);
        assert!(message.contains("recycle.http.tls.serverName"), "{message}");
        assert_eq!(got, "no handshake");
    }
}

#[tokio::test]
async fn any_certificate_is_taken_where_that_is_asked_for() {
    let blind = HttpTlsSpec {
        server_name: None,
        ca_bundle: None,
        insecure_skip_verify: Some(true),
    };
    assert_eq!(sent_by_tls(blind).await.0, EffectOutcome::Done);
}

#[tokio::test]
async fn a_server_name_that_is_an_address_is_never_called() {
    for name in ["169.254.169.254", "127.1", "0x7f000001", "2130706433"] {
        let spec = HttpSpec {
            tls: Some(verified(name)),
            ..spec(8443)
        };
        let to = "10.1.2.3:8443".parse().unwrap();
        assert_eq!(build_url(to, &spec), None, "{name}");
    }
    let broken = HttpTlsSpec {
        ca_bundle: Some(ByteString(b"no PEM".to_vec())),
        ..verified("pay.shop.svc")
    };
    let error = build_tls_client(&broken, "10.1.2.3:8443".parse().unwrap());
    assert!(error.unwrap_err().contains("caBundle"));
}

fn secret(value: &str) -> Value {
    let encoded = serde_json::to_value(ByteString(value.as_bytes().to_vec())).unwrap();
    json!({"metadata": {"name": "hook"}, "data": {"token": encoded}})
}

async fn read_secret(code: u16, body: Value) -> Result<(HeaderName, HeaderValue), EffectOutcome> {
    let (client, _seen) = client_answering(code, body);
    let reference = HeaderSecretRef {
        name: "hook".to_owned(),
        key: "token".to_owned(),
        header: "Authorization".to_owned(),
    };
    read_header(&client, "shop", &reference).await
}

#[tokio::test]
async fn the_header_s_value_is_read_from_the_secret_and_printed_nowhere() {
    let (name, value) = read_secret(200, secret("Bearer s3cret\n")).await.unwrap();
    assert_eq!(
        (name.as_str(), value.as_bytes()),
        ("authorization", &b"Bearer s3cret"[..])
    );
    assert_eq!(format!("{value:?}"), "Sensitive");
    let (to, got) = server("HTTP/1.1 204 No Content\r\n\r\n").await;
    let caller = PodCaller::new(silent_client()).unwrap();
    let spec = spec(i32::from(to.port()));
    let outcome = caller
        .send(&pod_ref(), to, &spec, Some((name, value)))
        .await;
    assert_eq!(outcome, EffectOutcome::Done);
    assert!(
        got.await
            .unwrap()
            .contains("authorization: Bearer s3cret\r\n")
    );
}

#[tokio::test]
async fn a_secret_that_cannot_be_the_header_is_a_fault_without_its_value() {
    let forbidden = failure_body(403, "Forbidden", "secrets \"hook\" is forbidden");
    let missing = failure_body(404, "NotFound", "secrets \"hook\" not found");
    let keyless = json!({"metadata": {"name": "hook"}, "data": {}});
    for (code, body, wanted, words) in [
        (403, forbidden, EffectFault::Forbidden, "http.headerSecrets"),
        (
            404,
            missing,
            EffectFault::NoSuchSecret,
            "there is none of this name",
        ),
        (
            200,
            keyless,
            EffectFault::NoSuchSecret,
            "it has no key token",
        ),
        (
            200,
            secret("s3cret\nX: y"),
            EffectFault::NoSuchSecret,
            "cannot be the header",
        ),
    ] {
        let (fault, message) = failure(read_secret(code, body).await.unwrap_err());
        assert_eq!(fault, wanted);
        assert!(fault.is_structural());
        assert!(message.contains(words), "{message}");
        assert!(message.contains("shop/hook") && !message.contains("s3cret"));
    }
}
