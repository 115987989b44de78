//! Which program is started, and with what around it.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::worker::scratch::Scratch;

/// A file in a folder of the test's own.
struct Files(Scratch);

impl Files {
    fn new() -> Self {
        Self(Scratch::new(&format!("{}-files", tag())).unwrap())
    }

    /// Puts a file there as a package manager does: a new one takes the place of the old.
    fn put(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let (path, aside) = (self.0.path().join(name), self.0.path().join("aside"));
        fs::write(&aside, content).unwrap();
        fs::set_permissions(&aside, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(&aside, &path).unwrap();
        path
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

/// F9, f1: what is wrong is said before anything is started, with the path.
#[tokio::test]
async fn f1_a_program_that_cannot_be_started_is_refused_with_its_path_and_the_reason() {
    let files = Files::new();
    let folder = files.path();
    let data = files.put("data", "no program", 0o644);
    let text = files.put("text", "no program", 0o755);
    let orphan = files.put("orphan", "#!/no/such/interpreter\n", 0o755);
    let cannot = |path: &str, why: &str| format!("worker program `{path}` cannot be executed: {why}");
    for (spec, expected) in [
        (
            WorkerSpec::command("/no/such/worker"),
            "worker program `/no/such/worker` was not found; give its full path, or install it".into(),
        ),
        (
            WorkerSpec::command("no-such-worker").env("PATH", "/usr/bin:/bin"),
            "worker program `no-such-worker` was not found in PATH `/usr/bin:/bin`; give its full path, or install it"
                .into(),
        ),
        (WorkerSpec::command(folder), cannot(folder, "it is a folder")),
        (
            WorkerSpec::command(&data),
            cannot(data.to_str().unwrap(), "it has no execute permission for this user; try `chmod +x`"),
        ),
        (
            WorkerSpec::command("data").env("PATH", folder),
            cannot(data.to_str().unwrap(), "it has no execute permission for this user; try `chmod +x`"),
        ),
        (
            WorkerSpec::command(&text),
            cannot(
                text.to_str().unwrap(),
                "it is neither a binary for this system nor a script that starts with `#!`",
            ),
        ),
        (
            WorkerSpec::command(&orphan),
            cannot(
                orphan.to_str().unwrap(),
                "the interpreter that it names (after `#!`, or as its loader) is not there",
            ),
        ),
        (
            WorkerSpec::command("sh").cwd("/no/such/folder"),
            "failed to enter the working folder for worker program `/bin/sh`".into(),
        ),
    ] {
        let error = refused(spec.clone()).await.to_string();
        assert_eq!(error.replace("/usr/bin/sh", "/bin/sh"), expected, "{spec:?}");
    }
}

/// f69, f75: each start finds the program anew; those that live go on.
#[tokio::test]
async fn f75_a_replaced_program_is_used_by_the_next_worker_and_a_removed_one_is_an_error() {
    let files = Files::new();
    let path = files.put("worker", "#!/bin/sh\necho up; read go; echo old", 0o755);
    let spawner = ProcessSpawner::new(WorkerSpec::command(&path));
    let mut old = soon("spawn", spawner.spawn(&tag())).await.unwrap();
    assert_eq!(line(&mut old).await, "up");
    files.put("worker", "#!/bin/sh\necho up; read go; echo new", 0o755);
    let mut new = soon("spawn", spawner.spawn(&tag())).await.unwrap();
    assert_eq!(line(&mut new).await, "up");
    fs::remove_file(&path).unwrap();
    let error = soon("spawn", spawner.spawn(&tag())).await.unwrap_err();
    assert!(matches!(error, SpawnError::NotFound { .. }), "{error}");
    for (worker, expected) in [(&mut old, "old"), (&mut new, "new")] {
        hang_up(worker);
        assert_eq!(line(worker).await, expected);
    }
}

#[tokio::test]
async fn a_worker_sees_what_is_allowed_of_the_hosts_environment_and_what_it_was_given() {
    let tag = tag();
    let spec = WorkerSpec::command("env").env("TOKEN", "t").env("PATH", "/usr/bin:/bin");
    let mut worker = start_tagged(spec, &tag).await;
    let seen = rest(&mut worker).await;
    let mut names: Vec<_> =
        seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(seen.contains(&format!("OSTLER_TAG={tag}\n")));
    assert!(seen.contains("OSTLER_CODEC=msgpack\nOSTLER_TAG"), "{seen}");
    assert!(seen.contains("OSTLER_TRANSPORT=stdio\nPATH=/usr/bin:/bin\n"), "{seen}");
    names.retain(|name| {
        !["HOME", "LANG", "TZ", "TMPDIR", "VIRTUAL_ENV"].contains(name) && !name.starts_with("LC_")
    });
    assert_eq!(names, ["OSTLER_CODEC", "OSTLER_TAG", "OSTLER_TRANSPORT", "PATH", "TOKEN"]);
}

#[tokio::test]
async fn a_worker_starts_in_a_private_folder_unless_it_is_given_one() {
    let tag = tag();
    let mut worker = start_tagged(sh("pwd; stat -c %a .; read go"), &tag).await;
    assert_eq!(line(&mut worker).await, scratch(&tag).to_str().unwrap());
    assert_eq!(line(&mut worker).await, "700");
    drop(worker);
    eventually("it is removed", || !scratch(&tag).exists()).await;

    let files = Files::new();
    let mut worker = start(sh("pwd; echo kept > kept").cwd(files.path())).await;
    assert_eq!(line(&mut worker).await, files.path());
    soon("exit", worker.exit).await;
    assert!(files.0.path().join("kept").exists());
}

/// Two folders whose names differ in a byte that is no UTF-8.
#[tokio::test]
async fn a_folder_whose_name_is_no_text_is_passed_exactly() {
    use std::os::unix::ffi::OsStrExt;
    let files = Files::new();
    let meant = files.0.path().join(std::ffi::OsStr::from_bytes(b"data-\xff"));
    let other = files.0.path().join("data-\u{fffd}");
    for folder in [&meant, &other] {
        fs::create_dir(folder).unwrap();
    }
    let worker = start(sh("echo kept > kept").cwd(&meant)).await;
    soon("exit", worker.exit).await;
    assert!(meant.join("kept").exists() && !other.join("kept").exists());
}

#[tokio::test]
async fn two_spawners_of_one_process_do_not_know_each_other() {
    let (first, second) =
        (ProcessSpawner::new(sh("echo first; read go")), ProcessSpawner::new(sh("echo second; read go")));
    let (a, b) =
        tokio::join!(soon("spawn", first.spawn(&tag())), async { soon("spawn", second.spawn(&tag())).await });
    let (mut a, mut b) = (a.unwrap(), b.unwrap());
    assert_eq!((line(&mut a).await, line(&mut b).await), ("first".into(), "second".into()));
    drop(a);
    soon("cleared", first.cleared()).await;
    b.control.kill();
    assert_eq!(soon("exit", b.exit).await, Exit::Signal(9));
}

/// A fake of each interpreter that cannot run the worker.
#[tokio::test]
async fn an_interpreter_that_cannot_run_the_worker_is_refused_with_what_it_says() {
    let files = Files::new();
    // First it is asked for the file behind the shim that a script is taken for.
    let fake = |name, answer: &str| {
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *too_old*) {answer};; -V) echo Fake 1.0;; *) printf %s \"$0\";; esac\n"
        );
        files.put(name, &script, 0o755)
    };
    for (path, expected) in [
        (fake("old", r#"printf '{"too_old": "3.8.18"}\n'"#), "expected Python 3.9 or newer, got 3.8.18"),
        (
            fake("broken", "echo no encodings >&2; exit 1"),
            "expected Python 3.9 or newer, got `Fake 1.0`; asked who it is, it ended with exit code 1; its stderr ends \
             with:\nno encodings\n",
        ),
        (
            fake("mute", "exit 0"),
            "expected Python 3.9 or newer, got `Fake 1.0`; asked who it is, it ended with exit code 0 and gave no answer",
        ),
    ] {
        let error = refused(WorkerSpec::python_at(&path)).await;
        assert_eq!(
            error.to_string(),
            format!("interpreter `{}` cannot run the worker: {expected}", path.display())
        );
    }
}
