//! `PgBouncer` of Debian's, as a process of the testbed on an address of its own.

use std::net::Ipv4Addr;
use std::process::Command;

use dbbalance_testbed::kubernetes::{Testbed, network};
use dbbalance_testbed::program;

/// Where it listens, on the databases' port.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 200);
const NAME: &str = "pgbouncer";
/// Not everybody's way leads there.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// Starts it before a database, unless it runs.
pub fn start_pgbouncer(testbed: &Testbed, database: Ipv4Addr) {
    assert!(
        std::path::Path::new(PROGRAM).is_file() || program::require_program(NAME).is_ok(),
        "pgbouncer is missing: install it with: make tools"
    );
    if testbed.spawned(NAME).is_some() {
        return;
    }
    network::add_address(testbed.layout(), ADDRESS).expect("an address");
    let file = testbed.layout().path("pgbouncer.ini");
    // Any name may log in: the database's own rules hold. A JDBC driver sets what a pooler does not know.
    let text = format!(
        "[databases]\napp = host={database} port=5432 dbname=app user=app\n[pgbouncer]\nlisten_addr = {ADDRESS}\nlisten_port = 5432\n\
         unix_socket_dir =\nauth_type = any\npool_mode = session\nmax_client_conn = 300\ndefault_pool_size = 200\n\
         ignore_startup_parameters = extra_float_digits\nuser = nobody\n"
    );
    std::fs::write(&file, text).expect("its settings");
    let mut command = Command::new(PROGRAM);
    testbed
        .spawn(NAME, command.arg(&file))
        .expect("a pooler that runs");
}
