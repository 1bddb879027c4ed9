use super::*;

#[test]
fn effects_are_not_retried_and_do_not_hang() {
    let config = effects_config(Config::new(http::Uri::from_static("https://10.0.0.1")));
    assert!(!config.default_retry);
    assert_eq!(config.read_timeout, Some(READ_TIMEOUT));
    assert!(config.reset_reader_on_write);
}
