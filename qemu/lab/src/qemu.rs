// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One QEMU process: its command line, its channels, its end.

use std::fs;
use std::fs::File;
use std::io::BufReader;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use command_fds::CommandFdExt;
use command_fds::FdMapping;

use crate::config::Disk;
use crate::config::Guest;
use crate::exec;

const PROGRAM: &str = "qemu-system-x86_64";

/// How long QEMU may take to obey.
const OBEY: Duration = Duration::from_secs(5);

/// The files of a boot.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// Where disks and logs go.
    pub(crate) directory: &'a Path,
}

/// QEMU, running.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    /// The guest's kernel log (first serial port).
    pub(crate) kernel: Option<UnixStream>,
    /// The guest's results (second serial port).
    pub(crate) results: Option<UnixStream>,
    control: Option<UnixStream>,
}

/// The part of the command line that both kinds of start share.
fn base(guest: &Guest, boot: &Boot<'_>, kernel: &str) -> Result<Command> {
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args(["-accel", "tcg", "-cpu", "max"])
        .args(["-machine", &guest.machine])
        .args(["-smp", &guest.cpus.to_string()])
        .args(["-m", &guest.memory])
        // The edu card tells of bad DMA ranges only here.
        .args(["-d", "guest_errors", "-D"])
        .arg(boot.directory.join("qemu.log"))
        .arg("-kernel")
        .arg(boot.kernel)
        .arg("-initrd")
        .arg(boot.initramfs)
        .args(["-append", &format!("{kernel} {}", guest.kernel)]);
    if let Some(icount) = &guest.icount {
        command.args(["-icount", icount]);
    }
    for device in guest.devices.iter().chain(&guest.cards) {
        command.args(["-device", device]);
    }
    for (number, disk) in guest.disks.iter().enumerate() {
        let file = boot.directory.join(format!("disk{number}.raw"));
        make_disk(disk, &file)?;
        command
            .arg("-drive")
            .arg(format!(
                "if=none,id=disk{number},format=raw,cache=unsafe,file={}",
                file.display()
            ))
            .args([
                "-device",
                &format!("virtio-blk-pci,drive=disk{number},serial={}", disk.serial),
            ]);
    }
    Ok(command)
}

fn make_disk(disk: &Disk, file: &Path) -> Result<()> {
    let _ = fs::remove_file(file);
    exec::output(Command::new("truncate").args(["-s", &disk.size]).arg(file))?;
    if disk.ext4 {
        // Without journal and checksums: fewer modules, and nothing to recover.
        let features = [
            "-q",
            "-F",
            "-t",
            "ext4",
            "-O",
            "^has_journal,^metadata_csum,^64bit",
        ];
        exec::output(Command::new("mke2fs").args(features).arg(file))?;
    }
    Ok(())
}

/// Starts a guest for tests, its channels in our hands.
pub(crate) fn start(guest: &Guest, boot: &Boot<'_>) -> Result<Machine> {
    let kernel = "console=ttyS0,115200 loglevel=7 panic=-1 oops=panic";
    let mut command = base(guest, boot, kernel)?;
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for (child_fd, name) in [(3, "kernel"), (4, "results"), (5, "control")] {
        let (our, their) = UnixStream::pair().context("making a channel to QEMU")?;
        command
            .arg("-chardev")
            .arg(format!("socket,id={name},fd={child_fd}"));
        ours.push(our);
        theirs.push(FdMapping {
            parent_fd: OwnedFd::from(their),
            child_fd,
        });
    }
    command
        .args(["-serial", "chardev:kernel", "-serial", "chardev:results"])
        .args(["-qmp", "chardev:control"]);
    let errors = File::create(boot.directory.join("qemu.stderr"))?;
    command
        .stdin(Stdio::null())
        .stdout(errors.try_clone()?)
        .stderr(errors)
        .fd_mappings(theirs)
        .context("handing channels to QEMU")?;
    let child = command
        .spawn()
        .with_context(|| format!("starting {PROGRAM}"))?;
    // The command holds QEMU's ends of the channels: without this drop their
    // end of file would never come.
    drop(command);
    let mut ours = ours.into_iter();
    Ok(Machine {
        child,
        kernel: ours.next(),
        results: ours.next(),
        control: ours.next(),
    })
}

/// Runs a guest with the terminal as its console, until it ends.
pub(crate) fn interact(guest: &Guest, boot: &Boot<'_>) -> Result<()> {
    // Only what the person asked for on the screen: warnings and worse.
    let mut command = base(guest, boot, "console=ttyS0,115200 loglevel=4 quiet")?;
    let log = boot.directory.join("results.log");
    command
        .args(["-serial", "mon:stdio", "-serial"])
        .arg(format!("file:{}", log.display()));
    let status = command
        .status()
        .with_context(|| format!("starting {PROGRAM}"))?;
    if !status.success() {
        bail!("QEMU ended with {status}");
    }
    Ok(())
}

impl Machine {
    /// Waits for QEMU to end by itself.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if self.child.try_wait()?.is_some() {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks over QMP what the machine is doing, then ends it.
    pub(crate) fn end(&mut self) -> Result<String> {
        let state = self
            .ask_and_quit()
            .unwrap_or_else(|error| format!("QMP: {error:#}"));
        if !self.wait(OBEY)? {
            self.child.kill().context("killing QEMU")?;
            self.child.wait()?;
        }
        Ok(state)
    }

    fn ask_and_quit(&mut self) -> Result<String> {
        let stream = self.control.take().context("already used")?;
        stream.set_read_timeout(Some(OBEY))?;
        stream.set_write_timeout(Some(OBEY))?;
        let stream = qapi::Stream::new(BufReader::new(stream.try_clone()?), stream);
        let mut qmp = qapi::Qmp::new(stream);
        qmp.handshake().context("greeting QEMU")?;
        let status = qmp
            .execute(&qapi::qmp::query_status {})
            .context("query-status")?;
        qmp.execute(&qapi::qmp::quit {}).context("quit")?;
        Ok(format!("the machine was {:?}", status.status))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Ended already in the ordinary case; an error changes nothing here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What QEMU printed itself.
pub(crate) fn own_words(directory: &Path) -> Vec<String> {
    let mut text = String::new();
    if let Ok(mut file) = File::open(directory.join("qemu.stderr")) {
        // What cannot be read cannot be shown.
        let _ = file.read_to_string(&mut text);
    }
    text.lines().map(str::to_owned).collect()
}
