//! Counts attributes in whole files, also inside macros and tests.

use std::ops::AddAssign;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::error::StructureError;

/// Attributes of one or more files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttributeCounts {
    /// `#[test]`, `#[tokio::test]` and the like, without those inside macros.
    pub tests: usize,
    /// `#[test]` inside a `proptest!`.
    pub property_tests: usize,
    /// `#[path = ..]`.
    pub paths: usize,
    /// `allow` or `expect` of `clippy::too_many_arguments`.
    pub many_arguments_allowed: usize,
}

impl AddAssign for AttributeCounts {
    fn add_assign(&mut self, other: Self) {
        self.tests += other.tests;
        self.property_tests += other.property_tests;
        self.paths += other.paths;
        self.many_arguments_allowed += other.many_arguments_allowed;
    }
}

/// Counts the attributes of a file's text.
///
/// # Errors
/// When the text is not made of Rust tokens.
pub fn count_attributes(text: &str) -> Result<AttributeCounts, StructureError> {
    let stream: TokenStream = text
        .parse()
        .map_err(|cause| StructureError::new(format!("not Rust: {cause}")))?;
    let mut counts = AttributeCounts::default();
    count_stream(stream, false, &mut counts);
    Ok(counts)
}

fn count_stream(stream: TokenStream, in_proptest: bool, counts: &mut AttributeCounts) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        let is_mark = |back: usize, mark: char| {
            at.checked_sub(back)
                .is_some_and(|at| matches!(&tokens[at], TokenTree::Punct(x) if x.as_char() == mark))
        };
        let is_attribute = group.delimiter() == Delimiter::Bracket
            && (is_mark(1, '#') || (is_mark(1, '!') && is_mark(2, '#')));
        if is_attribute {
            count_attribute(&group.stream(), in_proptest, counts);
        } else {
            let opens_properties = is_mark(1, '!')
                && at.checked_sub(2).is_some_and(
                    |at| matches!(&tokens[at], TokenTree::Ident(name) if name == "proptest"),
                );
            count_stream(group.stream(), in_proptest || opens_properties, counts);
        }
    }
}

fn count_attribute(stream: &TokenStream, in_proptest: bool, counts: &mut AttributeCounts) {
    let text: String = stream
        .to_string()
        .chars()
        .filter(|x| !x.is_whitespace())
        .collect();
    let name = text.split(['(', '=']).next().unwrap_or_default();
    if name == "test" || name.ends_with("::test") {
        if in_proptest {
            counts.property_tests += 1;
        } else {
            counts.tests += 1;
        }
    } else if text.starts_with("path=") || (name == "cfg_attr" && text.contains(",path=")) {
        counts.paths += 1;
    } else if ["allow", "expect", "cfg_attr"].contains(&name)
        && text.contains("clippy::too_many_arguments")
    {
        counts.many_arguments_allowed += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn attributes_are_counted_also_in_macros_and_not_in_texts() {
        let text = r##"
            #![allow(clippy::too_many_arguments)]
            #[path = "a.rs"] mod a;
            /// #[path = "b.rs"]
            #[test] fn one() {}
            #[tokio::test(start_paused = true)] async fn two() { f("#[test]"); }
            proptest! {
                #![proptest_config(c())]
                #[test] fn three(x in 0..1) { let _ = [x]; }
            }
            #[expect(clippy::too_many_arguments, reason = "..")] fn four() {}
        "##;
        let counts = count_attributes(text).unwrap();
        assert_eq!((counts.tests, counts.property_tests), (2, 1));
        assert_eq!((counts.paths, counts.many_arguments_allowed), (1, 2));
    }
}
