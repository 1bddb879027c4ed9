//! Writes XML elements in the order in which they are given.

use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

/// A document that is being written.
pub(super) struct XmlDocument(Writer<Vec<u8>>);

impl XmlDocument {
    /// With a root element of this name and name space, and what `content` writes into it.
    pub(super) fn root(name: &str, space: &str, content: impl FnOnce(&mut Self)) -> String {
        let mut document = Self(Writer::new(Vec::new()));
        let mut start = BytesStart::new(name);
        start.push_attribute(("xmlns", space));
        document.event(Event::Start(start));
        content(&mut document);
        document.event(Event::End(BytesEnd::new(name)));
        String::from_utf8_lossy(&document.0.into_inner()).into_owned()
    }

    fn event(&mut self, event: Event<'_>) {
        // A Vec takes all bytes.
        let _ = self.0.write_event(event);
    }

    /// An element with others in it.
    pub(super) fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.event(Event::Start(BytesStart::new(name)));
        content(self);
        self.event(Event::End(BytesEnd::new(name)));
    }

    /// An element with text.
    pub(super) fn text(&mut self, name: &str, value: impl std::fmt::Display) {
        let value = value.to_string();
        self.element(name, |document| {
            document.event(Event::Text(BytesText::new(&value)));
        });
    }

    /// An element with nothing in it: an empty list.
    pub(super) fn empty(&mut self, name: &str) {
        self.event(Event::Empty(BytesStart::new(name)));
    }
}
