//! Makes texts of others fit for messages.

use std::borrow::Cow;

/// Returns the text without control characters, for status, events and logs: what a container or another program has
/// printed must not move the cursor of whoever reads it, nor forge a line. White space becomes a space, the rest of the
/// control characters and the marks that reorder text are dropped.
#[must_use]
pub fn strip_control(text: &str) -> Cow<'_, str> {
    if !text.chars().any(|c| c.is_control() || is_reordering(c)) {
        return Cow::Borrowed(text);
    }
    let kept = text.chars().filter_map(|c| match c {
        '\n' | '\r' | '\t' => Some(' '),
        c if c.is_control() || is_reordering(c) => None,
        c => Some(c),
    });
    Cow::Owned(kept.collect())
}

/// Whether the character only changes the direction of the text around it (Unicode Standard Annex 9).
const fn is_reordering(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns a hook's path without its query string, which may hold a token: `/reload?…`.
#[must_use]
pub fn hide_query(path: &str) -> Cow<'_, str> {
    match path.split_once(['?', '#']) {
        Some((path, _)) => Cow::Owned(format!("{path}?…")),
        None => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_a_cursor_or_forges_a_line_is_dropped() {
        let hostile = "no\x1b[2J\x1b]0;owned\x07 shell\r\nlevel=error\u{9b}31m \u{202e}txt";
        let plain = strip_control(hostile);
        assert_eq!(plain, "no[2J]0;owned shell  level=error31m txt");
        assert!(!plain.chars().any(char::is_control));
    }

    #[test]
    fn an_ordinary_text_stays_as_it_is() {
        let text = "pod shop/web-1: 3 → 4 Verbindungen, größer als 2";
        assert!(matches!(strip_control(text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn the_query_of_a_hook_is_hidden() {
        assert_eq!(hide_query("/reload?token=s3cret"), "/reload?…");
        assert_eq!(hide_query("/reload"), "/reload");
    }
}
