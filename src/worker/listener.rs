//! A Unix socket that only this user can reach.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
    sockopt::set_socket_send_buffer_size,
};

/// What [`private`] gives, under a name that says nothing of the operating system.
pub(crate) type StdListener = UnixListener;

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// The name of a socket in the file system. Dropping it removes the name, if it is still its own.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    /// The device and the number of the file.
    file: (u64, u64),
}

impl Drop for Name {
    fn drop(&mut self) {
        if file(&self.path).is_ok_and(|now| now == self.file) {
            // Somebody who removed it just now did the same.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, for this user alone (mode 0600 before anybody can connect). A socket that nobody listens at any
/// more is replaced in one step; anything else that is there is left alone.
pub(crate) fn private(path: &Path) -> io::Result<(UnixListener, Name)> {
    refuse_what_is_alive(path)?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    // Left by a process of the same id, which is no more.
    let _ = fs::remove_file(&beside);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddrUnix::new(&beside)?)?;
    let named = fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))
        .and_then(|()| listen(&socket, BACKLOG).map_err(io::Error::from))
        .and_then(|()| Ok(Name { path: path.to_owned(), file: file(&beside)? }))
        .and_then(|name| fs::rename(&beside, path).map(|()| name));
    if named.is_err() {
        let _ = fs::remove_file(&beside);
    }
    Ok((UnixListener::from(socket), named?))
}

/// Has a write to this socket wait when so many bytes, as the kernel counts them, were not read.
pub(crate) fn keep_little_unread(socket: impl AsFd, bytes: usize) -> io::Result<()> {
    Ok(set_socket_send_buffer_size(socket, bytes)?)
}

fn refuse_what_is_alive(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file that is no socket; remove it, or give another path",
        )),
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Err(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another program listens there; give another path",
            )),
            Err(_) => Ok(()),
        },
    }
}

fn file(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_nothing_else_is() {
        let folder = std::env::temp_dir().join(format!("ostler-listener-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, name) = private(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(private(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((listener, name));
        assert!(!path.exists());
        fs::write(&path, "text").unwrap();
        assert_eq!(private(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(&folder).unwrap();
    }
}
