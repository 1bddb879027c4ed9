//! Targets of many pods whose runs want fresh readings, and how many of them ever are fresh at once.

use jiff::SignedDuration;

use super::*;

/// How old a reading may be of a target of so many pods, as the balance has it.
fn usable_for(pods: usize) -> i64 {
    (i64::try_from(pods).unwrap() * 150 / 1000).clamp(10, 300)
}

/// Reconciles targets of so many pods each second, as runs that measure first do. Returns after how long nine tenths of
/// the pods of every target have been fresh at one time.
async fn measure_all(namespaces: &[&str], count: usize) -> u64 {
    let bench = Bench::new();
    let keys: Vec<TargetKey> = (0..).zip(namespaces).map(|(n, of)| key_in(of, n)).collect();
    let mut measured = vec![false; keys.len()];
    for second in 0..3_600 {
        bench.at(second).await;
        for (policy, key) in keys.iter().enumerate() {
            let since = bench.now() - SignedDuration::from_secs(3);
            bench
                .probe
                .measure(key, pods(policy, count), MaxAge::Since(since));
            let oldest = bench.now() - SignedDuration::from_secs(usable_for(count));
            let readings = bench.probe.measured(key);
            let fresh = readings.pods.values().filter(|p| p.at() >= oldest).count();
            measured[policy] |= fresh * 10 >= count * 9;
        }
        if measured.iter().all(|m| *m) {
            println!(
                "{} targets of {count} pods: measured in {second} s",
                keys.len()
            );
            return second;
        }
    }
    panic!("after an hour: {measured:?}");
}

#[tokio::test(start_paused = true)]
async fn a_large_target_is_measured_as_a_whole() {
    assert!(measure_all(&["shop"], 300).await <= 30);
    assert!(measure_all(&["shop"], 2_000).await <= 180);
}

#[tokio::test(start_paused = true)]
async fn of_several_large_targets_each_is_measured_as_a_whole_in_its_turn() {
    assert!(measure_all(&["shop"; 4], 300).await <= 150);
    assert!(measure_all(&["shop", "shop", "pay"], 1_000).await <= 400);
}

#[tokio::test(start_paused = true)]
async fn a_small_target_waits_for_no_round_of_a_large_one() {
    let bench = Bench::new();
    let since = MaxAge::Since(bench.now());
    bench.probe.measure(&key(0), pods(0, 2_000), since);
    bench.at(5).await;
    let asked = Instant::now();
    let since = MaxAge::Since(bench.now());
    bench.probe.measure(&key(1), pods(1, 5), since);
    while !bench.probe.is_quiet(&key(1)) {
        sleep(Duration::from_millis(20)).await;
    }
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
}
