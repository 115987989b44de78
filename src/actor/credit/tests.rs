use std::task::{Context, Waker};

use super::*;

fn ledger() -> Arc<Ledger> {
    Arc::default()
}

fn is_pending(waiting: impl Future<Output = Option<Credit>>) -> bool {
    Box::pin(waiting).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[tokio::test]
async fn a_full_window_makes_the_reader_wait_until_the_caller_takes_or_the_window_is_renewed() {
    let (window, mut credits) = window(&ledger());
    window.open();
    let held = credits.take(WINDOW).await.expect("the window was empty");
    {
        let mut waiting = Box::pin(credits.take(1));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending(), "the window is full");
        drop(held);
        assert!(waiting.await.is_some());
    }

    let _held = credits.take(WINDOW).await.expect("the caller took everything");
    window.shed();
    let fresh = credits.take(WINDOW).await;
    assert!(fresh.is_some(), "a renewed window has room");
    assert!(credits.take(1).await.is_none(), "a shedding window does not wait");
}

#[tokio::test]
async fn what_was_not_needed_comes_back_at_once_and_the_rest_with_the_thing() {
    let (window, mut credits) = window(&ledger());
    window.open();
    let part = credits.take(WINDOW).await.expect("room").cut(10);
    let rest = credits.take(WINDOW - 10).await;
    assert!(rest.is_some());
    assert!(is_pending(credits.take(1)));
    drop(part);
    assert!(credits.take(10).await.is_some());
    drop(rest);
    assert!(credits.take(WINDOW).await.is_some());
}

/// What a fence takes is in memory already: it is paid for before anything else is.
#[tokio::test]
async fn a_debt_is_paid_before_anything_more_can_be_had() {
    let (window, mut credits) = window(&ledger());
    window.open();
    let half = credits.take(WINDOW / 2).await.expect("room");
    assert!(!credits.is_in_debt());
    let debt = credits.overdraw(WINDOW);
    assert!(credits.is_in_debt());
    assert!(is_pending(credits.take(1)));
    drop(half);
    assert!(is_pending(credits.take(1)), "all that came back has paid the debt");
    drop(debt);
    assert!(credits.take(WINDOW).await.is_some(), "and nothing was lost by it");
}

/// P16: whoever drops output that nobody took has counted it.
#[tokio::test]
async fn output_that_nobody_took_is_counted_where_it_is_dropped() {
    let ledger = ledger();
    let (window, mut credits) = window(&ledger);
    window.open();
    drop(credits.take(100).await.expect("room").carrying(7));
    let seen = credits.take(100).await.expect("room").carrying(1_000);
    seen.taken();
    drop(seen);
    credits.discard(30);
    assert_eq!(ledger.totals().dropped_bytes, 37);
}
