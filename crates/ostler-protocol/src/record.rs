//! One declaration per message: its fields, which of them are required, and from that its two directions.
//!
//! Written by hand rather than derived for rmp-serde, for what that cannot give: an error that names the field and the
//! execution, byte fields that share the payload, a bound on memory while reading, and four rules of `PROTOCOL.md` (invalid
//! UTF-8 is no text, bytes are none, a list is no map, a number is no key). ARCHITECTURE.md has the figures of a prototype.

use super::{error::Fault, reader::Reader, token::Token, wire::Wire, writer::Writer};

/// A struct whose fields are the entries of a map.
pub(super) trait Record: Sized {
    /// How many fields will be written: optional ones that hold their default are left out.
    fn count(&self) -> usize;

    fn write_fields(&self, to: &mut Writer<'_>);

    /// Reads the `count` entries that are left of a map. Unknown keys are passed over.
    fn read_fields(from: &mut Reader<'_>, count: usize) -> Result<Self, Fault>;
}

impl<T: Record> Record for Box<T> {
    fn count(&self) -> usize {
        (**self).count()
    }

    fn write_fields(&self, to: &mut Writer<'_>) {
        (**self).write_fields(to);
    }

    fn read_fields(from: &mut Reader<'_>, count: usize) -> Result<Self, Fault> {
        T::read_fields(from, count).map(Self::new)
    }
}

/// Reads the value of the field `name` into its place, which it may fill once.
pub(super) fn fill<T: Wire>(
    place: &mut Option<T>,
    from: &mut Reader<'_>,
    name: &'static str,
) -> Result<(), Fault> {
    let token = from.token()?;
    put(place, from, token, name)
}

/// Does the same for an optional field: nil means absent.
pub(super) fn fill_optional<T: Wire>(
    place: &mut Option<T>,
    from: &mut Reader<'_>,
    name: &'static str,
) -> Result<(), Fault> {
    let token = from.token()?;
    if token == Token::Nil { Ok(()) } else { put(place, from, token, name) }
}

fn put<T: Wire>(
    place: &mut Option<T>,
    from: &mut Reader<'_>,
    token: Token<'_>,
    name: &'static str,
) -> Result<(), Fault> {
    if place.is_some() {
        return Err(Fault::mismatch(T::EXPECTED, "a second one").within(name));
    }
    *place = Some(T::read(from, token).map_err(|fault| fault.within(name))?);
    Ok(())
}

/// Says whether an optional field has something to say.
pub(super) fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}

#[cold]
pub(super) fn missing(name: &'static str, expected: &'static str) -> Fault {
    Fault::mismatch(expected, "nothing").within(name)
}

/// The key of a field: its name, or what stands after `as` where Rust has other plans for the word.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// Declares a [`Record`] with its struct, its `new` (which takes the required fields) and both directions. One that is
/// `nested` can be a field of another; what stands behind the word is what a message says that is expected there.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $name:ident $(nested $expected:literal)? {
            $(required {
                $($(#[$required_meta:meta])* $required:ident $(as $required_key:literal)?: $required_type:ty,)+
            })?
            $(optional {
                $($(#[$optional_meta:meta])* $optional:ident $(as $optional_key:literal)?: $optional_type:ty = $default:expr,)+
            })?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($($(#[$required_meta])* pub $required: $required_type,)+)?
            $($($(#[$optional_meta])* pub $optional: $optional_type,)+)?
        }

        impl $name {
            /// Creates one from its required fields; the optional ones are absent, or hold their defaults.
            #[must_use]
            pub fn new($($($required: impl Into<$required_type>),+)?) -> Self {
                Self {
                    $($($required: $required.into(),)+)?
                    $($($optional: $default,)+)?
                }
            }
        }

        impl $crate::record::Record for $name {
            fn count(&self) -> usize {
                const REQUIRED: &[&str] = &[$($(stringify!($required)),+)?];
                REQUIRED.len() $($(+ usize::from($crate::record::differs::<$optional_type>(&self.$optional, &$default)))+)?
            }

            fn write_fields(&self, to: &mut $crate::writer::Writer<'_>) {
                $($(
                    to.str($crate::record::key!($required $($required_key)?));
                    $crate::wire::Wire::write(&self.$required, to);
                )+)?
                $($(
                    if $crate::record::differs::<$optional_type>(&self.$optional, &$default) {
                        to.str($crate::record::key!($optional $($optional_key)?));
                        $crate::wire::Wire::write(&self.$optional, to);
                    }
                )+)?
            }

            fn read_fields(
                from: &mut $crate::reader::Reader<'_>,
                count: usize,
            ) -> Result<Self, $crate::error::Fault> {
                use $crate::record::{self, key};

                $($(let mut $required: Option<$required_type> = None;)+)?
                $($(let mut $optional: Option<$optional_type> = None;)+)?
                for _ in 0..count {
                    let key = from.key()?;
                    $($(
                        if key.is(key!($required $($required_key)?)) {
                            record::fill(&mut $required, from, key!($required $($required_key)?))?;
                            continue;
                        }
                    )+)?
                    $($(
                        if key.is(key!($optional $($optional_key)?)) {
                            record::fill_optional(&mut $optional, from, key!($optional $($optional_key)?))?;
                            continue;
                        }
                    )+)?
                    key.as_str()?;
                    let token = from.token()?;
                    from.skip(token)?;
                }
                Ok(Self {
                    $($($required: match $required {
                        Some(value) => value,
                        None => {
                            let expected = <$required_type as $crate::wire::Wire>::EXPECTED;
                            return Err(record::missing(key!($required $($required_key)?), expected));
                        }
                    },)+)?
                    $($($optional: match $optional {
                        Some(value) => value,
                        None => $default,
                    },)+)?
                })
            }
        }

        impl $crate::heap::HeapSize for $name {
            fn heap_size(&self) -> usize {
                use $crate::heap::HeapSize;
                0 $($(+ HeapSize::heap_size(&self.$required))+)? $($(+ HeapSize::heap_size(&self.$optional))+)?
            }

            fn detach(&mut self) {
                use $crate::heap::HeapSize;
                $($(HeapSize::detach(&mut self.$required);)+)?
                $($(HeapSize::detach(&mut self.$optional);)+)?
            }
        }

        $($crate::record::nested!($name: $expected);)?

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(source: &mut $crate::sample::Source) -> Self {
                Self {
                    $($($required: $crate::sample::Sample::sample(source),)+)?
                    $($($optional: source.or($default),)+)?
                }
            }
        }
    };
}

/// Makes a [`Record`] usable as a field of another one.
macro_rules! nested {
    ($name:ident: $expected:literal) => {
        impl $crate::wire::Wire for $name {
            const EXPECTED: &'static str = $expected;

            fn write(&self, to: &mut $crate::writer::Writer<'_>) {
                use $crate::record::Record;
                to.map(self.count(), |to| self.write_fields(to));
            }

            fn read(
                from: &mut $crate::reader::Reader<'_>,
                token: $crate::token::Token<'_>,
            ) -> Result<Self, $crate::error::Fault> {
                use $crate::record::Record;
                use $crate::token::Token;
                let Token::Map(count) = token else { return Err(Self::mismatch(token)) };
                from.nested(|from| Self::read_fields(from, count))
            }
        }
    };
}

/// Declares an enum whose variants are words on the wire, and no others.
macro_rules! words {
    (
        $(#[$meta:meta])*
        $name:ident, $expected:literal {
            $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)+
        }

        impl $name {
            /// Returns the word that stands for it on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::wire::Wire for $name {
            const EXPECTED: &'static str = $expected;

            fn write(&self, to: &mut $crate::writer::Writer<'_>) {
                to.str(self.as_str());
            }

            fn read(
                _from: &mut $crate::reader::Reader<'_>,
                token: $crate::token::Token<'_>,
            ) -> Result<Self, $crate::error::Fault> {
                use $crate::token::Token;
                let Token::Str(word) = token else { return Err(Self::mismatch(token)) };
                $(if word.is($word) { return Ok(Self::$variant); })+
                word.as_str()?;
                Err(Self::mismatch(token))
            }
        }

        $crate::heap::flat!($name);

        #[cfg(test)]
        impl $crate::sample::Sample for $name {
            fn sample(source: &mut $crate::sample::Source) -> Self {
                source.one_of(&[$(Self::$variant),+])
            }
        }
    };
}

/// Declares an enum of messages: the `type` of each, and the record or nothing that follows.
macro_rules! messages {
    (
        $(#[$meta:meta])*
        $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident($record:ty) = $type_name:literal,)+
        }
        empty {
            $($(#[$empty_meta:meta])* $empty:ident = $empty_type:literal,)+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name {
            $($(#[$variant_meta])* $variant($record),)+
            $($(#[$empty_meta])* $empty,)+
        }

        impl $name {
            /// Returns the `type` of the message.
            #[must_use]
            pub const fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $type_name,)+
                    $(Self::$empty => $empty_type,)+
                }
            }
        }

        impl $crate::message::Message for $name {
            fn write(&self, to: &mut $crate::writer::Writer<'_>) {
                use $crate::record::Record;
                let count = match self {
                    $(Self::$variant(record) => record.count(),)+
                    $(Self::$empty => 0,)+
                };
                to.map(1 + count, |to| {
                    to.str("type");
                    to.str(self.type_name());
                    match self {
                        $(Self::$variant(record) => record.write_fields(to),)+
                        $(Self::$empty => (),)+
                    }
                });
            }

            fn read(
                type_name: $crate::token::Text<'_>,
                from: &mut $crate::reader::Reader<'_>,
                count: usize,
            ) -> Result<Option<Self>, $crate::error::Fault> {
                use $crate::record::Record;
                $(
                    if type_name.is($type_name) {
                        return <$record>::read_fields(from, count).map(|record| Some(Self::$variant(record)));
                    }
                )+
                $(
                    if type_name.is($empty_type) {
                        return from.skip_fields(count).map(|()| Some(Self::$empty));
                    }
                )+
                Ok(None)
            }
        }

        impl $crate::heap::HeapSize for $name {
            fn heap_size(&self) -> usize {
                match self {
                    $(Self::$variant(record) => $crate::heap::HeapSize::heap_size(record),)+
                    $(Self::$empty => 0,)+
                }
            }

            fn detach(&mut self) {
                match self {
                    $(Self::$variant(record) => $crate::heap::HeapSize::detach(record),)+
                    $(Self::$empty => {})+
                }
            }
        }

        $($crate::record::wrap!($name, $variant, $record);)+

        #[cfg(test)]
        impl $name {
            /// One sample of every message.
            pub(super) fn samples(source: &mut $crate::sample::Source) -> Vec<Self> {
                use $crate::sample::Sample;
                vec![
                    $(Self::$variant(<$record>::sample(source)),)+
                    $(Self::$empty,)+
                ]
            }
        }
    };
}

/// Lets a record be passed where the enum is wanted.
macro_rules! wrap {
    ($name:ident, $variant:ident, $record:ty) => {
        impl From<$record> for $name {
            fn from(record: $record) -> Self {
                Self::$variant(record)
            }
        }
    };
}

pub(super) use {key, messages, nested, record, words, wrap};
