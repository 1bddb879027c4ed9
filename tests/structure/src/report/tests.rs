use super::*;

fn figures_with_type(name: &str) -> StructureFigures {
    StructureFigures {
        all_names: NameShare {
            functions: 3,
            one_word: 2,
        },
        doubled_types: vec![(
            name.to_owned(),
            vec!["a.rs:1".to_owned(), "b.rs:2".to_owned()],
        )],
        ..StructureFigures::default()
    }
}

#[test]
fn a_share_is_rounded_and_is_zero_without_functions() {
    let share = |one_word, functions| {
        format_share(NameShare {
            functions,
            one_word,
        })
    };
    assert_eq!(share(2, 3), "67 % (2 of 3)");
    assert_eq!(share(0, 0), "0 % (0 of 0)");
}

#[test]
fn two_checkouts_stand_side_by_side_and_lists_that_differ_are_printed_for_each() {
    let text = format_table(&[
        ("base".to_owned(), figures_with_type("A")),
        ("tree".to_owned(), figures_with_type("B")),
    ]);
    let line = text
        .lines()
        .find(|x| x.starts_with("one-word names, all"))
        .unwrap_or_default();
    assert_eq!(line.matches("67 % (2 of 3)").count(), 2);
    assert!(text.contains("Type names defined twice or more (base)\n  A: a.rs:1, b.rs:2\n"));
    assert!(text.contains("Type names defined twice or more (tree)\n  B: a.rs:1, b.rs:2\n"));
}

#[test]
fn a_list_that_is_the_same_for_both_is_printed_once() {
    let figures = figures_with_type("A");
    let text = format_table(&[
        ("base".to_owned(), figures.clone()),
        ("tree".to_owned(), figures),
    ]);
    assert_eq!(text.matches("A: a.rs:1").count(), 1);
}

#[test]
fn json_of_two_checkouts_has_a_field_for_each_and_of_one_is_its_figures() {
    let figures = figures_with_type("A");
    let two = format_json(&[("base", figures.clone()), ("tree", figures.clone())]);
    assert!(two.starts_with("{\n  \"base\": {\n") && two.contains("\n  \"tree\": {\n"));
    assert!(format_json(&[("tree", figures)]).starts_with("{\n  \"many_arguments\": []"));
}
