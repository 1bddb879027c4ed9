//! Runs other programs: captures output, and reports a failure with the command, its exit and its last lines.
//!
//! The error for a program that is not installed names the command that installs it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Lines of a failed program's output worth showing: the cause is at the end.
const LAST_LINES: usize = 12;

/// The Debian package that has a program, for the hint.
const PACKAGES: &[(&str, &str)] = &[
    ("apt-get", "apt"),
    ("cc", "gcc libc6-dev"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("dpkg-query", "dpkg"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("jar", "default-jdk-headless"),
    ("javac", "default-jdk-headless"),
    ("jlink", "default-jdk-headless"),
    ("ldd", "libc-bin"),
    ("mmdebstrap", "mmdebstrap"),
    ("mvn", "maven"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("python3", "python3 python3-venv"),
    ("runc", "runc"),
    ("setsid", "util-linux"),
    ("unshare", "util-linux"),
];

/// The command that installs `program`.
#[must_use]
pub fn install_command(program: &str) -> String {
    match program {
        // Go and Rust: Debian's are older than the pins; Go fetches its pinned toolchain by itself since 1.21.
        "go" => "apt-get install golang-go (Go 1.21 or newer fetches the pinned 1.26 by itself)"
            .to_owned(),
        "cargo" | "rustc" => "apt-get install rustup && rustup toolchain install 1.95".to_owned(),
        _ => PACKAGES
            .iter()
            .find(|(name, _)| *name == program)
            .map_or_else(
                || "testbed tools".to_owned(),
                |(_, package)| format!("apt-get install {package}"),
            ),
    }
}

/// Where `program` is, looked up as a shell would, with the system folders that a plain user's PATH lacks.
#[must_use]
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Fails, naming the installing command, unless `program` is there.
pub fn require_program(program: &str) -> Result<PathBuf> {
    match find_program(program) {
        Some(path) => Ok(path),
        None => bail!(
            "the program {program} is missing: install it with: {}",
            install_command(program)
        ),
    }
}

/// Runs to the end and gives standard output.
pub fn run_output(command: &mut Command) -> Result<String> {
    let shown = display_command(command);
    let result = match command.stdin(Stdio::null()).output() {
        Ok(result) => result,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let name = Path::new(command.get_program());
            let name = name
                .file_name()
                .unwrap_or(name.as_os_str())
                .to_string_lossy()
                .into_owned();
            bail!(
                "cannot run `{shown}`: {name} is missing: install it with: {}",
                install_command(&name)
            );
        }
        Err(e) => bail!("cannot run `{shown}`: {e}"),
    };
    let stdout = String::from_utf8_lossy(&result.stdout).into_owned();
    if !result.status.success() {
        let stderr = String::from_utf8_lossy(&result.stderr);
        bail!(
            "`{shown}` failed ({}): {}",
            result.status,
            last_lines(&format!("{stdout}{stderr}"))
        );
    }
    Ok(stdout)
}

/// Runs to the end; only success matters.
pub fn run_succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// The end of a longer text.
#[must_use]
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// Formats the command as it would be typed, for messages.
fn display_command(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_program_names_its_installer() {
        let error = run_output(&mut Command::new("/nonexistent/containerd"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("apt-get install containerd"), "{error}");
    }

    #[test]
    fn a_failure_shows_the_last_words() {
        let error = run_output(Command::new("sh").args(["-c", "echo why >&2; exit 3"]))
            .unwrap_err()
            .to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
    }
}
