#![allow(clippy::unwrap_used)]
use super::*;

fn read_facts(text: &str) -> ModuleFacts {
    let mut facts = ModuleFacts::default();
    for item in syn::parse_file(text).unwrap().items {
        facts.add_item(&item);
    }
    facts
}

#[test]
fn functions_have_their_arguments_without_self_their_lines_and_whether_they_are_free() {
    let facts = read_facts(
        "/// Doc.\n#[inline]\npub fn one(a: u8, b: u8) {\n  fn two() {}\n}\n\
         impl A { fn three(&self, a: u8) {} }\ntrait B { fn four(self: Box<Self>); }",
    );
    let found: Vec<_> = facts
        .functions
        .iter()
        .map(|x| (x.name.as_str(), x.line, x.lines, x.arguments, x.is_free))
        .collect();
    assert_eq!(
        found,
        [
            ("one", 3, 3, 2, true),
            ("two", 4, 1, 0, true),
            ("three", 6, 1, 1, false),
            ("four", 7, 1, 0, false),
        ]
    );
}

#[test]
fn types_are_structs_enums_unions_traits_and_aliases_and_not_associated_ones() {
    let text = "struct A; enum B {} union C { a: u8 } trait D { type E; } type F = A;\n\
                impl D for A { type E = u8; }";
    let names: Vec<String> = read_facts(text).types.into_iter().map(|x| x.0).collect();
    assert_eq!(names, ["A", "B", "C", "D", "F"]);
}

#[test]
fn imports_come_from_use_inline_paths_macros_and_attributes_and_not_from_visibilities() {
    let facts = read_facts(
        "use crate::a::{self, B, c::D as E, f::*};\nuse ::std::fmt;\n\
         #[serde(with = \"crate::g\")]\npub(in crate::h) struct S(super::i::T);\n\
         fn f() { println!(\"{}\", crate::j::k()); crate::log!(); }",
    );
    let found: Vec<_> = facts
        .paths
        .iter()
        .map(|x| (x.segments.join("::"), x.line, x.kind.clone()))
        .collect();
    let named = |name: &str| PathKind::Use(name.to_owned());
    assert_eq!(
        found,
        [
            ("crate::a".to_owned(), 1, named("a")),
            ("crate::a::B".to_owned(), 1, named("B")),
            ("crate::a::c::D".to_owned(), 1, named("E")),
            ("crate::a::f".to_owned(), 1, PathKind::Glob),
            ("crate::g".to_owned(), 3, PathKind::Inline),
            ("super::i::T".to_owned(), 4, PathKind::Inline),
            ("crate::j::k".to_owned(), 5, PathKind::Inline),
            ("crate::log".to_owned(), 5, PathKind::Macro),
        ]
    );
}

#[test]
fn what_only_tests_compile_adds_nothing() {
    let facts = read_facts(
        "#[cfg(test)] use crate::a::B;\n#[cfg(test)] impl A { fn one() {} }\n#[test] fn two() {}\n\
         impl C { #[cfg(test)] fn three() { crate::d::e() } }\n\
         struct F { #[cfg(all(test, unix))] g: crate::h::I }\n\
         fn kept() { #[cfg(test)] { crate::j::k() } }",
    );
    assert_eq!(facts.paths, []);
    assert_eq!(facts.functions.len(), 1);
}

#[test]
fn a_cfg_is_for_tests_only_when_no_other_build_can_satisfy_it() {
    for (predicate, wanted) in [
        ("test", true),
        ("all(unix, test)", true),
        ("any(test, all(test, unix))", true),
        ("any(test, feature = \"a\")", false),
        ("not(test)", false),
        ("not(not(test))", true),
        ("feature = \"test\"", false),
    ] {
        let item: syn::ItemFn =
            syn::parse_str(&format!("#[cfg({predicate})] fn f() {{}}")).unwrap();
        assert_eq!(is_test_only(&item.attrs), wanted, "{predicate}");
    }
}

#[test]
fn lossy_conversions_are_counted_in_code_and_in_macros() {
    let text = "fn f() { let a = u8::try_from(b).unwrap_or(0); c!(u8::try_from(b).unwrap_or(0)); \
                u8::try_from(b).unwrap_or_default(); }";
    assert_eq!(read_facts(text).lossy_conversions, 2);
}
