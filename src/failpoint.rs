//! Kill points for crash tests: the process dies at the point that the environment names.
//!
//! Only with the feature `failpoints`, which no release image has. It dies as by a crash: nothing is flushed, closed
//! or released.

/// The environment variable that names the point: `claimed` or `acted`.
pub const VARIABLE: &str = "DBBALANCE_FAILPOINT";

/// Arms the point that the environment names, if any.
///
/// # Errors
/// When the point cannot be armed.
pub fn set_up() -> Result<(), String> {
    match std::env::var(VARIABLE) {
        Ok(point) => fail::cfg_callback(point, || std::process::abort()),
        Err(_) => Ok(()),
    }
}
