//! What a message takes in memory, beyond its own size.
//!
//! The macros that declare messages derive this from their fields, so whoever adds one has said its weight, or does not
//! compile.

use bytes::Bytes;

use super::{ErrorKind, ExecutionId, Mime, MimeData, Place, RpcError, Value};

/// Something that may own memory elsewhere.
pub trait HeapSize {
    /// The bytes that it keeps elsewhere. Of bytes that are a slice of something larger, only those of the slice count.
    fn heap_size(&self) -> usize;

    /// Copies the bytes that are slices of something larger, which they keep alive.
    fn detach(&mut self);
}

/// For what owns nothing.
macro_rules! flat {
    ($($name:ty),+ $(,)?) => {$(
        impl $crate::heap::HeapSize for $name {
            fn heap_size(&self) -> usize {
                0
            }

            fn detach(&mut self) {}
        }
    )+};
}

pub(super) use flat;

flat!(bool, u32, u64, i64, f64, ExecutionId);

impl HeapSize for String {
    fn heap_size(&self) -> usize {
        self.capacity()
    }

    fn detach(&mut self) {}
}

impl HeapSize for Bytes {
    fn heap_size(&self) -> usize {
        self.len()
    }

    fn detach(&mut self) {
        *self = Self::copy_from_slice(self);
    }
}

impl<T: HeapSize> HeapSize for Option<T> {
    fn heap_size(&self) -> usize {
        self.as_ref().map_or(0, T::heap_size)
    }

    fn detach(&mut self) {
        self.iter_mut().for_each(T::detach);
    }
}

impl<T: HeapSize> HeapSize for Box<T> {
    fn heap_size(&self) -> usize {
        size_of::<T>() + (**self).heap_size()
    }

    fn detach(&mut self) {
        (**self).detach();
    }
}

impl<T: HeapSize> HeapSize for Vec<T> {
    fn heap_size(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(T::heap_size).sum::<usize>()
    }

    fn detach(&mut self) {
        self.iter_mut().for_each(T::detach);
    }
}

impl<A: HeapSize, B: HeapSize> HeapSize for (A, B) {
    fn heap_size(&self) -> usize {
        self.0.heap_size() + self.1.heap_size()
    }

    fn detach(&mut self) {
        self.0.detach();
        self.1.detach();
    }
}

impl HeapSize for Value {
    fn heap_size(&self) -> usize {
        match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::UInt(_) | Self::Float(_) => 0,
            Self::Number(text) => text.len(),
            Self::Str(text) => text.heap_size(),
            Self::Bytes(bytes) => bytes.heap_size(),
            Self::List(items) => items.heap_size(),
            Self::Map(entries) => entries.heap_size(),
        }
    }

    fn detach(&mut self) {
        match self {
            Self::None | Self::Bool(_) | Self::Int(_) | Self::UInt(_) | Self::Float(_) => {}
            Self::Number(_) | Self::Str(_) => {}
            Self::Bytes(bytes) => bytes.detach(),
            Self::List(items) => items.detach(),
            Self::Map(entries) => entries.detach(),
        }
    }
}

impl HeapSize for Mime {
    fn heap_size(&self) -> usize {
        self.0.heap_size()
    }

    fn detach(&mut self) {
        self.0.detach();
    }
}

impl HeapSize for MimeData {
    fn heap_size(&self) -> usize {
        match self {
            Self::Text(text) => text.heap_size(),
            Self::Binary(bytes) => bytes.heap_size(),
        }
    }

    fn detach(&mut self) {
        match self {
            Self::Text(_) => {}
            Self::Binary(bytes) => bytes.detach(),
        }
    }
}

impl HeapSize for Place {
    fn heap_size(&self) -> usize {
        let Self { file, line: _, function } = self;
        file.heap_size() + function.heap_size()
    }

    fn detach(&mut self) {}
}

impl HeapSize for ErrorKind {
    fn heap_size(&self) -> usize {
        match self {
            Self::Exception | Self::Syntax | Self::Cancelled | Self::Exit | Self::Request => 0,
            Self::Other(word) => word.heap_size(),
        }
    }

    fn detach(&mut self) {}
}

impl HeapSize for RpcError {
    fn heap_size(&self) -> usize {
        let Self { code: _, message, data } = self;
        message.heap_size() + data.heap_size()
    }

    fn detach(&mut self) {
        self.data.detach();
    }
}
