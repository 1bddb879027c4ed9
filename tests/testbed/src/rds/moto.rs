//! moto alone on loopback, for contract tests: started on a free port, stopped when it is dropped.
//!
//! A killed test does not drop it: so the child also reads its standard input, which ends with the parent in any case,
//! and exits with it.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::client::RdsClient;
use super::{LIMIT, REGION};
use crate::cache::ToolCache;
use crate::tools::python;
use crate::{program, wait};

/// Another process may take the free port before the child does.
const ATTEMPTS: usize = 3;

/// Runs a module's `main` with the other arguments, and ends when standard input does.
const WRAPPER: &str = "
import os, runpy, sys, threading
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)
";

/// A Python server on loopback.
#[derive(Debug)]
pub(super) struct RdsServerProcess {
    child: Child,
    pub(super) endpoint: String,
}

impl RdsServerProcess {
    /// Starts `module` with the arguments that `arguments` gives for a port, and waits until `ready`.
    pub(super) fn start(
        module: &str,
        arguments: impl Fn(u16) -> Vec<String>,
        ready: impl Fn(&str) -> bool,
    ) -> Result<Self> {
        let python = python::python_interpreter(&ToolCache::locate()?)?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let child = Command::new(&python)
                .args(["-c", WRAPPER, module])
                .args(arguments(port))
                .env("NO_PROXY", "*")
                .env("no_proxy", "*")
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot start {module} with {}", python.display()))?;
            let mut server = Self {
                child,
                endpoint: format!("http://127.0.0.1:{port}"),
            };
            match server.wait(module, &ready) {
                Ok(()) => return Ok(server),
                Err(e) => last = Some(e),
            }
        }
        match last {
            Some(e) => Err(e),
            None => bail!("{module} was not started"),
        }
    }

    fn wait(&mut self, module: &str, ready: impl Fn(&str) -> bool) -> Result<()> {
        wait::poll_until(module, LIMIT, || {
            if ready(&self.endpoint) {
                return Ok(Some(()));
            }
            if let Some(status) = self.child.try_wait().context("cannot look at a child")? {
                let mut said = String::new();
                if let Some(mut stderr) = self.child.stderr.take() {
                    let _ = stderr.read_to_string(&mut said);
                }
                bail!(
                    "{module} has ended ({status}): {}",
                    program::last_lines(&said)
                );
            }
            Ok(None)
        })?;
        // Its log is not looked at any more, but a full pipe would stop it: read and thrown away.
        if let Some(mut stderr) = self.child.stderr.take() {
            std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        }
        Ok(())
    }
}

impl Drop for RdsServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
    Ok(listener
        .local_addr()
        .context("no free port on loopback")?
        .port())
}

/// A running moto.
#[derive(Debug)]
pub struct Moto(RdsServerProcess);

impl Moto {
    /// Starts one with empty accounts, and waits until its RDS API answers.
    pub fn start() -> Result<Self> {
        let server = RdsServerProcess::start(
            "moto.server",
            |port| {
                vec![
                    "--host".into(),
                    "127.0.0.1".into(),
                    "--port".into(),
                    port.to_string(),
                ]
            },
            |endpoint| {
                answers_quickly(endpoint)
                    && RdsClient::new(endpoint, REGION).describe_clusters().is_ok()
            },
        )?;
        Ok(Self(server))
    }

    /// Its address, such as `http://127.0.0.1:41234`.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.0.endpoint
    }

    /// A client in the default region.
    #[must_use]
    pub fn client(&self) -> RdsClient {
        RdsClient::new(self.endpoint(), REGION)
    }
}

/// Does anything listen there? Spares a whole HTTP client while nothing does.
pub(super) fn answers_quickly(endpoint: &str) -> bool {
    endpoint
        .trim_start_matches("http://")
        .parse()
        .is_ok_and(|address| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
        })
}
