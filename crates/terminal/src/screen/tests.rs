use super::*;

#[test]
fn a_frame_overwrites_the_last_one_without_clearing_the_screen() {
    assert_eq!(render_frame("a\nb\n", 24), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
}

#[test]
fn a_page_that_is_too_long_never_scrolls() {
    let frame = render_frame("1\n2\n3\n4\n", 3);
    assert_eq!(frame.matches("\r\n").count(), 2);
    assert!(frame.contains("too few rows"));
}

#[test]
fn a_page_keeps_its_colours_and_lines_and_nothing_else_that_a_terminal_obeys() {
    let coloured = "\x1b[1;31mHalted\x1b[0m\nnext\n";
    assert_eq!(keep_printable(coloured), coloured);
    let hostile = "a\x1b[2J\x1b]52;c;ZXZpbA==\x07b\x1b[1\u{9b}2Kc\rd\x08\x1b";
    assert_eq!(keep_printable(hostile), "a[2J]52;c;ZXZpbA==b[12Kc d");
}
