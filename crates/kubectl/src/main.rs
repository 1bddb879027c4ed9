//! The `kubectl-dbbalance` program, which `kubectl dbbalance` starts.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_dbbalance::main()
}
