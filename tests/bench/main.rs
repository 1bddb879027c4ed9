//! The bench, by `make bench`: what the disease does to real pools on real databases, and what the cure costs.
//!
//! Every run starts from the same state and is kept under its key in `docs/bench/results.json`; a run that is there is
//! not repeated, so an interrupted bench goes on where it was. `BENCH_RUNS=n` sets how often each case is run,
//! `BENCH_ONLY=text` narrows to the keys that hold the text, `BENCH_FRESH=1` starts anew, `BENCH_SHORT=1` cuts the
//! five minutes of "nothing is done" to one. `DBBALANCE_BENCH_BINARY` is the operator's release build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod bed;

fn main() {
    let apps = ["hikaricp", "activerecord"];
    bed::Bed::with(&apps, |bed| {
        for name in apps {
            let app = bed::App::readers(name, 20, 10);
            let began = std::time::Instant::now();
            bed.start_state(&app);
            eprintln!(
                "{name}: start state after {:?}: {:?}",
                began.elapsed(),
                bed.readers()
            );
        }
    });
}
