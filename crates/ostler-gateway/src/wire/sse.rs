//! Frames of an event stream (`text/event-stream`).

use bytes::{BufMut as _, Bytes, BytesMut};

/// What keeps a stream open through proxies that end what is silent.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": still here\n\n");

/// Adds one event: its name, its number if it has one, and its data, a line of JSON.
pub(crate) fn event(out: &mut BytesMut, name: &str, id: Option<u64>, data: &[u8]) {
    if let Some(id) = id {
        out.put_slice(format!("id: {id}\n").as_bytes());
    }
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    // JSON holds no raw line end, and its own at the end ends this line.
    out.put_slice(b"\ndata: ");
    out.put_slice(data.trim_ascii_end());
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_name_a_number_and_a_line() {
        let mut out = BytesMut::new();
        event(&mut out, "output", Some(7), b"{\"text\":\"a\\nb\"}\n");
        event(&mut out, "drain", None, b"{}");
        assert_eq!(
            &out[..],
            b"id: 7\nevent: output\ndata: {\"text\":\"a\\nb\"}\n\nevent: drain\ndata: {}\n\n"
        );
    }
}
