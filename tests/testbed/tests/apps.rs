//! The apps with real pools: each does what `apps/README.md` promises, and the recipe that we publish for it renews its
//! pools without failing a query.
//!
//! Needs root, `testbed tools` and PostgreSQL 15; without them these fail and say so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::image;
use dbbalance_testbed::image::app::AppImage;
use dbbalance_testbed::kubernetes::Testbed;
use support::app_pod::{AppPod, RATE};
use support::database::{ONE, TWO, TestDatabase};
use support::{ExclusiveMachine, OwnTestbed, wait_eventually};

/// All connections are new after this; most of it is one interval of the load, as every connection is in use.
const BOUND: Duration = Duration::from_secs(5);

fn load_app_image(testbed: &Testbed, app: &AppImage, name: &str) {
    let built = image::build_app_image(&ToolCache::locate().unwrap(), name).unwrap();
    assert_eq!(testbed.load_image(&built.archive).unwrap(), [app.image()]);
}

/// Does `renew`, and waits for new connections at this address.
fn measure_renewal(pod: &AppPod<'_>, address: &str, renew: impl FnOnce()) -> Duration {
    let old = pod.connections();
    let (began, recycles) = (Instant::now(), pod.stats()["recycles"].as_u64().unwrap());
    renew();
    pod.await_all_at(address, &old);
    let took = began.elapsed();
    assert!(took < BOUND, "{took:?}");
    assert_eq!(pod.stats()["recycles"], recycles + 1);
    took
}

#[test]
fn every_app_renews_its_pools_without_failing_a_query() {
    let alone = ExclusiveMachine::on_this_machine();
    let opened = Instant::now();
    let own = OwnTestbed::up("t-apps");
    let testbed = &own.testbed;
    let database = TestDatabase::start(testbed);
    for name in image::app::list_apps().unwrap() {
        let app = AppImage::named(&name).unwrap();
        load_app_image(testbed, &app, &name);
        let settings = [("JVM_DNS_TTL", "0"), ("RENEW_GRACE", "1")];
        let pod = AppPod::run(testbed, &app, &name, &settings);
        let start = pod.log(0)[0].clone();
        assert_eq!(start["app"], name);
        println!("{name}: {}", start["versions"]);
        let first = pod.await_all_at(ONE, &BTreeSet::new());

        // The load is as asked for, on all connections, while nothing happens and while pools are renewed.
        let (began, before) = (Instant::now(), pod.number("reader", "ok"));
        let signal = measure_renewal(&pod, ONE, || pod.renew_by_signal(&app));
        let http = measure_renewal(&pod, ONE, || pod.renew_by_http(&app));

        // Another address: nobody moves for that, and everybody moves when renewed.
        let kept = pod.connections();
        assert!(kept.is_disjoint(&first));
        pod.rename(TWO);
        let answered = pod.number("reader", "ok");
        wait_eventually("more queries", || {
            pod.number("reader", "ok") > answered + RATE
        });
        assert_eq!(pod.connections(), kept);
        let moved = measure_renewal(&pod, TWO, || pod.renew_by_signal(&app));
        let (ok, seconds) = (pod.number("reader", "ok") - before, began.elapsed());
        assert_eq!(pod.failed(), 0, "{:?}", pod.log(0));
        #[allow(clippy::cast_precision_loss)]
        let rate = ok as f64 / seconds.as_secs_f64();
        let stats = pod.stats();
        println!(
            "{name}: renewed in {signal:?}, {http:?}, {moved:?}; {rate:.0} queries/s; {}",
            stats["pools"]["reader"]["latency_ms"]
        );
        #[allow(clippy::cast_precision_loss)]
        let wanted = RATE as f64;
        assert!((0.5 * wanted..1.1 * wanted).contains(&rate), "{rate}");
        assert!(stats["pools"]["reader"]["servers"][TWO].as_u64() > Some(0));

        // A demoted writer: writes fail, and the pool keeps the connections.
        let (kept, seen) = (pod.connections(), pod.log(0).len() as u64);
        database.read_only(true);
        let kinds = |pool: &str| pod.stats()["pools"][pool]["failed_by"].clone();
        wait_eventually("failed writes", || {
            kinds("writer")["read_only"].as_u64() >= Some(10)
        });
        assert_eq!(pod.connections(), kept);
        assert_eq!(kinds("reader"), serde_json::json!({}));
        let line = pod.log(seen).remove(0);
        let text = line["text"].as_str().unwrap();
        assert!(
            text.contains("cannot execute INSERT in a read-only transaction"),
            "{line}"
        );
        assert_eq!(
            (&line["pool"], &line["kind"]),
            (&"writer".into(), &"read_only".into())
        );
        database.read_only(false);
        let ok = pod.number("writer", "ok");
        wait_eventually("writes that succeed", || pod.number("writer", "ok") > ok);

        // Half-open: all queries hang and none fails, until the pools are renewed and what hangs is given up.
        let failed = pod.failed();
        database.half_open(&pod.ip, TWO);
        let stuck = || pod.number("reader", "stuck") + pod.number("writer", "stuck");
        wait_eventually("all queries stuck", || stuck() == 15);
        assert_eq!(pod.failed(), failed);
        pod.rename(ONE);
        let swept = measure_renewal(&pod, ONE, || pod.renew_by_http(&app));
        wait_eventually("queries that are not stuck", || stuck() == 0);
        println!(
            "{name}: half-open connections gone after {swept:?}; {:?} into the test",
            opened.elapsed()
        );
        testbed
            .kubectl(&["delete", "pod", &name, "--grace-period=1"])
            .unwrap();
    }
    drop(database);
    drop(own);
    alone.assert_nothing_left("t-apps");
}

#[test]
fn settings_bound_what_hangs_and_what_a_jvm_remembers() {
    let _alone = ExclusiveMachine::on_this_machine();
    let own = OwnTestbed::up("t-apps");
    let testbed = &own.testbed;
    let database = TestDatabase::start(testbed);
    for name in image::app::list_apps().unwrap() {
        let app = AppImage::named(&name).unwrap();
        load_app_image(testbed, &app, &name);
        let pod = AppPod::run(testbed, &app, &name, &[("SOCKET_TIMEOUT", "2")]);
        pod.await_all_at(ONE, &BTreeSet::new());
        if name == "hikaricp" {
            // The JVM's own cache of 30 s: renewed, and at the address that the name has left.
            pod.rename(TWO);
            measure_renewal(&pod, ONE, || pod.renew_by_signal(&app));
            assert_eq!(pod.failed(), 0, "{:?}", pod.log(0));
        }
        // Half-open: with time-outs queries fail by themselves.
        database.half_open(&pod.ip, ONE);
        let began = Instant::now();
        wait_eventually("queries that fail by themselves", || pod.failed() >= 15);
        println!("{name}: all failed after {:?}", began.elapsed());
    }
    drop(database);
}
