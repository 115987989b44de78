//! Event streams: what an execution tells, as it comes, to a caller who may read slowly or leave.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use http_body::Frame;
use ostler::{
    LogReader,
    json::{Line, What},
};
use tokio::sync::{mpsc, watch};

use crate::{
    config::{KEEP_ALIVE_EVERY, PIECE_MAX},
    desk::run::Run,
    wire::sse,
};

/// A stream of what is behind the event numbered `after`. It ends behind the outcome; the execution does not end with it.
pub(super) fn stream(run: &Arc<Run>, after: u64, draining: watch::Receiver<bool>) -> Response {
    // One piece is written and one waits.
    let (pieces, body) = mpsc::channel(1);
    drop(tokio::spawn(feed(Arc::clone(run), after, draining, pieces)));
    let mut response = Response::new(Body::new(Pieces(body)));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Proxies that gather answers would keep the events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

async fn feed(run: Arc<Run>, after: u64, mut draining: watch::Receiver<bool>, pieces: mpsc::Sender<Bytes>) {
    let mut reader = run.log.read(after);
    let mut told = false;
    // A piece is made when there is room for it: until then its events are in the log alone.
    while let Ok(room) = pieces.reserve().await {
        let piece = tokio::select! {
            () = pieces.closed() => return,
            piece = next(&run, &mut reader) => match piece {
                Some(piece) => piece,
                None => return,
            },
            Ok(_) = draining.wait_for(|draining| *draining), if !told => {
                told = true;
                let mut piece = BytesMut::new();
                sse::event(&mut piece, "drain", None, b"{\"event\":\"drain\"}");
                piece.freeze()
            }
            () = tokio::time::sleep(KEEP_ALIVE_EVERY) => sse::KEEP_ALIVE,
        };
        room.send(piece);
    }
}

/// The next events, as many as are there and as fit into one piece. Cancel safe.
async fn next(run: &Run, reader: &mut LogReader) -> Option<Bytes> {
    let mut entry = Some(reader.next().await?);
    let mut piece = BytesMut::new();
    while let Some(this) = entry.take() {
        let line = Line::logged(&*run.handle, run.log.label().map(|label| &**label), &this);
        sse::event(&mut piece, What::from(&this).name(), Some(this.seq()), &line.to_line());
        if piece.len() < PIECE_MAX {
            entry = reader.ready();
        }
    }
    // As large as what it holds: it may wait for a slow reader.
    Some(Bytes::copy_from_slice(&piece))
}

/// A body that comes in pieces.
struct Pieces(mpsc::Receiver<Bytes>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
