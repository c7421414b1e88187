//! A Unix socket that only its owner can open, where another process's may have been left behind.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// A listening socket file; removed when dropped.
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
}

/// Listens at `path`, for the owner of this process only.
///
/// # Errors
/// `AddrInUse` when somebody listens there, `AlreadyExists` when it is not a socket, or what the system says.
pub(super) fn bind(path: &Path) -> io::Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    // Nobody may connect before the mode is set, so it gets its name only then; that also replaces an old one.
    let mut unready = path.as_os_str().to_owned();
    unready.push(format!(".{}", std::process::id()));
    let unready = PathBuf::from(unready);
    let _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready)?;
    let named = fs::set_permissions(&unready, Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&unready, path));
    if let Err(error) = named {
        let _ = fs::remove_file(&unready);
        return Err(error);
    }
    Ok(Socket { listener, path: path.to_owned() })
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
