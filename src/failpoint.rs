//! Kill points for crash tests: the process aborts at the point that an environment variable names.
//!
//! Only with the feature `failpoints`, which no release image has. Nothing is flushed, closed or released, as in a crash.

/// The environment variable that names the point: `claimed` or `acted`.
pub const VARIABLE: &str = "DBBALANCE_FAILPOINT";

/// Enables the kill point that the environment names, if any.
///
/// # Errors
/// When the point cannot be enabled.
pub fn set_up() -> Result<(), String> {
    match std::env::var(VARIABLE) {
        Ok(point) => fail::cfg_callback(point, || std::process::abort()),
        Err(_) => Ok(()),
    }
}
