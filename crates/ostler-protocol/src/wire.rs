//! How the kinds of fields look on the wire.

use bytes::Bytes;

use super::ExecutionId;
use super::error::Fault;
use super::reader::Reader;
use super::token::Token;
use super::writer::Writer;

/// A kind of field. Reading starts at its first token, which is taken already.
pub(super) trait Wire: Sized {
    /// What a right value is, in the words of an error message.
    const EXPECTED: &'static str;

    fn write(&self, to: &mut Writer<'_>);

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault>;

    /// The fault of a token that cannot start one.
    #[cold]
    fn mismatch(token: Token<'_>) -> Fault {
        Fault::mismatch(Self::EXPECTED, token.describe())
    }
}

impl Wire for bool {
    const EXPECTED: &'static str = "a boolean";

    fn write(&self, to: &mut Writer<'_>) {
        to.bool(*self);
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::Bool(value) = token else { return Err(Self::mismatch(token)) };
        Ok(value)
    }
}

impl Wire for u64 {
    const EXPECTED: &'static str = "an integer from 0 to 18446744073709551615";

    fn write(&self, to: &mut Writer<'_>) {
        to.uint(*self);
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::UInt(value) = token else { return Err(Self::mismatch(token)) };
        Ok(value)
    }
}

impl Wire for u32 {
    const EXPECTED: &'static str = "an integer from 0 to 4294967295";

    fn write(&self, to: &mut Writer<'_>) {
        to.uint((*self).into());
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::UInt(value) = token else { return Err(Self::mismatch(token)) };
        Self::try_from(value).map_err(|_too_big| Self::mismatch(token))
    }
}

impl Wire for i64 {
    const EXPECTED: &'static str = "an integer of 64 bits";

    fn write(&self, to: &mut Writer<'_>) {
        to.int(*self);
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        if let Token::Int(value) = token {
            return Ok(value);
        }
        let Token::UInt(value) = token else { return Err(Self::mismatch(token)) };
        Self::try_from(value).map_err(|_too_big| Self::mismatch(token))
    }
}

impl Wire for f64 {
    const EXPECTED: &'static str = "a number";

    fn write(&self, to: &mut Writer<'_>) {
        to.float(*self);
    }

    /// Accepts integers: many languages write a whole number so.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a time or a share in more than 52 bits has no use for the rest"
    )]
    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        if let Token::UInt(value) = token {
            return Ok(value as Self);
        }
        if let Token::Int(value) = token {
            return Ok(value as Self);
        }
        let Token::Float(value) = token else { return Err(Self::mismatch(token)) };
        Ok(value)
    }
}

impl Wire for String {
    const EXPECTED: &'static str = "a string";

    fn write(&self, to: &mut Writer<'_>) {
        to.str(self);
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::Str(text) = token else { return Err(Self::mismatch(token)) };
        Ok(text.as_str()?.to_owned())
    }
}

impl Wire for Bytes {
    const EXPECTED: &'static str = "bytes or a string";

    fn write(&self, to: &mut Writer<'_>) {
        to.bin(self);
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        if let Token::Str(text) = token {
            return Ok(from.bytes(text.as_str()?.as_bytes()));
        }
        let Token::Bin(bytes) = token else { return Err(Self::mismatch(token)) };
        Ok(from.bytes(bytes))
    }
}

impl Wire for ExecutionId {
    const EXPECTED: &'static str = "an id: a string of 1 to 64 bytes";

    fn write(&self, to: &mut Writer<'_>) {
        let mut digits = [0; DECIMAL_LEN_MAX];
        to.str(decimal(self.0, &mut digits));
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::Str(text) = token else { return Err(Self::mismatch(token)) };
        Self::from_decimal(text.0).ok_or_else(|| Fault::foreign(text.shortened()))
    }
}

/// The digits of the greatest `u64`.
const DECIMAL_LEN_MAX: usize = 20;

/// Writes `number` without going through the formatting machinery: an id is on every frame.
fn decimal(mut number: u64, digits: &mut [u8; DECIMAL_LEN_MAX]) -> &str {
    let mut start = DECIMAL_LEN_MAX;
    loop {
        start -= 1;
        digits[start] = b"0123456789"[(number % 10) as usize];
        number /= 10;
        if number == 0 {
            return str::from_utf8(&digits[start..]).expect("digits are ASCII");
        }
    }
}

/// An optional field that is sent as nil is as good as absent; this is for the places where nil has a meaning.
impl<T: Wire> Wire for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Some(value) => value.write(to),
            None => to.nil(),
        }
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        if token == Token::Nil { Ok(None) } else { T::read(from, token).map(Some) }
    }
}

impl<T: Wire> Wire for Box<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn write(&self, to: &mut Writer<'_>) {
        (**self).write(to);
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        from.charge::<T>(1)?;
        T::read(from, token).map(Self::new)
    }
}

impl<T: Wire> Wire for Vec<T> {
    const EXPECTED: &'static str = "a list";

    fn write(&self, to: &mut Writer<'_>) {
        to.list(self.len(), |to| self.iter().for_each(|entry| entry.write(to)));
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::List(len) = token else { return Err(Self::mismatch(token)) };
        from.charge::<T>(len)?;
        let mut list = Self::with_capacity(len);
        from.nested(|from| {
            for _ in 0..len {
                let token = from.token()?;
                list.push(T::read(from, token)?);
            }
            Ok(list)
        })
    }
}

/// A map from names, in the order in which it was sent.
impl<T: Wire> Wire for Vec<(String, T)> {
    const EXPECTED: &'static str = "a map with strings as keys";

    fn write(&self, to: &mut Writer<'_>) {
        to.map(self.len(), |to| {
            for (name, value) in self {
                to.str(name);
                value.write(to);
            }
        });
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::Map(len) = token else { return Err(Self::mismatch(token)) };
        from.charge::<(String, T)>(len)?;
        let mut map = Self::with_capacity(len);
        from.nested(|from| {
            for _ in 0..len {
                let key = from.token()?;
                let Token::Str(name) = key else { return Err(Self::mismatch(key)) };
                let token = from.token()?;
                map.push((name.as_str()?.to_owned(), T::read(from, token)?));
            }
            Ok(map)
        })
    }
}
