use super::*;

fn split_path(text: &str) -> Vec<String> {
    text.split("::").map(str::to_owned).collect()
}

#[test]
fn a_module_has_the_place_of_the_longest_path_that_leads_to_it() {
    let table = LayerTable::parse(&CrateLayers {
        folder: ".",
        lines: &["a | b, c", "a::d"],
    });
    let describe = |text: &str| {
        table
            .find_place(&split_path(text))
            .map(|place| table.describe_place(place))
    };
    assert_eq!(describe("a::x"), Some("a"));
    assert_eq!(describe("c"), Some("b, c"));
    assert_eq!(describe("a::d::e"), Some("a::d"));
    assert_eq!(describe("e"), None);
}

#[test]
fn a_name_that_stands_twice_in_a_table_is_remembered() {
    let table = LayerTable::parse(&CrateLayers {
        folder: ".",
        lines: &["a", "b, a"],
    });
    assert_eq!(table.repeated, ["a"]);
}
