//! Writes values as JSON.

use std::fmt::Write;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonValue {
    /// `null`.
    Null,
    /// A whole number.
    Number(usize),
    /// A string.
    Text(String),
    /// An array.
    List(Vec<JsonValue>),
    /// An object, in this order.
    Object(Vec<(&'static str, JsonValue)>),
}

impl JsonValue {
    /// Makes a string.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// Returns the value as text with an indent of two spaces, without a line's end.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.write_into(&mut text, 0);
        text
    }

    fn write_into(&self, text: &mut String, depth: usize) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Number(number) => text.push_str(&number.to_string()),
            Self::Text(value) => write_string(text, value),
            Self::List(values) if values.is_empty() => text.push_str("[]"),
            Self::List(values) => {
                let lines = values.iter().map(|value| (None, value));
                write_block(text, depth, ['[', ']'], lines);
            }
            Self::Object(fields) => {
                let lines = fields.iter().map(|(name, value)| (Some(*name), value));
                write_block(text, depth, ['{', '}'], lines);
            }
        }
    }
}

fn write_block<'a>(
    text: &mut String,
    depth: usize,
    [open, close]: [char; 2],
    lines: impl Iterator<Item = (Option<&'a str>, &'a JsonValue)>,
) {
    text.push(open);
    for (index, (name, value)) in lines.enumerate() {
        text.push_str(if index == 0 { "\n" } else { ",\n" });
        text.push_str(&"  ".repeat(depth + 1));
        if let Some(name) = name {
            write_string(text, name);
            text.push_str(": ");
        }
        value.write_into(text, depth + 1);
    }
    text.push('\n');
    text.push_str(&"  ".repeat(depth));
    text.push(close);
}

fn write_string(text: &mut String, value: &str) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            letter if letter.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(text, "\\u{:04x}", u32::from(letter));
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_nested_and_strings_escaped() {
        let value = JsonValue::Object(vec![
            ("none", JsonValue::List(vec![])),
            (
                "some",
                JsonValue::List(vec![
                    JsonValue::Number(1),
                    JsonValue::from_text("a \"b\"\n"),
                ]),
            ),
        ]);
        let text = "{\n  \"none\": [],\n  \"some\": [\n    1,\n    \"a \\\"b\\\"\\u000a\"\n  ]\n}";
        assert_eq!(value.to_text(), text);
    }
}
