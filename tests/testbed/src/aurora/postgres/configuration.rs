//! Renders PostgreSQL's files: settings, access, and the writer that a standby follows.
//!
//! Pure. Every setting that differs from the default has its reason here.

use std::net::Ipv4Addr;

use super::{ADMIN, APP, DatabaseNode, RDS};
use crate::aurora::address::PORT;

/// `postgresql.conf` of an instance.
#[must_use]
pub fn render_postgresql_conf(node: &DatabaseNode) -> String {
    let settings = [
        // A pod reaches the first, the testbed itself the second.
        format!("listen_addresses = '{},{}'", node.address, node.inner()),
        format!("port = {PORT}"),
        // A socket in the data folder would be copied to standbys with its lock, and they would refuse to start.
        "unix_socket_directories = ''".to_owned(),
        format!("cluster_name = '{}'", node.name),
        // Must be the same on all: a standby with less than its primary refuses to start.
        format!("max_connections = {}", node.max_connections),
        "superuser_reserved_connections = 10".to_owned(),
        // Many instances on a small machine, whose data do not outlive them.
        "shared_buffers = 16MB".to_owned(),
        "dynamic_shared_memory_type = posix".to_owned(),
        "fsync = off".to_owned(),
        "full_page_writes = off".to_owned(),
        "synchronous_commit = off".to_owned(),
        "jit = off".to_owned(),
        "max_parallel_workers = 0".to_owned(),
        "min_wal_size = 2MB".to_owned(),
        "max_wal_size = 32MB".to_owned(),
        // Standbys have no slots, as a removed one's would hold the WAL for ever: enough for a short pause. Copies
        // have one while they last.
        "wal_level = replica".to_owned(),
        "wal_keep_size = 32MB".to_owned(),
        "max_wal_senders = 20".to_owned(),
        "max_replication_slots = 20".to_owned(),
        // Readers stay up through a failover (Aurora PostgreSQL 15.2 and newer), so they must follow at once.
        "hot_standby = on".to_owned(),
        "recovery_target_timeline = 'latest'".to_owned(),
        "wal_retrieve_retry_interval = 100ms".to_owned(),
        "wal_receiver_status_interval = 1s".to_owned(),
        "wal_receiver_timeout = 10s".to_owned(),
        "wal_sender_timeout = 10s".to_owned(),
        "hot_standby_feedback = on".to_owned(),
        // A pod's network may be gone before its last FIN is sent: such sessions end soon, not after Aurora's minutes.
        "tcp_keepalives_idle = 15".to_owned(),
        "tcp_keepalives_interval = 3".to_owned(),
        "tcp_keepalives_count = 3".to_owned(),
        "logging_collector = off".to_owned(),
        "log_line_prefix = '%m [%p] '".to_owned(),
        "timezone = 'UTC'".to_owned(),
        "log_timezone = 'UTC'".to_owned(),
        "include_if_exists = 'follow.conf'".to_owned(),
    ];
    settings.join("\n") + "\n"
}

/// `pg_hba.conf`: applications from the testbed's range, the testbed itself from loopback.
#[must_use]
pub fn render_pg_hba_conf() -> String {
    format!(
        "host replication {ADMIN} 127.0.0.0/8 trust\n\
         host all {ADMIN} 127.0.0.0/8 trust\n\
         host all {APP},{RDS} 198.18.0.0/15 trust\n\
         host all {APP},{RDS} 127.0.0.0/8 trust\n"
    )
}

/// `follow.conf` of a standby: reloading it makes it follow another primary, its connections stay.
#[must_use]
pub fn render_standby_conf(name: &str, writer: Ipv4Addr) -> String {
    format!(
        "primary_conninfo = 'host={writer} port={PORT} user={ADMIN} application_name={name} connect_timeout=2'\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_have_no_socket_and_the_same_limit() {
        let node = DatabaseNode {
            cluster: "orders".into(),
            name: "orders-2".into(),
            address: Ipv4Addr::new(198, 18, 0, 33),
            max_connections: 321,
        };
        let text = render_postgresql_conf(&node);
        assert!(text.contains("unix_socket_directories = ''\n"));
        assert!(text.contains("max_connections = 321\n"));
        assert!(text.contains("'198.18.0.33,127.1.0.33'"));
    }
}
