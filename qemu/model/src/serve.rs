// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A model's process, from its start to its end.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::Arc;
use std::sync::Mutex;

use clap::Args;
use rustix::event::poll;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::io::Errno;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use thiserror::Error;
use vfio_user::Server;

use crate::backend;
use crate::backend::Backend;
use crate::backend::Session;
use crate::control;
use crate::death::Death;
use crate::host::Host;
use crate::identity::Identity;
use crate::identity::IdentityError;
use crate::lock;
use crate::log;
use crate::report::Report;
use crate::Model;

/// The arguments of every model; flatten them into a command of clap's.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// UNIX socket for QEMU; the control socket is PATH with ".control" appended.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
}

impl Options {
    fn control(&self) -> PathBuf {
        let mut path: OsString = self.socket.clone().into();
        path.push(".control");
        path.into()
    }
}

/// Why a model does not serve.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The card cannot be what it says.
    #[error("the card's identity: {0}")]
    Identity(#[from] IdentityError),
    /// There is something else where a socket should be.
    #[error("{0} is there, and is no socket")]
    NoSocket(PathBuf),
    /// A socket cannot be made.
    #[error("the socket {0}: {1}")]
    Socket(PathBuf, io::Error),
    /// The model did not come to be.
    #[error("making the card: {0:#}")]
    Model(anyhow::Error),
    /// The system refuses something.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// Makes a card.
type Make<M> = dyn Fn(Host) -> anyhow::Result<M> + Send + Sync;

/// The cards of a process: one at a time.
pub(crate) struct Sessions<M> {
    current: Mutex<Arc<Session<M>>>,
    report: Report,
    identity: Identity,
    make: Box<Make<M>>,
    death: Death,
}

impl<M: Model> Sessions<M> {
    fn new(socket: PathBuf, make: Box<Make<M>>) -> Result<Self, ServeError> {
        let identity = M::identity();
        identity.check()?;
        let report = Report::default();
        let first = Session::new(&identity, &report, &make).map_err(ServeError::Model)?;
        Ok(Self {
            current: Mutex::new(Arc::new(first)),
            report,
            identity,
            make,
            death: Death::new(socket),
        })
    }

    /// The card that has the client; or that had the last one, if there is none.
    pub(crate) fn current(&self) -> Arc<Session<M>> {
        lock(&self.current).clone()
    }

    pub(crate) fn report(&self) -> &Report {
        &self.report
    }

    pub(crate) fn death(&self) -> &Death {
        &self.death
    }

    /// A card for a client that has come: not one that another client had.
    fn fresh(&self) -> Result<Arc<Session<M>>, ServeError> {
        if self.current().use_it() {
            let next = Session::new(&self.identity, &self.report, &self.make);
            let next = next.map_err(ServeError::Model)?;
            next.use_it();
            let next = Arc::new(next);
            let last = std::mem::replace(&mut *lock(&self.current), next);
            // Ends its threads, without the lock.
            drop(last);
        }
        Ok(self.current())
    }
}

/// Runs a model: makes both sockets, prints the line `ready` on standard output when
/// they listen, and serves one client after another, each with a card of its own.
/// Returns at SIGTERM, SIGINT, or the end of standard input; the process should end
/// then.
///
/// `make` makes a card to which power was just applied: one before the first client
/// comes, and one for each further client, when it has come. The card before is
/// dropped then; until then its control socket can be asked what it has counted.
///
/// From here on a panic of any thread ends the process: a card of which a part is
/// dead would only be a riddle.
///
/// # Errors
///
/// It could not start, or cannot go on.
pub fn serve<M: Model>(
    options: &Options,
    make: impl Fn(Host) -> anyhow::Result<M> + Send + Sync + 'static,
) -> Result<(), ServeError> {
    end_with_panics();
    let sessions = Arc::new(Sessions::new(options.socket.clone(), Box::new(make))?);
    let control = Socket::bind(options.control())?;
    let socket = Socket::bind(options.socket.clone())?;
    let (end, ended) = mpsc::channel();
    end_with_signals(end.clone())?;
    end_with_input(end.clone());

    let asked = sessions.clone();
    let listener = control.listen()?;
    std::thread::spawn(move || control::listen(&listener, &asked));
    let served = sessions.clone();
    let listener = socket.listen()?;
    std::thread::spawn(move || end.send(serve_clients(&listener, &served)));

    let mut output = io::stdout();
    let said = writeln!(output, "ready").and_then(|()| output.flush());
    said.map_err(|error| ServeError::System("standard output", error))?;
    let result = ended.recv().unwrap_or(Ok(()));
    // No copy is cut in the middle.
    sessions.current().end();
    result
}

fn end_with_panics() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

fn end_with_signals(end: mpsc::Sender<Result<(), ServeError>>) -> Result<(), ServeError> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| ServeError::System("signals", error))?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = end.send(Ok(()));
        }
    });
    Ok(())
}

/// Whoever started the model holds the other end; it goes when he does.
fn end_with_input(end: mpsc::Sender<Result<(), ServeError>>) {
    std::thread::spawn(move || {
        let mut byte = [0];
        while let Ok(1..) = io::stdin().lock().read(&mut byte) {}
        let _ = end.send(Ok(()));
    });
}

fn serve_clients<M: Model>(
    listener: &UnixListener,
    sessions: &Sessions<M>,
) -> Result<(), ServeError> {
    let system = |error| ServeError::System("waiting for a client", error);
    let server = Server::from_owned_fd(
        listener.try_clone().map_err(system)?.into(),
        true,
        backend::interrupts(&sessions.identity),
        backend::regions(&sessions.identity),
    );
    loop {
        // Power is applied when a client has come, not before: what the last one
        // left can be asked for until then.
        wait_for_client(listener).map_err(system)?;
        let session = sessions.fresh()?;
        if let Err(error) = server.run(&mut Backend(session.clone())) {
            log(format_args!("client: {error}"));
        }
        sessions.death().is_due();
        session.end();
    }
}

fn wait_for_client(listener: &UnixListener) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(listener, PollFlags::IN)], None) {
            Err(Errno::INTR) => {}
            result => return Ok(result.map(drop)?),
        }
    }
}

/// A socket that is unlinked in the end.
#[derive(Debug)]
struct Socket {
    path: PathBuf,
    listener: UnixListener,
}

impl Socket {
    fn bind(path: PathBuf) -> Result<Self, ServeError> {
        unlink_stale(&path)?;
        match UnixListener::bind(&path) {
            Ok(listener) => Ok(Self { path, listener }),
            Err(error) => Err(ServeError::Socket(path, error)),
        }
    }

    fn listen(&self) -> Result<UnixListener, ServeError> {
        let listener = self.listener.try_clone();
        listener.map_err(|error| ServeError::Socket(self.path.clone(), error))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Somebody else may have taken it away.
        let _ = fs::remove_file(&self.path);
    }
}

/// A process that died left its sockets; anything else is not ours to remove.
fn unlink_stale(path: &Path) -> Result<(), ServeError> {
    let failed = |error| ServeError::Socket(path.to_owned(), error);
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(failed),
        Ok(_) => Err(ServeError::NoSocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_is_removed() {
        let directory = std::env::temp_dir().join(format!("userdma-model-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("socket");
        fs::write(&path, "precious").expect("a file");
        assert!(matches!(
            Socket::bind(path.clone()),
            Err(ServeError::NoSocket(_))
        ));
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
        fs::remove_file(&path).expect("unlink");
        let first = Socket::bind(path.clone()).expect("a socket");
        // As if that one's process had been killed.
        std::mem::forget(first);
        let second = Socket::bind(path.clone()).expect("a second");
        drop(second);
        assert!(!path.exists());
        fs::remove_dir(&directory).expect("empty");
    }
}
