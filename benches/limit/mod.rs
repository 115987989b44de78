//! The least that any host could do: a blocking loop over a pipe pair with a minimal Python worker, which has no stream,
//! no cancel, no limits and no error but a crash.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

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

pub(crate) struct Limit {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Limit {
    pub(crate) fn start(python: &std::path::Path) -> std::io::Result<Self> {
        let mut child = Command::new(python)
            .args(["-I", "-c", LIMIT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, stdin, stdout })
    }

    pub(crate) fn call(&mut self, code: &str) -> std::io::Result<()> {
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
