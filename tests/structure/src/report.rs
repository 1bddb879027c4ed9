//! Prints figures as a table, also of two checkouts side by side, or as JSON.

use std::fmt::Write;

use crate::figures::{ImportCircle, MANY_ARGUMENTS, MeasuredItem, NameShare, StructureFigures};
use crate::json::JsonValue;

/// One figure: its label, and how it is taken from the measured ones.
type FigureRow = (String, fn(&StructureFigures) -> String);
/// A list below the table: its title, and its lines.
type FigureList = (String, fn(&StructureFigures) -> Vec<String>);

/// Prints a table with one column a checkout, and below it what the figures count.
///
/// A list that is the same for all checkouts is printed once.
#[must_use]
pub fn format_table(checkouts: &[(String, StructureFigures)]) -> String {
    let rows = figure_rows();
    let labels = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    let columns: Vec<Vec<String>> = checkouts
        .iter()
        .map(|(name, figures)| {
            let cells = rows.iter().map(|(_, cell)| cell(figures));
            std::iter::once(name.clone()).chain(cells).collect()
        })
        .collect();
    let mut text = String::new();
    let headings = std::iter::once("").chain(rows.iter().map(|(label, _)| label.as_str()));
    for (index, label) in headings.enumerate() {
        let mut line = format!("{label:labels$}");
        for column in &columns {
            let width = column.iter().map(String::len).max().unwrap_or(0);
            // Writing to a string cannot fail.
            let _ = write!(line, "  {:width$}", column[index]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for (title, lines) in figure_lists() {
        write_list(&mut text, &title, lines, checkouts);
    }
    text
}

fn write_list(
    text: &mut String,
    title: &str,
    lines: fn(&StructureFigures) -> Vec<String>,
    checkouts: &[(String, StructureFigures)],
) {
    let lists: Vec<Vec<String>> = checkouts.iter().map(|(_, x)| lines(x)).collect();
    let are_equal = lists.windows(2).all(|pair| pair[0] == pair[1]);
    for (index, list) in lists.iter().enumerate() {
        if list.is_empty() || (are_equal && index > 0) {
            continue;
        }
        let name = if are_equal {
            String::new()
        } else {
            format!(" ({})", checkouts[index].0)
        };
        let _ = write!(text, "\n{title}{name}\n  {}\n", list.join("\n  "));
    }
}

fn figure_rows() -> Vec<FigureRow> {
    vec![
        (
            format!("functions with {MANY_ARGUMENTS} or more arguments"),
            |x| x.many_arguments.len().to_string(),
        ),
        ("clippy::too_many_arguments allowed".to_owned(), |x| {
            x.attributes.many_arguments_allowed.to_string()
        }),
        ("one-word names, all functions".to_owned(), |x| {
            format_share(x.all_names)
        }),
        ("one-word names, free functions".to_owned(), |x| {
            format_share(x.free_names)
        }),
        ("type names defined twice or more".to_owned(), |x| {
            x.doubled_types.len().to_string()
        }),
        ("  of them, in production code alone".to_owned(), |x| {
            x.doubled_in_production.to_string()
        }),
        ("#[path] attributes".to_owned(), |x| {
            x.attributes.paths.to_string()
        }),
        ("largest circle of imports, modules".to_owned(), |x| {
            x.circles
                .first()
                .map_or("3 or fewer".to_owned(), |x| x.modules.len().to_string())
        }),
        ("circles of more than 3 modules".to_owned(), |x| {
            x.circles.len().to_string()
        }),
        ("  of them, inside one layer".to_owned(), |x| {
            let inside = x.circles.iter().filter(|x| x.layer.is_some());
            inside.count().to_string()
        }),
        ("planner without tests, lines".to_owned(), |x| {
            x.planner.as_ref().map_or("-".to_owned(), |planner| {
                format!("{} in {}", planner.lines, planner.folder)
            })
        }),
        ("longest function, lines".to_owned(), |x| {
            format_longest(&x.longest_function)
        }),
        ("longest file, lines".to_owned(), |x| {
            format_longest(&x.longest_file)
        }),
        ("try_from(..).unwrap_or(..)".to_owned(), |x| {
            x.lossy_conversions.to_string()
        }),
        ("tests by #[test] and the like".to_owned(), |x| {
            x.attributes.tests.to_string()
        }),
        ("tests by proptest!".to_owned(), |x| {
            x.attributes.property_tests.to_string()
        }),
    ]
}

fn figure_lists() -> Vec<FigureList> {
    vec![
        (
            format!("Functions with {MANY_ARGUMENTS} or more arguments"),
            |x| {
                let line = |x: &MeasuredItem| format!("{:2}  {}  {}", x.count, x.name, x.place);
                x.many_arguments.iter().map(line).collect()
            },
        ),
        ("Type names defined twice or more".to_owned(), |x| {
            x.doubled_types
                .iter()
                .map(|(name, places)| format!("{name}: {}", places.join(", ")))
                .collect()
        }),
        ("Circles of more than 3 modules".to_owned(), |x| {
            let line = |x: &ImportCircle| {
                let layer = x
                    .layer
                    .as_ref()
                    .map_or("across layers".to_owned(), |layer| {
                        format!("inside the layer `{layer}`")
                    });
                let (count, modules) = (x.modules.len(), x.modules.join(", "));
                format!("{count} in {}, {layer}: {modules}", x.root)
            };
            x.circles.iter().map(line).collect()
        }),
    ]
}

fn format_share(share: NameShare) -> String {
    // Rounded half up; no functions make no share.
    let percent = (200 * share.one_word + share.functions) / (2 * share.functions).max(1);
    format!("{percent} % ({} of {})", share.one_word, share.functions)
}

fn format_longest(item: &MeasuredItem) -> String {
    if item.name == item.place {
        format!("{} {}", item.count, item.name)
    } else {
        format!("{} {} {}", item.count, item.name, item.place)
    }
}

/// Returns the figures as JSON: an object with one field a checkout, or that of the only one.
#[must_use]
pub fn format_json(checkouts: &[(&'static str, StructureFigures)]) -> String {
    let value = match checkouts {
        [(_, figures)] => figures_value(figures),
        all => JsonValue::Object(
            all.iter()
                .map(|(name, figures)| (*name, figures_value(figures)))
                .collect(),
        ),
    };
    value.to_text()
}

fn figures_value(figures: &StructureFigures) -> JsonValue {
    let number = JsonValue::Number;
    let texts = |x: &[String]| JsonValue::List(x.iter().map(|x| JsonValue::from_text(x)).collect());
    let doubled = figures.doubled_types.iter().map(|(name, places)| {
        JsonValue::Object(vec![
            ("name", JsonValue::from_text(name)),
            ("places", texts(places)),
        ])
    });
    let circles = figures.circles.iter().map(|circle| {
        let layer = circle.layer.as_deref().map(JsonValue::from_text);
        JsonValue::Object(vec![
            ("root", JsonValue::from_text(&circle.root)),
            ("layer", layer.unwrap_or(JsonValue::Null)),
            ("modules", texts(&circle.modules)),
        ])
    });
    let planner = figures.planner.as_ref().map(|planner| {
        JsonValue::Object(vec![
            ("folder", JsonValue::from_text(&planner.folder)),
            ("lines", number(planner.lines)),
        ])
    });
    JsonValue::Object(vec![
        (
            "many_arguments",
            JsonValue::List(figures.many_arguments.iter().map(item_value).collect()),
        ),
        (
            "many_arguments_allowed",
            number(figures.attributes.many_arguments_allowed),
        ),
        ("all_names", share_value(figures.all_names)),
        ("free_names", share_value(figures.free_names)),
        ("doubled_types", JsonValue::List(doubled.collect())),
        (
            "doubled_in_production",
            number(figures.doubled_in_production),
        ),
        ("path_attributes", number(figures.attributes.paths)),
        ("circles", JsonValue::List(circles.collect())),
        ("planner", planner.unwrap_or(JsonValue::Null)),
        ("longest_function", item_value(&figures.longest_function)),
        ("longest_file", item_value(&figures.longest_file)),
        ("lossy_conversions", number(figures.lossy_conversions)),
        ("tests", number(figures.attributes.tests)),
        ("property_tests", number(figures.attributes.property_tests)),
    ])
}

fn item_value(item: &MeasuredItem) -> JsonValue {
    JsonValue::Object(vec![
        ("name", JsonValue::from_text(&item.name)),
        ("place", JsonValue::from_text(&item.place)),
        ("count", JsonValue::Number(item.count)),
    ])
}

fn share_value(share: NameShare) -> JsonValue {
    JsonValue::Object(vec![
        ("functions", JsonValue::Number(share.functions)),
        ("one_word", JsonValue::Number(share.one_word)),
    ])
}

#[cfg(test)]
mod tests;
