//! A server of its own for each test.

use std::{
    net::SocketAddr,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use ostler::{OnDeath, Runtime, RuntimeBuilder, WorkerSpec};
use ostler_gateway::{Gateway, GatewayConfig, Listener, Served, Tokens};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::client::{self, Answer, Events};

/// The token of the owner.
pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A folder of its own for each test, which is removed with it.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("gw-{}-{}", std::process::id(), LAST.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server that runs until it is stopped or dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) folder: Folder,
    pub(crate) runtime: Runtime,
    tokio: Option<tokio::runtime::Runtime>,
    stop: Option<oneshot::Sender<()>>,
    served: Option<tokio::task::JoinHandle<Served>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(Folder::new(), |pool| pool, |_config| {}, None)
    }

    pub(crate) fn start_with(
        folder: Folder,
        pool: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
        change: impl FnOnce(&mut GatewayConfig),
        tokens: Option<&str>,
    ) -> Self {
        let tokio =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let tokens = tokens.map_or_else(Tokens::default, |text| {
            let file = folder.path().join("tokens.json");
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
            Tokens::read(&file).unwrap()
        });
        let (address, runtime, stop, served) = tokio.block_on(async {
            let builder = Runtime::builder(WorkerSpec::python())
                .max_sessions(2)
                .state_dir(folder.path().join("states"))
                .on_death(OnDeath::Restore);
            let runtime = pool(builder).start().await.unwrap();
            let mut config = GatewayConfig::default();
            config.token = Some(TOKEN.into());
            config.drain_timeout = Duration::from_secs(5);
            change(&mut config);
            let gateway = Gateway::start(runtime.clone(), config, tokens).await.unwrap();
            let tcp = Listener::tcp(([127, 0, 0, 1], 0).into()).await.unwrap();
            let address = tcp.address().unwrap();
            let unix = Listener::unix(folder.path().join("serve.sock")).unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let served = tokio::spawn(async move {
                let stopped = async { drop(stopped.await) };
                gateway.serve(vec![tcp, unix], stopped).await
            });
            (address, runtime, stop, served)
        });
        Self { address, folder, runtime, tokio: Some(tokio), stop: Some(stop), served: Some(served) }
    }

    /// Asks as the owner.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.ask_as(TOKEN, method, path, headers, body)
    }

    pub(crate) fn ask_as(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let request = Self::request(token, method, path, headers, body);
        let answer = client::ask(client::connect(self.address), &request);
        crate::openapi::check(method, path, &answer);
        answer
    }

    pub(crate) fn request(
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Vec<u8> {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("Authorization", &*bearer)];
        if !headers.iter().any(|(name, _)| *name == "Content-Type") {
            all.push(("Content-Type", "application/json"));
        }
        all.extend_from_slice(headers);
        client::request(method, path, &all, body.as_bytes())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], &body.to_string())
    }

    /// Runs code to its end, and returns the report.
    #[track_caller]
    pub(crate) fn run(&self, path: &str, code: &str) -> Value {
        self.post(path, &serde_json::json!({ "code": code })).expect(200).json()
    }

    /// Follows the events of an execution.
    pub(crate) fn events(&self, execution: &str, after: u64) -> Events {
        let path = format!("/v1/executions/{execution}/events?after={after}");
        Events::open(client::connect(self.address), &Self::request(TOKEN, "GET", &path, &[], ""))
    }

    pub(crate) fn unix(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("serve.sock")).unwrap();
        stream.set_read_timeout(Some(client::GUARD)).unwrap();
        stream
    }

    /// Begins to end the server.
    pub(crate) fn begin_to_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Ends the server, and gives back its folder.
    pub(crate) fn stop(mut self) -> (Served, Folder) {
        self.begin_to_stop();
        let tokio = self.tokio.take().unwrap();
        let served = tokio.block_on(self.served.take().unwrap()).unwrap();
        tokio.block_on(self.runtime.shutdown(Duration::ZERO));
        let folder = std::mem::replace(&mut self.folder, Folder::new());
        (served, folder)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(tokio) = self.tokio.take() {
            tokio.block_on(self.runtime.shutdown(Duration::ZERO));
            tokio.shutdown_background();
        }
    }
}

/// Waits for a fact.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
pub(crate) fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + client::GUARD;
    loop {
        if let Some(fact) = fact() {
            return fact;
        }
        assert!(std::time::Instant::now() < deadline, "{what}: not within {:?}", client::GUARD);
        std::thread::sleep(Duration::from_millis(5));
    }
}
