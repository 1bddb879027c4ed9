//! The testbed's own sessions with its databases: short, over the inner address, never among those that are counted.
//!
//! For set-up and queries; never for the load of an application.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use postgres::{Client, Config, NoTls};

use super::{ADMIN, APP, RDS};
use crate::aurora::address::PORT;

/// `application_name` of these sessions.
const NAME: &str = "dbbalance-testbed";
/// On the machine itself: an answer takes milliseconds, or does not come.
const LIMIT: Duration = Duration::from_secs(3);

/// What an application finds: a table to write to and read from, and its own role.
fn load_schema() -> String {
    format!(
        "CREATE ROLE {APP} LOGIN;
         CREATE ROLE {RDS} LOGIN CREATEDB CREATEROLE;
         GRANT pg_monitor, pg_signal_backend, pg_read_all_data TO {RDS} WITH ADMIN OPTION;
         ALTER SCHEMA public OWNER TO {APP};
         SET ROLE {APP};
         CREATE TABLE load (
             id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
             at timestamptz NOT NULL DEFAULT now(),
             pod text NOT NULL DEFAULT '',
             note text NOT NULL DEFAULT ''
         );
         INSERT INTO load (pod, note) SELECT 'seed', 'row ' || n FROM generate_series(1, 1000) n;"
    )
}

/// Opens a session as the testbed's own role.
pub fn open_session(inner: Ipv4Addr, database: &str) -> Result<Client> {
    Config::new()
        .host(&inner.to_string())
        .port(PORT)
        .user(ADMIN)
        .dbname(database)
        .application_name(NAME)
        .connect_timeout(LIMIT)
        .connect(NoTls)
        .with_context(|| format!("cannot open a session with the database at {inner}"))
}

/// Makes database, roles and the table for load.
pub fn set_up(inner: Ipv4Addr) -> Result<()> {
    open_session(inner, "postgres")?
        .batch_execute(&format!("CREATE DATABASE {APP}"))
        .context("cannot make the application's database")?;
    open_session(inner, APP)?
        .batch_execute(&load_schema())
        .context("cannot set the application's database up")
}

/// Promotes a standby, and waits until it is one no more.
pub fn promote_standby(inner: Ipv4Addr) -> Result<()> {
    let promoted: bool = open_session(inner, "postgres")?
        .query_one("SELECT pg_promote(true, 10)", &[])
        .context("the standby refused to be promoted")?
        .get(0);
    anyhow::ensure!(promoted, "the standby was not promoted within 10 s");
    Ok(())
}

/// Is it a standby?
pub fn in_recovery(inner: Ipv4Addr) -> Result<bool> {
    Ok(open_session(inner, "postgres")?
        .query_one("SELECT pg_is_in_recovery()", &[])?
        .get(0))
}

/// The timeline that a primary writes.
pub fn current_timeline(inner: Ipv4Addr) -> Result<i64> {
    // The first eight digits of a WAL file's name.
    let name: String = open_session(inner, "postgres")?
        .query_one("SELECT pg_walfile_name(pg_current_wal_lsn())", &[])?
        .get(0);
    i64::from_str_radix(name.get(..8).unwrap_or_default(), 16)
        .with_context(|| format!("{name} is not a WAL file"))
}

/// The timeline that a standby receives; none: it receives nothing.
pub fn received_timeline(inner: Ipv4Addr) -> Result<Option<i64>> {
    let row = open_session(inner, "postgres")?.query_opt(
        "SELECT received_tli::bigint FROM pg_stat_wal_receiver WHERE status = 'streaming'",
        &[],
    )?;
    Ok(row.and_then(|row| row.get(0)))
}
