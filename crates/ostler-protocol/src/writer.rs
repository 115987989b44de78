//! MessagePack out: the few shapes that messages are made of.

use bytes::{BufMut, BytesMut};
use rmp::Marker;

use super::DEPTH_MAX;

/// Appends MessagePack to a buffer. Everything takes its shortest form, so that equal messages are equal bytes.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
    depth: usize,
    too_deep: bool,
}

impl<'a> Writer<'a> {
    pub(super) const fn new(out: &'a mut BytesMut) -> Self {
        Self { out, depth: 0, too_deep: false }
    }

    /// Whether something was left out because it is nested too deep.
    pub(super) const fn is_too_deep(&self) -> bool {
        self.too_deep
    }

    pub(super) fn nil(&mut self) {
        self.marker(Marker::Null);
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.marker(if value { Marker::True } else { Marker::False });
    }

    pub(super) fn uint(&mut self, value: u64) {
        if let Ok(value) = u8::try_from(value) {
            if value < 128 {
                self.marker(Marker::FixPos(value));
            } else {
                self.marker(Marker::U8);
                self.out.put_u8(value);
            }
        } else if let Ok(value) = u16::try_from(value) {
            self.marker(Marker::U16);
            self.out.put_u16(value);
        } else if let Ok(value) = u32::try_from(value) {
            self.marker(Marker::U32);
            self.out.put_u32(value);
        } else {
            self.marker(Marker::U64);
            self.out.put_u64(value);
        }
    }

    pub(super) fn int(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.uint(value);
        } else if let Ok(value) = i8::try_from(value) {
            if value >= -32 {
                self.marker(Marker::FixNeg(value));
            } else {
                self.marker(Marker::I8);
                self.out.put_i8(value);
            }
        } else if let Ok(value) = i16::try_from(value) {
            self.marker(Marker::I16);
            self.out.put_i16(value);
        } else if let Ok(value) = i32::try_from(value) {
            self.marker(Marker::I32);
            self.out.put_i32(value);
        } else {
            self.marker(Marker::I64);
            self.out.put_i64(value);
        }
    }

    pub(super) fn float(&mut self, value: f64) {
        self.marker(Marker::F64);
        self.out.put_f64(value);
    }

    pub(super) fn str(&mut self, value: &str) {
        match u8::try_from(value.len()) {
            Ok(len) if len < 32 => self.marker(Marker::FixStr(len)),
            Ok(len) => {
                self.marker(Marker::Str8);
                self.out.put_u8(len);
            }
            Err(_longer) => self.long(value.len(), Marker::Str16, Marker::Str32),
        }
        self.out.put_slice(value.as_bytes());
    }

    pub(super) fn bin(&mut self, value: &[u8]) {
        match u8::try_from(value.len()) {
            Ok(len) => {
                self.marker(Marker::Bin8);
                self.out.put_u8(len);
            }
            Err(_longer) => self.long(value.len(), Marker::Bin16, Marker::Bin32),
        }
        self.out.put_slice(value);
    }

    /// Writes a list of `len` entries, which `entries` appends.
    pub(super) fn list(&mut self, len: usize, entries: impl FnOnce(&mut Self)) {
        match u8::try_from(len) {
            Ok(few) if few < 16 => self.marker(Marker::FixArray(few)),
            Ok(_) | Err(_) => self.long(len, Marker::Array16, Marker::Array32),
        }
        self.nested(entries);
    }

    /// Writes a map of `len` entries, which `entries` appends, each as a key and a value.
    pub(super) fn map(&mut self, len: usize, entries: impl FnOnce(&mut Self)) {
        match u8::try_from(len) {
            Ok(few) if few < 16 => self.marker(Marker::FixMap(few)),
            Ok(_) | Err(_) => self.long(len, Marker::Map16, Marker::Map32),
        }
        self.nested(entries);
    }

    /// Past the limit nothing more is written: the caller gives the whole message up.
    fn nested(&mut self, entries: impl FnOnce(&mut Self)) {
        if self.depth == DEPTH_MAX {
            self.too_deep = true;
            return;
        }
        self.depth += 1;
        entries(self);
        self.depth -= 1;
    }

    fn marker(&mut self, marker: Marker) {
        self.out.put_u8(marker.to_u8());
    }

    /// A length past `u32::MAX` cannot be announced, but what follows it is past every frame limit, so it is refused.
    fn long(&mut self, len: usize, two_bytes: Marker, four_bytes: Marker) {
        if let Ok(len) = u16::try_from(len) {
            self.marker(two_bytes);
            self.out.put_u16(len);
        } else {
            self.marker(four_bytes);
            self.out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        }
    }
}
