use super::*;

#[test]
fn a_bar_is_as_long_as_its_share_and_never_hides_something() {
    assert_eq!(render_bar(10, 10, 4), "████");
    assert_eq!(render_bar(5, 10, 4), "██  ");
    assert_eq!(render_bar(9, 16, 2), "█▏");
    assert_eq!(render_bar(1, 1000, 4), "▏   ");
    assert_eq!(render_bar(0, 10, 4), "    ");
    assert_eq!(render_bar(0, 0, 2), "  ");
    assert_eq!(render_bar(20, 10, 2), "██", "never longer than its columns");
}

#[test]
fn a_long_name_is_cut_in_its_middle() {
    assert_eq!(shorten_middle("web-7d9c-abcde", 14), "web-7d9c-abcde");
    assert_eq!(shorten_middle("web-7d9c-abcde", 9), "web-…bcde");
}

#[test]
fn a_line_is_wrapped_at_blanks_with_an_indent() {
    let text = wrap_text("the first gate that holds it, in words", 0, 2, 26);
    assert_eq!(text, "the first gate that holds\n  it, in words");
}

#[test]
fn ages_are_short() {
    let ages: Vec<String> = [0, 119, 120, 250, 600, 7260, 90_000, 1_200_000]
        .into_iter()
        .map(format_span)
        .collect();
    assert_eq!(
        ages,
        ["0s", "119s", "2m", "4m10s", "10m", "2h1m", "25h", "13d"]
    );
}

#[test]
fn a_table_is_aligned_by_what_is_seen_not_by_colour_codes() {
    let canvas = Canvas {
        colour: true,
        width: 80,
    };
    let rows = [
        vec![Cell(Tone::Good, "a".into()), Cell::plain("x")],
        vec![Cell::plain("bbb"), Cell::plain("y")],
    ];
    assert_eq!(
        render_table(canvas, 1, &rows),
        " \u{1b}[32ma\u{1b}[0m    x\n bbb  y\n"
    );
}
