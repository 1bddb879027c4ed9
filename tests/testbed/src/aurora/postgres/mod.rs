//! Runs real PostgreSQL 15 from Debian, one process tree per instance, each on its own address.
//!
//! An instance listens at two addresses. Names lead to the outer one, which pods reach and partitions cut. The inner
//! one, on loopback, plays the role of what Aurora has below its instances: replication, control and observation use
//! it, and no partition of the outer one affects them.
//!
//! [`Postgres`] implements [`super::databases::Databases`]. It keeps no state but the folders: a process is found by
//! its data folder. All calls must come from inside the testbed's network.

pub mod configuration;
pub mod network;
pub mod session;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::User;

use super::databases::{DatabaseNode, Databases};
use crate::process::{self, ProcessIdentity, Signal};
use crate::{program, wait};

/// Where Debian puts the programs of `postgresql-15`.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Debian's account: PostgreSQL refuses to run as root.
const ACCOUNT: &str = "postgres";
/// The testbed's own superuser, from loopback only.
pub const ADMIN: &str = "testbed";
/// The applications' role, and their database.
pub const APP: &str = "app";
/// A role with the rights of Aurora's `rds_superuser` as far as sessions go: sees and ends those of others.
pub const RDS: &str = "rds";

/// A start takes 0.15 s alone; this is for a machine busy elsewhere.
const LIMIT: Duration = Duration::from_secs(30);
/// For an orderly end, which waits until the standbys have all.
const GRACE: Duration = Duration::from_secs(3);
/// For a former writer to follow where it stopped, before it is copied again.
const FOLLOWING: Duration = Duration::from_secs(3);

/// The databases of a testbed.
#[derive(Debug)]
pub struct Postgres {
    folder: PathBuf,
    user: (u32, u32),
}

impl Postgres {
    /// Below this folder; fails, naming the installing command, if PostgreSQL is not there.
    pub fn below(folder: &Path) -> Result<Self> {
        let missing = || {
            anyhow!(
                "PostgreSQL 15 is missing: install it with: testbed tools (or apt-get install postgresql-15)"
            )
        };
        if !Path::new(PROGRAMS).join("postgres").is_file() {
            return Err(missing());
        }
        let user = User::from_name(ACCOUNT)
            .context("cannot read the accounts")?
            .ok_or_else(missing)?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            user: (user.uid.as_raw(), user.gid.as_raw()),
        })
    }

    fn data(&self, node: &DatabaseNode) -> PathBuf {
        self.folder.join(&node.name).join("data")
    }

    fn log(&self, node: &DatabaseNode) -> PathBuf {
        self.folder.join(&node.name).join("log")
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(Path::new(PROGRAMS).join(name));
        command
            .uid(self.user.0)
            .gid(self.user.1)
            .current_dir("/")
            .env("LC_ALL", "C")
            .env("PGTZ", "UTC");
        command
    }

    /// An empty folder for an instance, of PostgreSQL's account.
    fn prepare(&self, node: &DatabaseNode) -> Result<()> {
        let folder = self.folder.join(&node.name);
        let _ = fs::remove_dir_all(self.data(node));
        fs::create_dir_all(&folder)
            .and_then(|()| chown(&folder, Some(self.user.0), Some(self.user.1)))
            .and_then(|()| fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)))
            .with_context(|| format!("cannot make {}", folder.display()))
    }

    fn write(&self, node: &DatabaseNode, file: &str, text: &str) -> Result<()> {
        let path = self.data(node).join(file);
        fs::write(&path, text)
            .and_then(|()| chown(&path, Some(self.user.0), Some(self.user.1)))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn configure(&self, node: &DatabaseNode, writer: Option<&DatabaseNode>) -> Result<()> {
        self.write(
            node,
            "postgresql.conf",
            &configuration::render_postgresql_conf(node),
        )?;
        self.write(node, "pg_hba.conf", &configuration::render_pg_hba_conf())?;
        if let Some(writer) = writer {
            let follow = configuration::render_standby_conf(&node.name, writer.inner());
            self.write(node, "follow.conf", &follow)?;
            self.write(node, "standby.signal", "")?;
        }
        Ok(())
    }

    /// The postmaster, if it lives.
    fn running(&self, node: &DatabaseNode) -> Option<ProcessIdentity> {
        let text = fs::read_to_string(self.data(node).join("postmaster.pid")).ok()?;
        let process = ProcessIdentity::of(text.lines().next()?.trim().parse().ok()?)?;
        let cwd = fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
        (cwd == self.data(node) && process.is_alive()).then_some(process)
    }

    fn start(&self, node: &DatabaseNode) -> Result<()> {
        network::add_address(node.address)?;
        let log = self.log(node);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot open {}", log.display()))?;
        let mut child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data(node))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start postgres")?;
        wait::poll_until(&format!("start of {}", node.name), LIMIT, || {
            if session::open_session(node.inner(), "postgres").is_ok() {
                return Ok(Some(()));
            }
            if let Some(status) = child.try_wait()? {
                let text = fs::read_to_string(&log).unwrap_or_default();
                bail!(
                    "{} has ended ({status}): {}",
                    node.name,
                    program::last_lines(&text)
                );
            }
            Ok(None)
        })
    }

    /// Can its data go on from where they stopped? Those of a standby, and of a writer that was shut down cleanly;
    /// one that died may have written what no other has.
    fn may_follow(&self, node: &DatabaseNode) -> bool {
        self.data(node).join("standby.signal").exists()
            || program::run_output(self.program("pg_controldata").arg(self.data(node)))
                .is_ok_and(|told| shut_down_in_order(&told))
    }

    fn copy(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()> {
        self.prepare(node)?;
        let mut command = self.program("pg_basebackup");
        command
            .args(["--pgdata"])
            .arg(self.data(node))
            .args(["--host", &writer.inner().to_string()])
            .args(["--username", ADMIN, "--checkpoint=fast"])
            .args(["--wal-method=stream", "--no-sync", "--no-password"]);
        program::run_output(&mut command)?;
        self.configure(node, Some(writer))?;
        self.start(node)
    }

    /// Ends all processes of an instance with KILL, the postmaster first: it would restart the others.
    fn end(&self, node: &DatabaseNode) -> Result<()> {
        if let Some(postmaster) = self.running(node) {
            postmaster.signal(Signal::SIGKILL)?;
        }
        let data = self.data(node);
        wait::poll_uninterrupted(&format!("end of {}", node.name), LIMIT, || {
            let left = process::find_processes_in(&data)?;
            for process in &left {
                process.signal(Signal::SIGKILL)?;
            }
            Ok(left.is_empty().then_some(()))
        })
    }

    /// Shuts down cleanly, so that the standbys receive everything; if that takes too long, immediately.
    fn shut_down(&self, node: &DatabaseNode) -> Result<()> {
        let Some(postmaster) = self.running(node) else {
            return Ok(());
        };
        // SIGINT is a fast shutdown: sessions are ended, nothing is lost.
        postmaster.signal(Signal::SIGINT)?;
        let gone = || Ok((!postmaster.is_alive()).then_some(()));
        if wait::poll_uninterrupted(&format!("end of {}", node.name), GRACE, gone).is_err() {
            self.end(node)?;
        }
        Ok(())
    }
}

/// What `pg_controldata` says of data whose server has ended as it should.
fn shut_down_in_order(told: &str) -> bool {
    told.lines()
        .filter_map(|line| line.strip_prefix("Database cluster state:"))
        .any(|state| state.trim() == "shut down")
}

/// Waits until a standby receives what its writer writes: the same timeline, as one that had more of a dead writer
/// than the new one has may stream the old timeline, but never comes to the new one.
fn await_following(node: &DatabaseNode, writer: &DatabaseNode) -> Result<()> {
    wait::poll_until(&format!("{} following", node.name), FOLLOWING, || {
        // Either may just restart.
        let written = session::current_timeline(writer.inner()).ok();
        let received = session::received_timeline(node.inner()).ok().flatten();
        Ok((written.is_some() && written == received).then_some(()))
    })
}

impl Databases for Postgres {
    fn create_writer(&self, node: &DatabaseNode) -> Result<()> {
        self.prepare(node)?;
        let mut command = self.program("initdb");
        command
            .arg("--pgdata")
            .arg(self.data(node))
            .args(["--username", ADMIN, "--auth=trust", "--no-sync"])
            // Small segments: an instance is 24 MB, not 40.
            .args(["--wal-segsize=1", "--no-locale", "--encoding=UTF8"]);
        program::run_output(&mut command)?;
        self.configure(node, None)?;
        self.start(node)?;
        session::set_up(node.inner())
    }

    fn join(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()> {
        self.copy(node, writer)
    }

    fn stop(&self, node: &DatabaseNode) -> Result<()> {
        self.shut_down(node)
    }

    fn promote(&self, node: &DatabaseNode, restart: bool) -> Result<()> {
        if restart || self.running(node).is_none() {
            self.shut_down(node)?;
            self.start(node)?;
        }
        session::promote_standby(node.inner())
    }

    fn follow(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()> {
        let follow = configuration::render_standby_conf(&node.name, writer.inner());
        self.write(node, "follow.conf", &follow)?;
        let Some(postmaster) = self.running(node) else {
            return Ok(());
        };
        postmaster.signal(Signal::SIGHUP)?;
        if await_following(node, writer).is_err() {
            // It had more of a dead writer than the new one has: Aurora's shared storage knows no such case.
            self.end(node)?;
            self.copy(node, writer)?;
        }
        Ok(())
    }

    fn rejoin(&self, node: &DatabaseNode, writer: &DatabaseNode) -> Result<()> {
        if self.running(node).is_some() {
            self.shut_down(node)?;
        }
        if !self.may_follow(node) {
            self.end(node)?;
            return self.copy(node, writer);
        }
        self.configure(node, Some(writer))?;
        let in_place = self
            .start(node)
            .and_then(|()| await_following(node, writer));
        if in_place.is_err() {
            self.end(node)?;
            self.copy(node, writer)?;
        }
        Ok(())
    }

    fn restart(&self, node: &DatabaseNode) -> Result<()> {
        self.shut_down(node)?;
        self.start(node)
    }

    fn kill(&self, node: &DatabaseNode) -> Result<()> {
        self.end(node)
    }

    fn remove(&self, node: &DatabaseNode) -> Result<()> {
        self.end(node)?;
        network::remove_address(node.address)?;
        let folder = self.folder.join(&node.name);
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", folder.display()))
            }
            _ => Ok(()),
        }
    }

    fn partition(&self, node: &DatabaseNode) -> Result<()> {
        network::drop_packets(node.address)
    }

    fn heal(&self, node: &DatabaseNode) -> Result<()> {
        network::restore_packets(node.address)
    }

    fn is_standby(&self, node: &DatabaseNode) -> Option<bool> {
        self.running(node)?;
        session::in_recovery(node.inner()).ok()
    }
}

impl DatabaseNode {
    /// The address on loopback.
    #[must_use]
    pub fn inner(&self) -> Ipv4Addr {
        let [_, _, third, fourth] = self.address.octets();
        Ipv4Addr::new(127, 1, third, fourth)
    }
}

#[cfg(test)]
mod tests {
    use super::shut_down_in_order;

    #[test]
    fn data_of_a_dead_writer_are_told_from_those_of_a_stopped_one() {
        let told = |state: &str| {
            format!(
                "pg_control version number: 1300\nDatabase cluster state:               {state}\n"
            )
        };
        assert!(shut_down_in_order(&told("shut down")));
        assert!(!shut_down_in_order(&told("in production")));
        assert!(!shut_down_in_order(&told("shut down in recovery")));
    }
}
