//! MessagePack in: one token at a time, checked against the payload, its depth and a budget of memory.

use bytes::Bytes;
use rmp::Marker;

use super::error::Fault;
use super::token::{Text, Token};
use super::{DEPTH_MAX, FRAME_LEN_MAX};

/// Reads the tokens of one payload. It never goes back, and what it hands out borrows the payload.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    payload: &'a [u8],
    /// The same, if slices of it may be kept.
    shared: Option<&'a Bytes>,
    at: usize,
    depth: usize,
    /// The bytes of memory that lists may still take: a list of 64 million nils is 64 MB on the wire, but 2 GB here.
    budget: usize,
}

impl<'a> Reader<'a> {
    /// Reads a payload that bytes in messages may share.
    pub(super) fn new(payload: &'a Bytes) -> Self {
        Self { shared: Some(payload), ..Self::over(payload) }
    }

    /// Reads a payload that nothing may share.
    pub(super) const fn over(payload: &'a [u8]) -> Self {
        Self { payload, shared: None, at: 0, depth: 0, budget: FRAME_LEN_MAX }
    }

    /// Returns how much was read.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    /// Takes the next token. A list or map that it opens must be read to its end with [`Reader::nested`] or skipped.
    #[inline]
    pub(super) fn token(&mut self) -> Result<Token<'a>, Fault> {
        let start = self.at;
        let [marker] = self.array()?;
        Ok(match Marker::from_u8(marker) {
            Marker::Null => Token::Nil,
            Marker::True => Token::Bool(true),
            Marker::False => Token::Bool(false),
            Marker::FixPos(value) => Token::UInt(value.into()),
            Marker::U8 => Token::UInt(u8::from_be_bytes(self.array()?).into()),
            Marker::U16 => Token::UInt(u16::from_be_bytes(self.array()?).into()),
            Marker::U32 => Token::UInt(u32::from_be_bytes(self.array()?).into()),
            Marker::U64 => Token::UInt(u64::from_be_bytes(self.array()?)),
            Marker::FixNeg(value) => Token::Int(value.into()),
            Marker::I8 => signed(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => signed(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => signed(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Token::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.array()?)),
            Marker::FixStr(len) => Token::Str(Text(self.take(len.into())?)),
            Marker::Str8 => Token::Str(Text(self.len8().and_then(|len| self.take(len))?)),
            Marker::Str16 => Token::Str(Text(self.len16().and_then(|len| self.take(len))?)),
            Marker::Str32 => Token::Str(Text(self.len32().and_then(|len| self.take(len))?)),
            Marker::Bin8 => Token::Bin(self.len8().and_then(|len| self.take(len))?),
            Marker::Bin16 => Token::Bin(self.len16().and_then(|len| self.take(len))?),
            Marker::Bin32 => Token::Bin(self.len32().and_then(|len| self.take(len))?),
            Marker::FixArray(len) => Token::List(self.entries(len.into(), 1)?),
            Marker::Array16 => Token::List(self.len16().and_then(|len| self.entries(len, 1))?),
            Marker::Array32 => Token::List(self.len32().and_then(|len| self.entries(len, 1))?),
            Marker::FixMap(len) => Token::Map(self.entries(len.into(), 2)?),
            Marker::Map16 => Token::Map(self.len16().and_then(|len| self.entries(len, 2))?),
            Marker::Map32 => Token::Map(self.len32().and_then(|len| self.entries(len, 2))?),
            Marker::FixExt1 => self.ext(1)?,
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?,
            Marker::FixExt16 => self.ext(16)?,
            Marker::Ext8 => self.len8().and_then(|len| self.ext(len))?,
            Marker::Ext16 => self.len16().and_then(|len| self.ext(len))?,
            Marker::Ext32 => self.len32().and_then(|len| self.ext(len))?,
            Marker::Reserved => {
                return Err(Fault::malformed(format!("byte C1 at {start}: MessagePack never uses it")));
            }
        })
    }

    /// Takes the next key of a message: always a string.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Text<'a>, Fault> {
        let at = self.at;
        let token = self.token()?;
        let Token::Str(key) = token else {
            return Err(Fault::malformed(format!(
                "key at {at}: expected a string, got {}",
                token.describe()
            )));
        };
        Ok(key)
    }

    /// Reads the entries of a list or map that a token opened.
    #[inline]
    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::malformed(format!(
                "nested deeper than {DEPTH_MAX} lists and maps at {}",
                self.at
            )));
        }
        self.depth += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// Passes over what `token` opened, if it opened anything.
    #[inline]
    pub(super) fn skip(&mut self, token: Token<'_>) -> Result<(), Fault> {
        match token {
            Token::List(len) => self.skip_entries(len),
            Token::Map(len) => self.skip_entries(2 * len),
            Token::Nil | Token::Bool(_) | Token::UInt(_) | Token::Int(_) | Token::Float(_) => Ok(()),
            Token::Bin(_) | Token::Ext => Ok(()),
            Token::Str(text) => text.as_str().map(|_| ()),
        }
    }

    fn skip_entries(&mut self, count: usize) -> Result<(), Fault> {
        self.nested(|entries| {
            for _ in 0..count {
                let token = entries.token()?;
                entries.skip(token)?;
            }
            Ok(())
        })
    }

    /// Passes over the `count` entries that are left of a message.
    pub(super) fn skip_fields(&mut self, count: usize) -> Result<(), Fault> {
        for _ in 0..count {
            self.key()?.as_str()?;
            let token = self.token()?;
            self.skip(token)?;
        }
        Ok(())
    }

    /// Takes the room for `len` values of type `T` from the budget.
    pub(super) fn charge<T>(&mut self, len: usize) -> Result<(), Fault> {
        match len.checked_mul(size_of::<T>()).and_then(|cost| self.budget.checked_sub(cost)) {
            Some(left) => self.budget = left,
            None => {
                return Err(Fault::mismatch("lists that fit into 64 MiB of memory", format!("one of {len}")));
            }
        }
        Ok(())
    }

    /// Returns `part` of the payload as bytes of their own: shared if they are many, copied if few.
    pub(super) fn bytes(&self, part: &[u8]) -> Bytes {
        /// A shared slice keeps the block it was read into, up to 64 KiB and more, for as long as it lives.
        const WORTH_SHARING: usize = 4096;
        match self.shared {
            Some(payload) if part.len() >= WORTH_SHARING => payload.slice_ref(part),
            Some(_) | None => Bytes::copy_from_slice(part),
        }
    }

    /// Checks that nothing follows.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.left() {
            0 => Ok(()),
            extra => Err(Fault::malformed(format!("{extra} bytes after the message, expected none"))),
        }
    }

    const fn left(&self) -> usize {
        self.payload.len() - self.at
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let rest = &self.payload[self.at..];
        let Some(part) = rest.get(..len) else { return Err(self.ends_early(len)) };
        self.at += len;
        Ok(part)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some(part) = self.payload[self.at..].first_chunk() else { return Err(self.ends_early(N)) };
        self.at += N;
        Ok(*part)
    }

    #[cold]
    fn ends_early(&self, wanted: usize) -> Fault {
        let left = self.left();
        Fault::malformed(format!("payload ends early: expected {wanted} bytes at {}, got {left}", self.at))
    }

    /// Checks an announced count against the bytes in hand: each entry takes at least `least` of them.
    fn entries(&self, len: usize, least: usize) -> Result<usize, Fault> {
        let left = self.left();
        if len > left / least {
            return Err(Fault::malformed(format!(
                "{len} entries announced at {}, but only {left} bytes follow",
                self.at
            )));
        }
        Ok(len)
    }

    fn ext(&mut self, len: usize) -> Result<Token<'a>, Fault> {
        let [_kind] = self.array()?;
        self.take(len)?;
        Ok(Token::Ext)
    }

    fn len8(&mut self) -> Result<usize, Fault> {
        self.array().map(|len| u8::from_be_bytes(len).into())
    }

    fn len16(&mut self) -> Result<usize, Fault> {
        self.array().map(|len| u16::from_be_bytes(len).into())
    }

    fn len32(&mut self) -> Result<usize, Fault> {
        let len = u32::from_be_bytes(self.array()?);
        // On a machine where this does not fit, no payload is that long either.
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }
}

fn signed<'a>(value: i64) -> Token<'a> {
    u64::try_from(value).map_or(Token::Int(value), Token::UInt)
}
