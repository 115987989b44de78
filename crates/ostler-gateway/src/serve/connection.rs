//! One connection: HTTP/1.1, one request after the other.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};
use tower_service::Service as _;

use super::{
    limits::ConnectionPermit,
    listener::Accepted,
    timed::{Answering, Busy, Timed},
};
use crate::{
    config::{HEAD_MAX, HEADERS_MAX},
    rest::Peer,
};

/// What ends with a connection, and what ends it.
pub(super) struct Ends {
    pub(super) closing: watch::Receiver<bool>,
    pub(super) _place: ConnectionPermit,
}

/// Answers the requests of a connection until it, or the server, ends.
pub(super) async fn serve(accepted: Accepted, router: Router, ends: Ends) {
    let peer = accepted.peer();
    match accepted {
        Accepted::Tcp(stream, _) => speak(stream, peer, router, ends).await,
        Accepted::Unix(stream) => speak(stream, peer, router, ends).await,
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, router: Router, mut ends: Ends) {
    let answering = Answering::default();
    let io = TokioIo::new(Timed::new(stream, answering.clone()));
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let (busy, mut router) = (answering.begin(), router.clone());
        async move {
            let response = router.call(request.map(Body::new)).await;
            response.map(|response: Response<Body>| response.map(|body| Answered { body, _busy: busy }))
        }
    });
    let mut settings = http1::Builder::new();
    // Limits of time are those of `Timed`: hyper's own for a head would also end what is idle.
    settings.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX).header_read_timeout(None);
    let mut connection = pin!(settings.serve_connection(io, service));
    // How a connection ends concerns its peer, who knows.
    tokio::select! {
        _ended = connection.as_mut() => return,
        _ = ends.closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// The body of an answer: its connection is busy until it is sent.
struct Answered {
    body: Body,
    _busy: Busy,
}

impl http_body::Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
