//! Random messages for the tests: anything that a field can hold, from a seed.

use bytes::Bytes;

use super::{ErrorKind, ExecutionId, Mime, MimeData, Place, Value};

/// Where chance comes from: a small generator, so that a seed names a message.
pub(super) struct Source {
    state: u64,
    depth: usize,
}

pub(super) trait Sample: Sized {
    fn sample(source: &mut Source) -> Self;

    /// Whether it is written as nil, which an optional field does not tell from absence.
    fn is_nil(&self) -> bool {
        false
    }
}

impl Source {
    pub(super) const fn new(seed: u64) -> Self {
        Self { state: seed, depth: 0 }
    }

    /// The next number of the sequence named splitmix64.
    pub(super) const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    pub(super) fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }

    /// The default of an optional field half of the time, else a sample.
    pub(super) fn or<T: Sample>(&mut self, default: T) -> T {
        if self.next().is_multiple_of(2) { default } else { T::sample(self) }
    }

    /// Fewer and fewer entries the deeper it goes.
    fn len(&mut self) -> usize {
        self.below(4usize.saturating_sub(self.depth) + 1)
    }

    fn nested<T>(&mut self, sample: impl FnOnce(&mut Self) -> T) -> T {
        self.depth += 1;
        let value = sample(self);
        self.depth -= 1;
        value
    }
}

impl Sample for bool {
    fn sample(source: &mut Source) -> Self {
        source.next().is_multiple_of(2)
    }
}

impl Sample for u64 {
    /// Around every edge of the encoding as likely as anywhere.
    fn sample(source: &mut Source) -> Self {
        let bits = source.one_of(&[0, 5, 7, 8, 15, 16, 31, 32, 62, 63]);
        let edge = 1u64 << bits;
        let choices = [edge - 1, edge, edge + 1, source.next() % edge, Self::MAX];
        source.one_of(&choices)
    }
}

impl Sample for u32 {
    fn sample(source: &mut Source) -> Self {
        Self::try_from(u64::sample(source) & u64::from(Self::MAX)).unwrap()
    }
}

impl Sample for i64 {
    fn sample(source: &mut Source) -> Self {
        let number = u64::sample(source).cast_signed();
        if bool::sample(source) { number } else { number.wrapping_neg() }
    }
}

impl Sample for f64 {
    fn sample(source: &mut Source) -> Self {
        let any = Self::from_bits(source.next());
        let any = if any.is_nan() { 0.1 } else { any };
        source.one_of(&[0.0, -0.0, 1.0, 1.5e-5, 1e300, Self::INFINITY, Self::NEG_INFINITY, any])
    }
}

impl Sample for String {
    fn sample(source: &mut Source) -> Self {
        const PIECES: [&str; 8] =
            ["", "a", "$bytes", "\"quoted\" \\", "línea\n", "日本語", "\u{1F980}\u{0}", "x"];
        let len = source.one_of(&[0, 1, 3, 31, 32, 255, 256]);
        let mut text = Self::new();
        while text.len() < len {
            text.push_str(source.one_of(&PIECES));
        }
        text
    }
}

impl Sample for Bytes {
    fn sample(source: &mut Source) -> Self {
        let len = source.one_of(&[0, 1, 31, 255, 256, 5000]);
        (0..len).map(|_| source.next().to_be_bytes()[0]).collect()
    }
}

impl Sample for ExecutionId {
    fn sample(source: &mut Source) -> Self {
        Self(u64::sample(source))
    }
}

impl Sample for Value {
    fn sample(source: &mut Source) -> Self {
        let kinds = if source.depth < 4 { 8 } else { 6 };
        match source.below(kinds) {
            0 => Self::None,
            1 => Self::Bool(Sample::sample(source)),
            2 => i64::sample(source).into(),
            3 => u64::sample(source).into(),
            4 => Self::Float(Sample::sample(source)),
            5 => source.nested(|source| match source.below(2) {
                0 => Self::Str(Sample::sample(source)),
                _ => Self::Bytes(Sample::sample(source)),
            }),
            6 => Self::List(Sample::sample(source)),
            _ => source.nested(|source| {
                let len = source.len();
                Self::Map((0..len).map(|_| (Sample::sample(source), Sample::sample(source))).collect())
            }),
        }
    }

    fn is_nil(&self) -> bool {
        self.is_none()
    }
}

impl Sample for MimeData {
    fn sample(source: &mut Source) -> Self {
        if bool::sample(source) {
            Self::Text(Sample::sample(source))
        } else {
            Self::Binary(Sample::sample(source))
        }
    }
}

impl Sample for Mime {
    fn sample(source: &mut Source) -> Self {
        Self(Sample::sample(source))
    }
}

impl Sample for ErrorKind {
    fn sample(source: &mut Source) -> Self {
        source.one_of(&["exception", "syntax", "cancelled", "exit", "request", "quota"]).into()
    }
}

impl Sample for Place {
    fn sample(source: &mut Source) -> Self {
        Self { file: Sample::sample(source), line: Sample::sample(source), function: Sample::sample(source) }
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source) -> Self {
        if source.depth > 5 || bool::sample(source) {
            return None;
        }
        Some(source.nested(T::sample)).filter(|value| !value.is_nil())
    }
}

impl<T: Sample> Sample for Box<T> {
    fn sample(source: &mut Source) -> Self {
        Self::new(T::sample(source))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source) -> Self {
        source.nested(|source| {
            let len = source.len();
            (0..len).map(|_| T::sample(source)).collect()
        })
    }
}

impl<T: Sample> Sample for (String, T) {
    fn sample(source: &mut Source) -> Self {
        (Sample::sample(source), T::sample(source))
    }
}
