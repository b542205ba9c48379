// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Makes a machine out of a kernel: mounts, modules.

use std::ffi::CString;
use std::fs::File;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use rustix::fs::Mode;
use rustix::mount::MountFlags;
use userdma_init::job::MODULE;
use userdma_init::lab;

/// How long device nodes may take to appear after a module's init returned.
const NODE_WAIT: Duration = Duration::from_secs(5);

/// Mounts what programs expect.
pub(crate) fn mounts() -> Result<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV;
    for (kind, path, flags, data) in [
        ("proc", "/proc", quiet, c""),
        ("sysfs", "/sys", quiet, c""),
        ("devtmpfs", "/dev", MountFlags::NOSUID, c""),
        ("devpts", "/dev/pts", MountFlags::NOSUID, c"ptmxmode=0666"),
        ("tmpfs", "/dev/shm", quiet, c"mode=1777"),
        ("tmpfs", "/tmp", quiet, c"mode=1777"),
        ("tmpfs", "/run", quiet, c"mode=755"),
        ("debugfs", "/sys/kernel/debug", quiet, c""),
        ("tracefs", "/sys/kernel/tracing", quiet, c""),
        ("cgroup2", "/sys/fs/cgroup", quiet, c""),
        ("hugetlbfs", "/dev/hugepages", quiet, c""),
    ] {
        std::fs::create_dir_all(path).or_else(|error| match path {
            // sysfs has these directories or the kernel lacks the feature.
            _ if path.starts_with("/sys/") => Ok(()),
            _ => Err(error),
        })?;
        let mounted = rustix::mount::mount(kind, path, kind, flags, data);
        match mounted {
            Ok(()) => {}
            Err(_) if path.starts_with("/sys/") || path == "/dev/hugepages" => {}
            Err(error) => bail!("mounting {kind} on {path}: {error}"),
        }
    }
    // Shells and scripts expect these; the kernel does not make them.
    for (name, target) in [
        ("fd", ""),
        ("stdin", "/0"),
        ("stdout", "/1"),
        ("stderr", "/2"),
    ] {
        std::os::unix::fs::symlink(format!("/proc/self/fd{target}"), format!("/dev/{name}"))
            .with_context(|| format!("making /dev/{name}"))?;
    }
    Ok(())
}

/// Loads stock kernel modules, in the order given.
pub(crate) fn load_stock(paths: &[String]) -> Result<()> {
    for path in paths {
        insert(path, "")?;
    }
    Ok(())
}

/// Loads `userdma.ko` and waits for its device nodes.
pub(crate) fn load(parameters: &str, devices: u32) -> Result<()> {
    insert(MODULE, parameters)?;
    for number in 0..devices {
        wait_for(&format!("/dev/userdma{number}"))?;
    }
    Ok(())
}

/// Waits for a device node.
fn wait_for(node: &str) -> Result<()> {
    let deadline = Instant::now() + NODE_WAIT;
    while !Path::new(node).exists() {
        if Instant::now() > deadline {
            bail!("{node} is not there after {NODE_WAIT:?}; the kernel log may say why");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Finds the device of the channel to the laboratory.
pub(crate) fn lab_port() -> Result<String> {
    let ports = Path::new("/sys/class/virtio-ports");
    let entries =
        std::fs::read_dir(ports).with_context(|| format!("reading {}", ports.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim_end() == lab::PORT {
            return Ok(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    bail!("no virtio port is called {}", lab::PORT)
}

fn insert(path: &str, parameters: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening module {path}"))?;
    let arguments = CString::new(parameters).context("module parameters")?;
    match rustix::system::finit_module(&file, &arguments, 0) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => bail!("loading {path} {parameters}: {error} (the kernel log says why)"),
    }
}

/// Makes the console readable by the shell's user only.
pub(crate) fn console_mode(path: &str) -> Result<()> {
    rustix::fs::chmod(path, Mode::RUSR | Mode::WUSR).with_context(|| format!("chmod {path}"))
}
