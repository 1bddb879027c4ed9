//! A PostgreSQL of the test's own in the testbed's network, at two addresses: one server is enough to tell where a
//! connection was made to. It ends with the testbed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use dbbalance_testbed::kubernetes::Testbed;
use dbbalance_testbed::program;
use tempfile::TempDir;

/// Free of the testbed's own servers, and of its Aurora's.
pub const ONE: &str = "198.18.0.201";
/// The other one.
pub const TWO: &str = "198.18.0.202";

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
const NAME: &str = "apps-postgres";

pub struct TestDatabase<'a> {
    testbed: &'a Testbed,
    folder: TempDir,
}

/// A command as the user that Debian's package makes: the server refuses to run as root.
fn as_postgres(tool: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(format!("{PROGRAMS}/{tool}"));
    command
}

impl<'a> TestDatabase<'a> {
    pub fn start(testbed: &'a Testbed) -> Self {
        assert!(
            Path::new(PROGRAMS).join("postgres").is_file(),
            "PostgreSQL 15 is missing: install it with: testbed tools, or apt-get install postgresql-15"
        );
        for address in [ONE, TWO] {
            program::run_output(testbed.command("ip").args([
                "addr",
                "replace",
                &format!("{address}/32"),
                "dev",
                "kb0",
            ]))
            .unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let data = folder.path().join("data");
        program::run_output(as_postgres("initdb").arg("-D").arg(&data).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
        ]))
        .unwrap();
        std::fs::write(
            data.join("pg_hba.conf"),
            "local all all trust\nhost all all all trust\n",
        )
        .unwrap();
        let mut server = as_postgres("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(folder.path());
        for setting in [
            format!("listen_addresses={ONE},{TWO}"),
            "max_connections=500".into(),
            "fsync=off".into(),
        ] {
            server.arg("-c").arg(setting);
        }
        testbed.spawn(NAME, &server).unwrap();
        let database = Self { testbed, folder };
        testbed
            .wait_for(NAME, Duration::from_secs(20), || {
                program::run_succeeds(&mut database.psql("postgres", "SELECT 1"))
            })
            .unwrap();
        database.sql("postgres", "CREATE ROLE app LOGIN");
        database.sql("postgres", "CREATE DATABASE app OWNER app");
        database
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(format!("{PROGRAMS}/psql"));
        command
            .args([
                "-qAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                "postgres",
                "-d",
                database,
            ])
            .arg("-h")
            .arg(self.folder.path())
            .args(["-c", sql]);
        command
    }

    pub fn sql(&self, database: &str, sql: &str) -> String {
        program::run_output(&mut self.psql(database, sql)).unwrap()
    }

    /// What a demoted writer says to a write: the same words and the same code.
    pub fn read_only(&self, is: bool) {
        self.sql(
            "postgres",
            &format!("ALTER SYSTEM SET default_transaction_read_only = {is}"),
        );
        self.sql("postgres", "SELECT pg_reload_conf()");
    }

    /// Drops every packet between a pod and one of the addresses, both ways, without a word to either.
    pub fn half_open(&self, pod_ip: &str, address: &str) {
        for (chain, from, to) in [("INPUT", pod_ip, address), ("OUTPUT", address, pod_ip)] {
            program::run_output(
                self.testbed
                    .command("iptables")
                    .args(["-w", "-I", chain, "-s", from, "-d", to, "-j", "DROP"]),
            )
            .unwrap();
        }
    }
}

impl Drop for TestDatabase<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.testbed.stop(NAME, Duration::from_secs(5)) {
            eprintln!("cannot stop PostgreSQL: {e:#}");
        }
    }
}
