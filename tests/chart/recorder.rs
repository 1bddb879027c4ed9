//! Stands between the operator and the RDS API, and keeps what it was asked.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use dbbalance_testbed::rds::MOTO_PORT;

const PORT: u16 = 5080;

/// One call of the operator.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its form.
    pub body: String,
    /// The header that names key and region.
    pub authorization: String,
}

#[derive(Clone)]
pub struct Recorder {
    address: String,
    upstream: String,
    client: reqwest::Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Recorder {
    /// Serves on the testbed's own address, until the program ends.
    pub async fn start(host: &str) -> Self {
        let recorder = Self {
            address: format!("{host}:{PORT}"),
            upstream: format!("http://{host}:{MOTO_PORT}/"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            asked: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind(&recorder.address)
            .await
            .unwrap();
        let router = Router::new().fallback(pass_on).with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        recorder
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn pass_on(State(recorder): State<Recorder>, headers: HeaderMap, body: Bytes) -> Response {
    let text = |name: &str| {
        let value = headers.get(name).and_then(|v| v.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    recorder.asked.lock().unwrap().push(Asked {
        body: String::from_utf8_lossy(&body).into_owned(),
        authorization: text("authorization"),
    });
    let mut request = recorder.client.post(&recorder.upstream).body(body.to_vec());
    for name in ["authorization", "content-type", "x-amz-date"] {
        request = request.header(name, text(name));
    }
    match request.send().await {
        Ok(answer) => {
            let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
            (status, answer.bytes().await.unwrap_or_default()).into_response()
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
