//! The program as a child process, with a guard that no test hangs.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// No step of a test takes longer, also on a machine that does much else.
pub(crate) const GUARD: Duration = Duration::from_secs(60);

/// A folder of its own for each test, which is removed with it.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let name = format!("cli-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(fs::canonicalize(folder).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, and its folder.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The program, to be run in this folder.
    pub(crate) fn ostler(&self, args: &[&str]) -> Program {
        if cfg!(target_os = "linux") {
            // A test that runs in the background was started with SIGINT ignored, which the program would keep.
            let through = [&["--default-signal=INT,HUP", env!("CARGO_BIN_EXE_ostler")], args].concat();
            return Program::new("env", &through, &self.0);
        }
        Program::new(env!("CARGO_BIN_EXE_ostler"), args, &self.0)
    }
}

impl Scratch {
    /// The same, with arguments that need not be text.
    pub(crate) fn ostler_os(&self, args: &[&OsStr]) -> Program {
        let mut program = self.ostler(&[]);
        program.0.args(args);
        program
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in the target folder, where nobody minds it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The search path, with the real interpreter before any shim of a version manager, which is slow to start.
fn path_with_python() -> &'static OsStr {
    static PATH: OnceLock<OsString> = OnceLock::new();
    PATH.get_or_init(|| {
        let info = ostler::python_info("python3").expect("the tests need a python3");
        let mut folders = vec![info.executable.parent().unwrap().to_path_buf()];
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        std::env::join_paths(folders).unwrap()
    })
}

/// A program that is about to run.
#[derive(Debug)]
pub(crate) struct Program(Command);

impl Program {
    #[expect(clippy::disallowed_methods, reason = "a test runs the built program")]
    pub(crate) fn new(program: impl AsRef<OsStr>, args: &[&str], folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.env("PATH", path_with_python());
        command.args(args).current_dir(folder).env("XDG_STATE_HOME", folder).env_remove("NO_COLOR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn start(mut self) -> Running {
        let mut child = self.0.spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = chunks(child.stdout.take().unwrap());
        let (told, stderr) = mpsc::channel();
        let mut pipe = child.stderr.take().unwrap();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = pipe.read(&mut chunk) {
                let _ = told.send(chunk[..len].to_vec());
            }
        });
        Running {
            child,
            stdin,
            stdout: Some(stdout),
            seen: Vec::new(),
            looked: 0,
            stderr,
            complaints: Vec::new(),
        }
    }

    /// Runs it to its end with this input.
    pub(crate) fn run(self, input: &str) -> Ended {
        let mut running = self.start();
        running.say(input);
        running.end()
    }
}

fn chunks(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    // A rendezvous: what is not asked for stays in the pipe, and dropping the receiver closes it.
    let (told, chunks) = mpsc::sync_channel(0);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut chunk) {
            if told.send(chunk[..len].to_vec()).is_err() {
                return;
            }
        }
    });
    chunks
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<Receiver<Vec<u8>>>,
    /// What it printed, and how much of it the test has looked at.
    seen: Vec<u8>,
    looked: usize,
    /// What comes on its stderr, and what has come.
    stderr: Receiver<Vec<u8>>,
    complaints: Vec<u8>,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

impl Running {
    /// The next line that it prints, without its end.
    pub(crate) fn line(&mut self) -> String {
        self.until("\n").trim_end_matches('\n').to_owned()
    }

    /// What it prints up to and with this text.
    pub(crate) fn until(&mut self, text: &str) -> String {
        let deadline = now() + GUARD;
        loop {
            let new = &self.seen[self.looked..];
            if let Some(at) = new.windows(text.len()).position(|window| window == text.as_bytes()) {
                let found = String::from_utf8_lossy(&new[..at + text.len()]).into_owned();
                self.looked += at + text.len();
                return found;
            }
            match self.stdout.as_ref().unwrap().recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(chunk) => self.seen.extend_from_slice(&chunk),
                Err(error) => self.give_up(&format!("no {text:?} came: {error}")),
            }
        }
    }

    /// Waits until this text is on its stderr.
    pub(crate) fn until_it_says(&mut self, text: &str) {
        let deadline = now() + GUARD;
        while !String::from_utf8_lossy(&self.complaints).contains(text) {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(chunk) => self.complaints.extend(chunk),
                Err(error) => self.give_up(&format!("it does not say {text:?}: {error}")),
            }
        }
    }

    /// Writes to its input.
    pub(crate) fn say(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        // A program that does not read any more has ended, which the test is about to see.
        let _ = stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush());
    }

    /// Sends it a signal, and nobody else.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Reads its output no further.
    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Ends its input, and waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        self.stdin = None;
        let deadline = now() + GUARD;
        while let Some(stdout) = &self.stdout {
            match stdout.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(line) => self.seen.extend_from_slice(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.give_up("it does not end"),
            }
        }
        loop {
            match self.stderr.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(chunk) => self.complaints.extend(chunk),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.give_up("it does not close its stderr"),
            }
        }
        let code = eventually("the end of the program", || self.child.try_wait().unwrap()).code();
        Ended { code, stdout: std::mem::take(&mut self.seen), stderr: std::mem::take(&mut self.complaints) }
    }

    /// Waits for its end while nobody reads what it prints.
    pub(crate) fn ended_by_itself(&mut self, code: i32) {
        let status = eventually("the end of a program that nobody reads", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(code));
    }

    fn give_up(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        while let Ok(chunk) = self.stderr.recv_timeout(Duration::from_secs(5)) {
            self.complaints.extend(chunk);
        }
        panic!(
            "{why}; stdout: {:?}, stderr: {}",
            self.seen.escape_ascii().to_string(),
            String::from_utf8_lossy(&self.complaints)
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only after a test that failed is there anything to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    pub(crate) fn err(&self) -> &str {
        std::str::from_utf8(&self.stderr).unwrap()
    }

    /// Checks how it ended, and shows all of it if that is wrong.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        let (out, err) = (self.stdout.escape_ascii(), self.stderr.escape_ascii());
        assert_eq!(self.code, Some(code), "stdout: {out}, stderr: {err}");
        self
    }
}

#[expect(clippy::disallowed_methods, reason = "real processes take real time")]
fn now() -> Instant {
    Instant::now()
}

/// Waits for a fact.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + GUARD;
    loop {
        if let Some(fact) = fact() {
            return fact;
        }
        assert!(now() < deadline, "{what}: not within {GUARD:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until this process is gone.
#[track_caller]
pub(crate) fn gone(pid: &str) {
    eventually("a process that should be gone", || is_gone(pid).then_some(()));
}

/// Whether this process is gone now.
pub(crate) fn is_gone(pid: &str) -> bool {
    test_kill_process(Pid::from_raw(pid.trim().parse().unwrap()).unwrap()).is_err()
}
