//! A client for plain HTTP to pods and servers of the tests.

/// Starts to build a client that goes straight to its host, for tests that call pods or servers by plain HTTP.
///
/// reqwest wants the TLS provider of the process to be set, whether it speaks TLS or not.
pub fn build_http_client() -> reqwest::ClientBuilder {
    // One that is there already stays.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy()
}
