// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Commands about memory: `alloc` and `register`.

use clap::Args;
use clap::ValueEnum;

use crate::number;

/// Kinds of buffers.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Memory that card and program see alike at all times
    Coherent,
    /// Pages of 2 MiB or 1 GiB: ordinary memory to programs, few segments to
    /// the card
    Huge,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The buffer is freed when the command ends, so this tells whether an allocation
would work, and what it costs. When it does not work, it tells why.

Examples:
  userdma alloc coherent 32MiB
  userdma alloc huge 64MiB --touch  and count the page faults of using it all
  userdma alloc huge 1G --fallback  smaller pages rather than none
  userdma alloc huge 4G --page-size 1GiB   one segment a page (as root)
  userdma alloc huge 1G --hold      keep it until Enter or Ctrl-C")]
pub(crate) struct Alloc {
    /// Kind of buffer
    pub(crate) kind: Kind,

    /// Bytes wanted; rounded up to whole pages
    #[arg(value_parser = number::size)]
    pub(crate) size: u64,

    /// Size of a huge buffer's pages: 2MiB or 1GiB [default: 2MiB]
    #[arg(long, value_name = "SIZE", value_parser = number::size)]
    pub(crate) page_size: Option<u64>,

    /// Allocate on this NUMA node and nowhere else
    #[arg(long, value_name = "N")]
    pub(crate) node: Option<u32>,

    /// Take smaller pages where there are no huge ones
    #[arg(long)]
    pub(crate) fallback: bool,

    /// Fail if the driver would have to copy each transfer, as the card
    /// cannot reach the memory
    #[arg(long)]
    pub(crate) no_bounce: bool,

    /// Map it, touch each page, and show how many page faults that took
    #[arg(long)]
    pub(crate) touch: bool,

    /// Keep it until Enter, the end of standard input, or a signal
    #[arg(long)]
    pub(crate) hold: bool,

    /// Print JSON; sizes are in bytes
    #[arg(long)]
    pub(crate) json: bool,
}

/// Kinds of memory.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Own {
    /// As malloc gives it, in pages of 4 KiB
    #[value(alias = "malloc")]
    Anonymous,
    /// As malloc gives it, in transparent huge pages where there are some
    Thp,
    /// Anonymous, in pages of 2 MiB from the kernel's pool
    Hugetlb,
    /// A memfd in pages of 4 KiB
    Memfd,
    /// A memfd in pages of 2 MiB from the kernel's pool
    MemfdHugetlb,
    /// A memfd in pages of 1 GiB from the kernel's pool
    #[value(name = "1g")]
    Gigantic,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Memory that a program already has is pinned, so that the card reaches it without
a copy. How much a process may pin is RLIMIT_MEMLOCK (ulimit -l); what it has
pinned is VmLck in /proc/PID/status. The larger the pages, the fewer the segments
that the card sees, and the less it costs.

Blocks of random data go from the memory through the card and back, and are
compared. Huge pages that the pool lacks are made, if this user may, and go back
to the system afterwards.

Examples:
  userdma register anonymous 64MiB
  userdma register thp 64MiB --times 20    what it costs, more exactly
  userdma register 1g 1GiB                 one segment a page (as root)
  userdma register thp 64MiB --limit 8MiB  what a user meets whose limit that is")]
pub(crate) struct Register {
    /// Kind of memory
    pub(crate) kind: Own,

    /// Bytes; rounded up to whole pages
    #[arg(value_parser = number::size)]
    pub(crate) size: u64,

    /// Let the card only read it
    #[arg(long)]
    pub(crate) source: bool,

    /// Fail if the driver would have to copy each transfer, as the card
    /// cannot reach the memory
    #[arg(long)]
    pub(crate) no_bounce: bool,

    /// Take only huge pages that are set aside, and make none
    #[arg(long)]
    pub(crate) no_reserve: bool,

    /// Do it with this RLIMIT_MEMLOCK and without CAP_IPC_LOCK, which would
    /// lift it
    #[arg(long, value_name = "SIZE", value_parser = number::size)]
    pub(crate) limit: Option<u64>,

    /// Register and unregister it so often, and show the times
    #[arg(long, value_name = "N", default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: u32,

    /// Print JSON; sizes are in bytes
    #[arg(long)]
    pub(crate) json: bool,
}
