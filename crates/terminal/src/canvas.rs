//! Colours of a page, as far as its terminal shows any.

use anstyle::{AnsiColor, Style};

/// How a page is drawn: with or without colours, and how wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Whether colours are used.
    pub colour: bool,
    /// Columns of the page.
    pub width: usize,
}

/// The meaning of a text, which decides its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary text.
    Plain,
    /// A heading.
    Strong,
    /// Text that a reader may skip.
    Faint,
    /// As it should be.
    Good,
    /// Not yet as it should be.
    Warn,
    /// Wrong.
    Bad,
    /// A reader instance and its bar.
    Reader,
    /// The writer instance and its bar.
    Writer,
    /// What a user would type.
    Command,
}

impl Canvas {
    /// Returns the text in the colour of its tone. A blank text stays as it is.
    #[must_use]
    pub fn tint(self, tone: Tone, text: &str) -> String {
        if !self.colour || text.trim().is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Strong => Style::new().bold(),
            Tone::Faint => Style::new().dimmed(),
            Tone::Good => AnsiColor::Green.on_default(),
            Tone::Warn => AnsiColor::Yellow.on_default(),
            Tone::Bad => AnsiColor::Red.on_default(),
            Tone::Reader | Tone::Command => AnsiColor::Cyan.on_default(),
            Tone::Writer => AnsiColor::Magenta.on_default(),
        };
        format!("{style}{text}{style:#}")
    }

    /// Returns the text as a heading.
    #[must_use]
    pub fn heading(self, text: &str) -> String {
        self.tint(Tone::Strong, text)
    }
}
