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
