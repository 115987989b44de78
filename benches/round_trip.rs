//! The round trip of one small execution, beside the least that any host could do: a blocking loop over a pipe pair
//! with a minimal Python worker, which has no stream, no cancel, no limits and no error but a crash.
//!
//! Both run in the same process and take turns, round by round; what counts is the ratio. Pin it to one core to leave
//! the cost of waking another one out: `taskset -c 0 cargo bench --bench round_trip`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::disallowed_methods,
    reason = "the limit is a process of its own, and a wall clock measures both"
)]

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use ostler::{Request, Runtime, Session, Value, WorkerSpec};

const ROUNDS: usize = 8;
const CALLS: usize = 1_000;
const CODES: [&str; 3] = ["1+1", "x = 1", "print('hi')"];

/// Reads a length and a MessagePack map with one entry, the code; evaluates or executes it; writes a map back.
const LIMIT: &str = r#"
import os, sys
space = {}
read, write = os.read, os.write
sys.stdout = open(1, "w", closefd=False)
out = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
while True:
    head = read(0, 4)
    if not head: break
    size = int.from_bytes(head, "big")
    data = read(0, size)
    while len(data) < size: data += read(0, size - len(data))
    code = data[8:].decode()
    try: value = eval(compile(code, "<limit>", "eval"), space)
    except SyntaxError: value = exec(compile(code, "<limit>", "exec"), space)
    sys.stdout.flush()
    text = repr(value).encode()
    body = b"\x81\xa5value\xd9" + bytes([len(text)]) + text
    write(out, len(body).to_bytes(4, "big") + body)
"#;

struct Limit {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Limit {
    fn start(python: &std::path::Path) -> std::io::Result<Self> {
        let mut child = Command::new(python)
            .args(["-I", "-c", LIMIT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, stdin, stdout })
    }

    fn call(&mut self, code: &str) -> std::io::Result<()> {
        let mut frame =
            vec![0, 0, 0, 0, 0x81, 0xA4, b'c', b'o', b'd', b'e', 0xD9, u8::try_from(code.len()).unwrap_or(0)];
        frame.extend_from_slice(code.as_bytes());
        let len = u32::try_from(frame.len() - 4).unwrap_or(0);
        frame[..4].copy_from_slice(&len.to_be_bytes());
        self.stdin.write_all(&frame)?;
        let mut head = [0; 4];
        self.stdout.read_exact(&mut head)?;
        let mut body = vec![0; u32::from_be_bytes(head) as usize];
        self.stdout.read_exact(&mut body)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn ours(session: &Session, code: &str) -> Result<(), Box<dyn std::error::Error>> {
    let outcome = session.execute(Request::python(code)).await?.outcome().await;
    if outcome.is_completed() { Ok(()) } else { Err(outcome.to_string().into()) }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let python = ostler::python_info("python3")?.executable;
    let runtime =
        Runtime::builder(WorkerSpec::python_at(&python)).min_idle(0).max_sessions(1).start().await?;
    let session = runtime.session().await?;
    assert_eq!(session.run("1+1").await?.value(), Some(&Value::from(2)));
    let mut limit = Limit::start(&python)?;
    println!("{ROUNDS} rounds of {CALLS} calls each, in turns; microseconds");
    for code in CODES {
        let (mut bare, mut full) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            for (host, times) in [(0, &mut bare), (1, &mut full)] {
                for _ in 0..CALLS {
                    let start = Instant::now();
                    if host == 0 {
                        limit.call(code)?;
                    } else {
                        ours(&session, code).await?;
                    }
                    // The first round warms both up.
                    if round > 0 {
                        times.push(start.elapsed());
                    }
                }
            }
        }
        bare.sort();
        full.sort();
        let [l50, l99, o50, o99] =
            [percentile(&bare, 50), percentile(&bare, 99), percentile(&full, 50), percentile(&full, 99)];
        println!(
            "{code:12} limit p50 {l50:6.1} p99 {l99:6.1}   ostler p50 {o50:6.1} p99 {o99:6.1}   ratio p50 {:.2} p99 {:.2}",
            o50 / l50,
            o99 / l99
        );
    }
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
