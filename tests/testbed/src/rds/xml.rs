//! Parses the XML of a reply as a tree: small documents, read whole.

use anyhow::{Context as _, Result, bail};
use quick_xml::Reader;
use quick_xml::events::Event;

/// One element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XmlElement {
    /// Its name, without a prefix.
    pub name: String,
    /// Its own text.
    pub value: String,
    /// The elements in it.
    pub children: Vec<Self>,
}

impl XmlElement {
    /// Reads a document; a truncated one is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let mut reader = Reader::from_str(text);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let event = match reader.read_event() {
                // All syntax errors are of a tag, comment or declaration that the end of the input cuts off.
                Err(quick_xml::Error::Syntax(_)) => Event::Eof,
                event => event.context("the reply is not XML")?,
            };
            let closed = match event {
                Event::Start(tag) => {
                    open.push(Self {
                        name: tag.local_name().as_ref().to_owned(),
                        ..Self::default()
                    });
                    None
                }
                Event::Empty(tag) => Some(Self {
                    name: tag.local_name().as_ref().to_owned(),
                    ..Self::default()
                }),
                Event::End(_) => open.pop(),
                Event::Text(text) => {
                    if let Some(parent) = open.last_mut() {
                        parent.value.push_str(&text);
                    }
                    None
                }
                Event::GeneralRef(reference) => {
                    if let Some(parent) = open.last_mut() {
                        parent.value.push_str(resolve_entity(&reference));
                    }
                    None
                }
                Event::Eof => bail!("the reply ends in the middle of its XML"),
                _ => None,
            };
            if let Some(mut element) = closed {
                element.value = element.value.trim().into();
                match open.last_mut() {
                    Some(parent) => parent.children.push(element),
                    None => return Ok(element),
                }
            }
        }
    }

    /// The first child with this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of that child, if it has any.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.child(name)
            .map(|child| child.value.clone())
            .filter(|text| !text.is_empty())
    }

    /// The first element with this name, at any depth.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name {
            return Some(self);
        }
        self.children.iter().find_map(|child| child.find(name))
    }
}

/// The five of XML; others do not occur in replies.
fn resolve_entity(name: &str) -> &'static str {
    match name {
        "amp" => "&",
        "lt" => "<",
        "gt" => ">",
        "quot" => "\"",
        "apos" => "'",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_reply_is_read_as_a_tree() {
        let root = XmlElement::parse(
            "<?xml version='1.0'?><a xmlns='x'><b>1 &amp; 2</b><c/><d> <e>f</e> </d></a>",
        )
        .unwrap();
        assert_eq!(root.text("b").unwrap(), "1 & 2");
        assert_eq!(root.text("c"), None);
        assert_eq!(root.find("e").unwrap().value, "f");
    }

    #[test]
    fn a_truncated_reply_is_an_error() {
        for cut in ["<a><b>1</b>", "<a><b>1</", "<a><b", ""] {
            let error = XmlElement::parse(cut).unwrap_err().to_string();
            assert!(error.contains("middle of its XML"), "{cut}: {error}");
        }
    }
}
