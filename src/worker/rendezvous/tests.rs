//! Who is let in, and who is not.

use std::process;

use tokio::{io::AsyncWriteExt, task::JoinHandle};

use super::*;

/// What takes this long hangs.
const HANG: Duration = Duration::from_secs(120);

struct Bench {
    address: String,
    secret: String,
    arrives: JoinHandle<io::Result<(UnixStream, u32)>>,
}

impl Bench {
    fn new() -> Self {
        let rendezvous = Rendezvous::new("test").unwrap();
        let [address, secret] = [rendezvous.address(), rendezvous.secret()].map(str::to_owned);
        Self { address, secret, arrives: tokio::spawn(rendezvous.arrives()) }
    }

    fn connect(&self) -> UnixStream {
        let address = net::SocketAddr::from_abstract_name(&self.address).unwrap();
        let stream = net::UnixStream::connect_addr(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        UnixStream::from_std(stream).unwrap()
    }

    /// The process that is meant comes, and goes on to speak.
    async fn lets_in_who_is_meant(self) {
        let mut sent = self.connect();
        sent.write_all(format!("{}and more", self.secret).as_bytes()).await.unwrap();
        drop(sent);
        let (mut stream, pid) = timeout(HANG, self.arrives).await.unwrap().unwrap().unwrap();
        assert_eq!(pid, process::id());
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "and more", "what comes behind the secret is not touched");
    }
}

/// Waits until one is turned away; it must have got nothing.
async fn turned_away(mut stranger: UnixStream) {
    let mut got = Vec::new();
    // Reset, if it has sent what nobody has read.
    let _ = stranger.read_to_end(&mut got).await;
    assert!(got.is_empty(), "{got:?}");
}

#[tokio::test]
async fn nobody_is_let_in_without_the_whole_secret() {
    let mut bench = Bench::new();
    let secret = bench.secret.clone();
    let all = secret.len();
    let other = |digit: &str| if digit == "0" { "1" } else { "0" };
    let wrong_first = format!("{}{}", other(&secret[..1]), &secret[1..]);
    let wrong_last = format!("{}{}", &secret[..all - 1], other(&secret[all - 1..]));
    let zeros = "0".repeat(all);
    for told in ["", &secret[..1], &secret[..all - 1], &wrong_first, &wrong_last, &zeros, &"\0".repeat(all)] {
        let mut stranger = bench.connect();
        stranger.write_all(told.as_bytes()).await.unwrap();
        stranger.shutdown().await.unwrap();
        tokio::select! {
            () = turned_away(stranger) => {}
            met = &mut bench.arrives => panic!("let in with {told:?}: {met:?}"),
        }
    }
    bench.lets_in_who_is_meant().await;
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_turned_away_at_the_limit() {
    let bench = Bench::new();
    let (begun, stranger) = (Instant::now(), bench.connect());
    timeout(HANG, turned_away(stranger)).await.unwrap();
    assert!((SECRET_LIMIT..2 * SECRET_LIMIT).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    bench.lets_in_who_is_meant().await;
}

#[tokio::test(start_paused = true)]
async fn a_crowd_is_bounded_and_keeps_nobody_out() {
    let bench = Bench::new();
    let mut crowd: VecDeque<_> = (0..3 * CROWD_MAX).map(|_| bench.connect()).collect();
    let begun = Instant::now();
    for _ in 0..2 * CROWD_MAX {
        timeout(HANG, turned_away(crowd.pop_front().unwrap())).await.unwrap();
    }
    assert!(begun.elapsed() < SECRET_LIMIT, "only at the limit, after {:?}", begun.elapsed());
    bench.lets_in_who_is_meant().await;
}

#[tokio::test]
async fn no_name_and_no_secret_can_be_foreseen_or_read_in_a_log() {
    let [one, other] = [Rendezvous::new("test").unwrap(), Rendezvous::new("test").unwrap()];
    assert_ne!(one.address(), other.address(), "nobody can take it before");
    assert_ne!(one.secret(), other.secret());
    assert_eq!(one.secret().len(), SECRET_LEN);
    assert!(!format!("{one:?}").contains(one.secret()), "{one:?}");
    assert!(!one.secret().contains(&one.address()[one.address().len() - NAME_LEN..]));
}
