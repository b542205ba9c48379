// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One QEMU process: its command line, its channels, its end.

pub(crate) mod cards;
mod control;
mod requests;

use std::fs;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use command_fds::CommandFdExt;
use command_fds::FdMapping;

use rustix::pipe::PipeFlags;
use userdma_init::lab;

use crate::config::Disk;
use crate::config::Guest;
use crate::exec;
use crate::kernel::Flavour;
use crate::kernel::Kernel;
use crate::models::Models;
use crate::qemu::control::Control;
use crate::qemu::control::OBEY;
use crate::qemu::requests::Desk;

const PROGRAM: &str = "qemu-system-x86_64";

/// What makes the debug kernel look closer, and stop at the first finding: what
/// comes after one is not to be trusted. A busy host can keep a processor of the
/// guest waiting for long; that is no stall of the kernel's.
///
/// `no5lvl`: while the kernel identifies its first processor it forgets for a
/// moment that page tables have five levels, and KASAN then takes what a timer
/// interrupt touches for a wild access.
const DEBUG: [&str; 8] = [
    "no5lvl",
    "panic_on_warn=1",
    "page_poison=1",
    "iommu.debug_pagealloc=1",
    "kunit.enable=1",
    "kunit.autorun=1",
    "watchdog_thresh=60",
    "rcupdate.rcu_cpu_stall_timeout=120",
];

/// Room in a pipe for what a guest prints while we are not looking.
const PIPE: usize = 1 << 20;

/// The files of a boot.
#[derive(Debug)]
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) initramfs: &'a Path,
    /// Where disks and logs go.
    pub(crate) directory: &'a Path,
    /// The models among the guest's cards, which listen already.
    pub(crate) models: &'a Arc<Models>,
}

/// QEMU, running.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    /// The guest's kernel log (first serial port).
    pub(crate) kernel: Option<File>,
    /// The guest's results (second serial port).
    pub(crate) results: Option<File>,
    control: Arc<Mutex<Control>>,
}

/// The kernel's command line; the guest's own words come last and win.
fn kernel_line(guest: &Guest, flavour: Flavour, console: &str) -> String {
    // On a busy host the kernel may find that its timer does not tick.
    let mut words = vec![console, "no_timer_check"];
    if flavour == Flavour::Debug {
        words.extend(DEBUG);
        // ACPI's way to an interrupt takes a second there, at each probe.
        if !guest.acpi && !guest.hotplug {
            words.push("acpi=noirq");
        }
    }
    words.push(&guest.kernel);
    words.join(" ")
}

/// The part of the command line that both kinds of start share.
fn base(guest: &Guest, boot: &Boot<'_>, console: &str) -> Result<Command> {
    let mut command = Command::new(PROGRAM);
    command
        .args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
        ])
        .args(["-accel", "tcg", "-cpu", &guest.processor])
        .args(cards::machine(guest))
        .args(["-smp", &guest.cpus.to_string()])
        .args(["-m", &guest.memory])
        // The edu card tells of bad DMA ranges only here.
        .args(["-d", "guest_errors", "-D"])
        .arg(boot.directory.join("qemu.log"))
        .arg("-kernel")
        .arg(&boot.kernel.image)
        .arg("-initrd")
        .arg(boot.initramfs)
        .args(["-append", &kernel_line(guest, boot.kernel.flavour, console)]);
    if let Some(icount) = &guest.icount {
        command.args(["-icount", icount]);
    }
    command.args(&guest.arguments);
    let cards = cards::arguments(guest, boot.models)?;
    for device in guest.devices.iter().chain(&cards) {
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

/// QEMU's ends of its channels, by the number that each has there.
#[derive(Default)]
struct Fds(Vec<FdMapping>);

impl Fds {
    fn give(&mut self, parent_fd: OwnedFd) -> Result<i32> {
        let child_fd = 3 + i32::try_from(self.0.len())?;
        self.0.push(FdMapping {
            parent_fd,
            child_fd,
        });
        Ok(child_fd)
    }

    /// A channel from QEMU only: a pipe. QEMU drops what finds no room, and it
    /// writes single bytes, of which a socket has room for a few hundred.
    fn listen(&mut self, command: &mut Command, name: &str) -> Result<File> {
        let (our, their) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::pipe::fcntl_setpipe_size(&our, PIPE).context("enlarging a pipe")?;
        let fd = self.give(their)?;
        command
            .arg("-add-fd")
            .arg(format!("fd={fd},set={fd}"))
            .arg("-chardev")
            .arg(format!("file,id={name},path=/dev/fdset/{fd},append=on"));
        Ok(File::from(our))
    }

    /// A channel both ways: a socket.
    fn talk(&mut self, command: &mut Command, name: &str) -> Result<UnixStream> {
        let (our, their) = UnixStream::pair().context("making a channel to QEMU")?;
        let fd = self.give(OwnedFd::from(their))?;
        command
            .arg("-chardev")
            .arg(format!("socket,id={name},fd={fd}"));
        Ok(our)
    }
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

/// Adds QEMU's own channel, and the guest's to the laboratory if it has one.
fn channels(
    guest: &Guest,
    boot: &Boot<'_>,
    command: &mut Command,
    fds: &mut Fds,
) -> Result<Arc<Mutex<Control>>> {
    let control = fds.talk(command, "control")?;
    let control = Arc::new(Mutex::new(Control::new(control)));
    command.args(["-qmp", "chardev:control"]);
    if guest.asks() {
        let requests = fds.talk(command, "lab")?;
        command
            .args(["-device", "virtio-serial-pci", "-device"])
            .arg(format!("virtserialport,chardev=lab,name={}", lab::PORT));
        Desk::of(guest, Arc::clone(&control), Arc::clone(boot.models)).obey(requests);
    }
    Ok(control)
}

/// Starts a guest for tests, its channels in our hands.
pub(crate) fn start(guest: &Guest, boot: &Boot<'_>) -> Result<Machine> {
    let console = "console=ttyS0,115200 loglevel=7 panic=-1 oops=panic";
    let mut command = base(guest, boot, console)?;
    let mut fds = Fds::default();
    let kernel = fds.listen(&mut command, "kernel")?;
    let results = fds.listen(&mut command, "results")?;
    command.args(["-serial", "chardev:kernel", "-serial", "chardev:results"]);
    let control = channels(guest, boot, &mut command, &mut fds)?;
    let errors = File::create(boot.directory.join("qemu.stderr"))?;
    command
        .stdin(Stdio::null())
        .stdout(errors.try_clone()?)
        .stderr(errors)
        .fd_mappings(fds.0)
        .context("handing channels to QEMU")?;
    let child = command
        .spawn()
        .with_context(|| format!("starting {PROGRAM}"))?;
    // The command holds QEMU's ends of the channels: without this drop their
    // end of file would never come.
    drop(command);
    Ok(Machine {
        child,
        kernel: Some(kernel),
        results: Some(results),
        control,
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
    let mut fds = Fds::default();
    let _control = channels(guest, boot, &mut command, &mut fds)?;
    let status = command
        .fd_mappings(fds.0)
        .context("handing channels to QEMU")?
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

    /// Writes what the processors are at into `directory`, for whoever has to find out
    /// why the guest hangs, and says it in one line; `None` if QEMU does not answer.
    pub(crate) fn processors(&mut self, directory: &Path) -> Option<String> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let text = control.processors().ok()?;
        let file = directory.join("processors.log");
        // Without it the line below is all that is left.
        let _ = fs::write(file, &text);
        Some(control::at(&text))
    }

    /// Asks over QMP what the machine is doing, then ends it.
    pub(crate) fn end(&mut self) -> Result<String> {
        let quit = self
            .control
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .quit();
        let state = quit.unwrap_or_else(|error| format!("QMP: {error:#}"));
        if !self.wait(OBEY)? {
            self.child.kill().context("killing QEMU")?;
            self.child.wait()?;
        }
        Ok(state)
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
