//! Rich values: the same thing in one or more formats.

use bytes::Bytes;

use super::error::Fault;
use super::reader::Reader;
use super::token::Token;
use super::wire::Wire;
use super::writer::Writer;

/// A rich value by MIME type, in the order in which it was sent: by custom, the best format comes first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mime(pub Vec<(String, MimeData)>);

impl Mime {
    /// Returns the value in the format `mime_type`.
    #[must_use]
    pub fn get(&self, mime_type: &str) -> Option<&MimeData> {
        self.0.iter().find(|(name, _)| name == mime_type).map(|(_, data)| data)
    }

    /// Returns how many bytes it takes, names included.
    #[must_use]
    pub fn weight(&self) -> usize {
        let data = |data: &MimeData| match data {
            MimeData::Text(text) => text.len(),
            MimeData::Binary(bytes) => bytes.len(),
        };
        self.0.iter().map(|(name, value)| name.len() + data(value)).sum()
    }

    /// Returns the text of the format `mime_type`.
    #[must_use]
    pub fn text(&self, mime_type: &str) -> Option<&str> {
        match self.get(mime_type)? {
            MimeData::Text(text) => Some(text),
            MimeData::Binary(_) => None,
        }
    }
}

impl Wire for Mime {
    const EXPECTED: &'static str = "a map from MIME types to strings or bytes";

    fn write(&self, to: &mut Writer<'_>) {
        self.0.write(to);
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::Map(_) = token else { return Err(Self::mismatch(token)) };
        Wire::read(from, token).map(Self)
    }
}

/// One format of a rich result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MimeData {
    /// Text: HTML, Markdown, SVG, JSON.
    Text(String),
    /// Bytes: PNG, JPEG.
    Binary(Bytes),
}

impl Wire for MimeData {
    const EXPECTED: &'static str = "a string or bytes";

    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::Text(text) => to.str(text),
            Self::Binary(bytes) => to.bin(bytes),
        }
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        if let Token::Str(text) = token {
            return Ok(Self::Text(text.as_str()?.to_owned()));
        }
        let Token::Bin(bytes) = token else { return Err(Self::mismatch(token)) };
        Ok(Self::Binary(from.bytes(bytes)))
    }
}
