// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sudden death, on request. The process is killed in the middle of whatever its
//! card does, and tidies nothing up, but for one thing: what the client has asked
//! is read and answered first. A socket that goes with something unread in it gives
//! its other end ECONNRESET instead of an end of file, and QEMU 11.1 aborts at that
//! (`error_setv`, because it sets the error of the read once more).

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::getpid;
use rustix::process::kill_process;
use rustix::process::pidfd_getfd;
use rustix::process::pidfd_open;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use rustix::process::Signal;

/// How long the answers may take before nobody waits for them any more.
const PATIENCE: Duration = Duration::from_secs(8);

/// Of a process that serves at a socket.
#[derive(Debug)]
pub(crate) struct Death {
    socket: PathBuf,
    comes: AtomicBool,
}

impl Death {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            comes: AtomicBool::new(false),
        }
    }

    /// Ends the process: at once if there is no client, else when the thread that
    /// serves it has found the end of its requests ([`is_due`](Self::is_due)).
    ///
    /// # Errors
    ///
    /// The system refuses something. The process lives on.
    pub(crate) fn come(&self) -> io::Result<()> {
        // First: the thread that serves is quick.
        self.comes.store(true, Ordering::SeqCst);
        let failed = self.ask().and_then(|()| kill()).err();
        self.comes.store(false, Ordering::SeqCst);
        failed.map_or(Ok(()), Err)
    }

    /// Has the client's requests end, and waits for the process to do so, too.
    fn ask(&self) -> io::Result<()> {
        if let Some(client) = connection(&self.socket)? {
            // What is there can be read yet; more does not come.
            client.shutdown(Shutdown::Read)?;
            sleep(PATIENCE);
        }
        Ok(())
    }

    /// To be asked when a client has ended: the process does if it is to.
    pub(crate) fn is_due(&self) {
        if self.comes.load(Ordering::SeqCst) {
            let _ = kill();
        }
    }
}

/// Another name of the open connection at a socket. The server of the protocol
/// keeps it to itself, hence the search.
fn connection(path: &Path) -> io::Result<Option<UnixStream>> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(Ok(number)) = name.to_str().map(str::parse) else {
            continue;
        };
        let found = match pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) {
            Ok(found) => found,
            // It has been closed meanwhile.
            Err(Errno::BADF) => continue,
            Err(error) => return Err(error.into()),
        };
        // Of anything but a UNIX socket there is no such address, and of one that
        // listens there is no peer.
        let stream = UnixStream::from(found);
        let here = stream.local_addr();
        let ours = here.is_ok_and(|address| address.as_pathname() == Some(path));
        if ours && stream.peer_addr().is_ok() {
            return Ok(Some(stream));
        }
    }
    Ok(None)
}

fn kill() -> io::Result<()> {
    Ok(kill_process(getpid(), Signal::KILL)?)
}
