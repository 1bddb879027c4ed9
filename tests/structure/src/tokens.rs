//! Reads paths out of token streams, where macros and attributes hide them from the parser.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::ext::IdentExt;

/// A path of at least two segments, such as `crate::world::World`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPath {
    /// Its segments.
    pub segments: Vec<String>,
    /// The line of its first segment.
    pub line: usize,
    /// Whether it is the name of a macro that is called.
    pub is_macro: bool,
}

/// What a token stream holds.
#[derive(Default)]
pub struct ScannedTokens {
    /// The paths, also those in string literals where asked for.
    pub paths: Vec<TokenPath>,
    /// The `use` items.
    pub uses: Vec<syn::ItemUse>,
    /// Calls of the form `try_from(..).unwrap_or(..)`.
    pub lossy_conversions: usize,
}

/// Where paths are looked for in string literals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringPaths {
    /// Strings are paths, as in `#[serde(with = "crate::time")]`.
    Read,
    /// Strings are texts.
    Ignore,
}

/// Scans a token stream and the groups inside it.
#[must_use]
pub fn scan_tokens(stream: TokenStream, strings: StringPaths) -> ScannedTokens {
    let mut found = ScannedTokens::default();
    scan_into(stream, strings, &mut found);
    found
}

fn scan_into(stream: TokenStream, strings: StringPaths, found: &mut ScannedTokens) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => scan_into(group.stream(), strings, found),
            TokenTree::Ident(ident) if ident == "use" => {
                if let Some((item, after)) = parse_use(&tokens, at) {
                    found.uses.push(item);
                    at = after;
                    continue;
                }
            }
            // A visibility such as `pub(in crate::plugin)` names a module and imports nothing.
            TokenTree::Ident(ident) if ident == "pub" => {
                if let Some(TokenTree::Group(group)) = tokens.get(at + 1)
                    && group.delimiter() == Delimiter::Parenthesis
                    && is_visibility(group.stream())
                {
                    at += 2;
                    continue;
                }
            }
            TokenTree::Ident(_) => {
                let (path, after) = read_path(&tokens, at);
                found.lossy_conversions += usize::from(is_lossy_conversion(&tokens, after - 1));
                let follows_colons = at >= 2 && is_colons(&tokens, at - 2);
                if path.segments.len() > 1 && !follows_colons {
                    found.paths.push(path);
                }
                at = after;
                continue;
            }
            TokenTree::Literal(literal) if strings == StringPaths::Read => {
                let text = literal.to_string();
                let text = text.trim_matches('"');
                let segments: Vec<String> = text.split("::").map(str::to_owned).collect();
                let are_names = segments
                    .iter()
                    .all(|x| syn::parse_str::<proc_macro2::Ident>(x).is_ok() || is_root_word(x));
                if segments.len() > 1 && are_names {
                    found.paths.push(TokenPath {
                        segments,
                        line: literal.span().start().line,
                        is_macro: false,
                    });
                }
            }
            _ => {}
        }
        at += 1;
    }
}

fn is_root_word(text: &str) -> bool {
    ["crate", "self", "super"].contains(&text)
}

fn is_visibility(stream: TokenStream) -> bool {
    let tokens: Vec<String> = stream.into_iter().map(|token| token.to_string()).collect();
    match tokens.as_slice() {
        [only] => is_root_word(only),
        [first, ..] => first == "in",
        [] => false,
    }
}

fn parse_use(tokens: &[TokenTree], at: usize) -> Option<(syn::ItemUse, usize)> {
    let length = tokens[at..].iter().position(|token| is_punct(token, ';'))?;
    let after = at + length + 1;
    let item = syn::parse2(tokens[at..after].iter().cloned().collect()).ok()?;
    Some((item, after))
}

/// Reads the path that starts at an identifier, and where the tokens after it start.
fn read_path(tokens: &[TokenTree], start: usize) -> (TokenPath, usize) {
    let mut segments = vec![];
    let mut at = start;
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        segments.push(ident.unraw().to_string());
        at += 1;
        if is_colons(tokens, at) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
            at += 2;
        } else {
            break;
        }
    }
    let path = TokenPath {
        segments,
        line: tokens[start].span().start().line,
        is_macro: tokens.get(at).is_some_and(|token| is_punct(token, '!')),
    };
    (path, at)
}

/// Whether `try_from` stands at `at`, is called, and a default replaces its error.
fn is_lossy_conversion(tokens: &[TokenTree], at: usize) -> bool {
    let is_ident =
        |at: usize, name: &str| matches!(tokens.get(at), Some(TokenTree::Ident(x)) if x == name);
    is_ident(at, "try_from")
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(_)))
        && tokens.get(at + 2).is_some_and(|token| is_punct(token, '.'))
        && is_ident(at + 3, "unwrap_or")
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    matches!(tokens.get(at..at + 2), Some([a, b]) if is_punct(a, ':') && is_punct(b, ':'))
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

#[cfg(test)]
mod tests;
