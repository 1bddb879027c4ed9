#![allow(clippy::unwrap_used)]
use super::*;
use crate::fixture::FixtureTree;

const MANIFEST: &str = "[package]\nname = \"a\"\n";

fn measure_files(files: &[(&str, &str)], layers: &[CrateLayers]) -> StructureFigures {
    let tree = FixtureTree::write_files(files).unwrap();
    measure_checkout(tree.root_folder(), None, layers).unwrap()
}

#[test]
fn functions_are_counted_in_production_code_alone_and_main_has_no_share_in_names() {
    let figures = measure_files(
        &[
            ("Cargo.toml", MANIFEST),
            (
                "src/main.rs",
                "mod tests; fn main() {} fn one() {} fn two_words() {}",
            ),
            ("src/tests.rs", "fn three() {}"),
            ("crates/b/Cargo.toml", MANIFEST),
            (
                "crates/b/src/lib.rs",
                "impl A { fn _four(&self, a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) {\n} }",
            ),
            ("tests/c.rs", "#[test] fn five() {}"),
        ],
        &[],
    );
    let (all, free) = (figures.all_names, figures.free_names);
    assert_eq!((all.one_word, all.functions), (2, 3));
    assert_eq!((free.one_word, free.functions), (1, 2));
    assert_eq!(figures.many_arguments.len(), 1);
    assert_eq!(figures.many_arguments[0].place, "crates/b/src/lib.rs:1");
    assert_eq!(figures.longest_function.count, 2);
    assert_eq!(figures.attributes.tests, 1);
}

#[test]
fn type_names_are_compared_with_the_test_crates_and_a_file_compiled_twice_counts_once() {
    let figures = measure_files(
        &[
            ("Cargo.toml", MANIFEST),
            ("src/lib.rs", "mod a; struct One; struct Two;"),
            ("src/main.rs", "mod a;"),
            ("src/a.rs", "struct Three; mod b { struct Two; }"),
            ("tests/sim/Cargo.toml", MANIFEST),
            (
                "tests/sim/src/lib.rs",
                "#[path = \"../../../src/a.rs\"] mod a; struct One;",
            ),
        ],
        &[],
    );
    let names: Vec<&str> = figures.doubled_types.iter().map(|x| x.0.as_str()).collect();
    assert_eq!(names, ["One", "Two"]);
    assert_eq!(
        figures.doubled_types[0].1,
        ["src/lib.rs:1", "tests/sim/src/lib.rs:1"]
    );
    assert_eq!(figures.doubled_in_production, 1);
    assert_eq!(figures.attributes.paths, 1);
}

#[test]
fn a_circle_inside_one_layer_is_reported_apart_from_one_across_layers() {
    let files = [
        ("Cargo.toml", MANIFEST),
        ("src/lib.rs", "mod a;"),
        ("src/a.rs", "mod b; mod c; mod d; use b::X;"),
        ("src/a/b.rs", "use super::c::X;"),
        ("src/a/c.rs", "use super::d::X;"),
        ("src/a/d.rs", "use crate::a::X;"),
    ];
    let layers = |lines| [CrateLayers { folder: ".", lines }];
    let layer = |lines| {
        let figures = measure_files(&files, &layers(lines));
        assert_eq!(figures.circles.len(), 1);
        assert_eq!(figures.circles[0].modules, ["a", "a::b", "a::c", "a::d"]);
        figures.circles[0].layer.clone()
    };
    assert_eq!(layer(&["x", "a"]), Some("a".to_owned()));
    assert_eq!(layer(&["a", "a::b"]), None);
}

#[test]
fn the_planner_is_found_in_either_place_and_its_tests_do_not_count() {
    let code = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n";
    let old = [
        ("Cargo.toml", MANIFEST),
        ("src/lib.rs", "mod controller { mod plan; }"),
        ("src/controller/plan.rs", ""),
        ("src/controller/plan/a.rs", code),
    ];
    let mut files = old.to_vec();
    files[2].1 = "mod a;\n";
    // The folder alone counts: `plan.rs` beside it would be another layout.
    let planner = measure_files(&files, &[]).planner.unwrap();
    assert_eq!(
        (planner.folder.as_str(), planner.lines),
        ("src/controller/plan", 2)
    );
    let new = [
        ("crates/planner/Cargo.toml", MANIFEST),
        ("crates/planner/src/lib.rs", code),
    ];
    let planner = measure_files(&new, &[]).planner.unwrap();
    assert_eq!(
        (planner.folder.as_str(), planner.lines),
        ("crates/planner/src", 2)
    );
}
