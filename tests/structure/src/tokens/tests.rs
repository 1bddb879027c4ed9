#![allow(clippy::unwrap_used)]
use super::*;

fn scan_text(text: &str, strings: StringPaths) -> (Vec<String>, ScannedTokens) {
    let found = scan_tokens(text.parse().unwrap(), strings);
    let paths = found.paths.iter().map(|x| x.segments.join("::"));
    (paths.collect(), found)
}

#[test]
fn paths_are_found_in_nested_groups_and_single_words_are_not_paths() {
    let text = "if x { crate::a::f(b::C, ::d::e, <T as g::H>::i) } else { j }";
    let (paths, _) = scan_text(text, StringPaths::Ignore);
    assert_eq!(paths, ["crate::a::f", "b::C", "g::H"]);
}

#[test]
fn a_macro_that_is_called_is_marked_as_one() {
    let (_, found) = scan_text("crate::log!(a::b)", StringPaths::Ignore);
    assert_eq!(
        found.paths.iter().map(|x| x.is_macro).collect::<Vec<_>>(),
        [true, false]
    );
}

#[test]
fn use_items_are_parsed_and_visibilities_are_not_imports() {
    let text = "use crate::{a::b, c}; pub(in crate::d) struct E; pub(super) fn f() {}";
    let (paths, found) = scan_text(text, StringPaths::Ignore);
    assert_eq!((paths.len(), found.uses.len()), (0, 1));
}

#[test]
fn strings_are_paths_only_in_attributes() {
    let text = r#"with = "crate::a::b", other = "two words::here""#;
    assert_eq!(scan_text(text, StringPaths::Read).0, ["crate::a::b"]);
    assert!(scan_text(text, StringPaths::Ignore).0.is_empty());
}

#[test]
fn a_conversion_whose_error_becomes_a_default_is_counted_once() {
    let text =
        "f(usize::try_from(x).unwrap_or(0), try_from(y).unwrap_or_default(), z.unwrap_or(1))";
    assert_eq!(scan_text(text, StringPaths::Ignore).1.lossy_conversions, 1);
}
