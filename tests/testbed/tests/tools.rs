//! `testbed tools` when there is nothing to do, and the images it and `testbed image` make.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use dbbalance_testbed::cache::ToolCache;
use dbbalance_testbed::image;
use support::{run_testbed, utf8_text};

#[test]
fn a_second_call_takes_under_a_second() {
    let first = run_testbed(&["tools"]);
    assert!(first.status.success(), "{}", utf8_text(&first.stderr));
    let started = Instant::now();
    let second = run_testbed(&["tools"]);
    let took = started.elapsed();
    println!("testbed tools again: {} ms", took.as_millis());
    assert!(took < Duration::from_secs(1), "took {took:?}");
    assert!(
        utf8_text(&second.stderr).contains("0 new"),
        "{}",
        utf8_text(&second.stderr)
    );
}

#[test]
fn images_are_small_and_kept() {
    let cache = ToolCache::locate().unwrap();
    for (make, limit) in [
        (image::build_pause_image as fn(&ToolCache) -> _, 2 << 20),
        (image::build_busybox_image, 4 << 20),
        (image::build_testapp_image, 8 << 20),
    ] {
        let built = make(&cache).unwrap();
        assert!(std::fs::metadata(&built.archive).unwrap().len() < limit);
        assert!(!make(&cache).unwrap().fresh);
    }
}

#[test]
fn an_operator_image_has_the_program_and_its_libraries() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("operator.tar");
    // Any dynamic Rust program will do; this test's own is one, and unstripped.
    let program = Path::new(env!("CARGO_BIN_EXE_testbed"));
    let told = run_testbed(&[
        "image",
        "build",
        "operator",
        program.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    if std::fs::metadata(program).unwrap().len() > image::OPERATOR_LIMIT {
        assert!(utf8_text(&told.stderr).contains("--release"));
        return;
    }
    assert!(told.status.success(), "{}", utf8_text(&told.stderr));
    assert!(utf8_text(&told.stdout).contains(" bytes"));
    let again = folder.path().join("again.tar");
    image::build_operator_image(program, "dev", &again).unwrap();
    assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(&again).unwrap());
}
