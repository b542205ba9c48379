// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A transfer that is awaited.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use super::Queue;
use crate::Error;
use crate::Result;
use crate::Transfer;

/// The future of a transfer that is under way: gives the bytes moved, or why it was
/// refused or failed, as [`Completion::result`](super::Completion::result).
/// [`Queue::run`] makes it.
///
/// To drop it withdraws the transfer, unless the card was given it already. To forget it
/// ([`std::mem::forget`]) costs the thread of the queue's, and nothing else.
///
/// # Panics
///
/// If it is polled again after it was ready.
///
/// # Examples
///
/// ```no_run
/// # use userdma::{uring::Queue, ErrorKind, Transfer};
/// # async fn example(queue: Queue, buffer: userdma::Buffer) {
/// let running = queue.run(Transfer::from_card(&buffer, 0..4096, 0));
/// match running.await {
///     Ok(bytes) => println!("{bytes} bytes"),
///     Err(error) if error.kind() == ErrorKind::Gone => println!("unplugged"),
///     Err(error) => eprintln!("{}", error.report()),
/// }
/// # }
/// ```
#[must_use = "to drop it withdraws the transfer"]
pub struct Running {
    queue: Queue,
    id: u64,
    channel: u16,
    /// The program's own name for the transfer.
    user_data: u64,
    ended: bool,
}

impl Running {
    pub(super) fn new(queue: Queue, id: u64, transfer: &Transfer) -> Self {
        Self {
            queue,
            id,
            channel: transfer.on(),
            user_data: transfer.name(),
            ended: false,
        }
    }

    /// Asks for the transfer to be withdrawn. It still has to be awaited, and
    /// ends with [`ErrorKind::Canceled`](crate::ErrorKind::Canceled), or as if
    /// nobody had asked, if the card was given it already.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use userdma::{uring::Queue, Transfer};
    /// # async fn example(queue: Queue, buffer: userdma::Buffer) {
    /// let running = queue.run(Transfer::from_card(&buffer, 0..4096, 0));
    /// running.cancel();
    /// println!("{:?}", running.await);
    /// # }
    /// ```
    pub fn cancel(&self) {
        self.queue.owner.cancel(self.id, self.channel);
    }
}

impl Future for Running {
    type Output = Result<u64>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        assert!(!self.ended, "polled after it was ready");
        let Some(completion) = self.queue.owner.poll(self.id, context.waker()) else {
            return Poll::Pending;
        };
        self.ended = true;
        let mut result = completion.result();
        if let Err(Error::Transfer { user_data, .. }) = &mut result {
            *user_data = self.user_data;
        }
        Poll::Ready(result)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.queue.owner.forget(self.id, self.channel);
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("user_data", &self.user_data)
            .field("channel", &self.channel)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
