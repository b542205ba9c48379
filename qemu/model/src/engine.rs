// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A thread that does one job after another.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread::JoinHandle;

use crate::lock;

/// A thread that does one job at a time, as a simple DMA engine does: registers
/// answer at once while it works. Dropping it stops the job, and waits for that.
pub struct Engine<J> {
    shared: Arc<Shared<J>>,
    thread: Option<JoinHandle<()>>,
}

/// Whether a job is wanted any more. A job looks at this often, at the latest after
/// a millisecond or so.
#[derive(Debug, Default)]
pub struct Stop(AtomicBool);

impl Stop {
    /// The job is to end where it is.
    pub fn is_asked_for(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Shared<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
    stop: Stop,
}

struct State<J> {
    /// Waits for the thread.
    job: Option<J>,
    busy: bool,
    /// The job has ended, and `ended` is being called.
    ending: bool,
    /// The thread is to end.
    over: bool,
}

impl<J> fmt::Debug for Engine<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl<J: Send + 'static> Engine<J> {
    /// Starts the thread. `work` does a job. When it is done, and the engine not
    /// busy any more, `ended` is called, which may raise an interrupt; not for a job
    /// that was stopped.
    pub fn new(
        work: impl Fn(J, &Stop) + Send + 'static,
        ended: impl Fn() + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                job: None,
                busy: false,
                ending: false,
                over: false,
            }),
            changed: Condvar::new(),
            stop: Stop::default(),
        });
        let engine = shared.clone();
        let thread = std::thread::spawn(move || engine.run(&work, &ended));
        Self {
            shared,
            thread: Some(thread),
        }
    }

    /// Gives it a job. False, and nothing happens, while it is busy.
    pub fn start(&self, job: J) -> bool {
        let mut state = lock(&self.shared.state);
        if state.is_busy() {
            return false;
        }
        self.shared.stop.0.store(false, Ordering::Release);
        state.job = Some(job);
        self.shared.changed.notify_all();
        true
    }

    /// Whether it has a job.
    pub fn is_busy(&self) -> bool {
        lock(&self.shared.state).is_busy()
    }
}

impl<J> Engine<J> {
    /// Stops the job, if there is one: soon it is not busy any more.
    pub fn stop(&self) {
        let mut state = lock(&self.shared.state);
        state.job = None;
        if state.busy {
            self.shared.stop.0.store(true, Ordering::Release);
        }
    }

    /// Waits until it has nothing to do.
    pub fn wait(&self) {
        let mut state = lock(&self.shared.state);
        while state.is_busy() || state.ending {
            state = self.shared.wait(state);
        }
    }
}

impl<J> State<J> {
    fn is_busy(&self) -> bool {
        self.busy || self.job.is_some()
    }
}

impl<J> Shared<J> {
    fn wait<'a>(&self, state: MutexGuard<'a, State<J>>) -> MutexGuard<'a, State<J>> {
        let state = self.changed.wait(state);
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, work: &dyn Fn(J, &Stop), ended: &dyn Fn()) {
        let mut state = lock(&self.state);
        while !state.over {
            let Some(job) = state.job.take() else {
                state = self.wait(state);
                continue;
            };
            state.busy = true;
            drop(state);
            work(job, &self.stop);
            state = lock(&self.state);
            state.busy = false;
            if !self.stop.is_asked_for() {
                state.ending = true;
                drop(state);
                ended();
                state = lock(&self.state);
                state.ending = false;
            }
            self.changed.notify_all();
        }
    }
}

impl<J> Drop for Engine<J> {
    fn drop(&mut self) {
        self.stop();
        lock(&self.shared.state).over = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of it has ended the process.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    #[test]
    fn jobs_end_one_after_another() {
        let (say, said) = mpsc::channel();
        let say_end = say.clone();
        let engine = Engine::new(
            move |job: u32, _: &Stop| say.send(job).unwrap_or(()),
            move || say_end.send(0).unwrap_or(()),
        );
        for job in 1..=100 {
            assert!(engine.start(job));
            assert_eq!(said.recv_timeout(LIMIT), Ok(job));
            assert_eq!(said.recv_timeout(LIMIT), Ok(0));
            assert!(!engine.is_busy());
        }
    }

    #[test]
    fn a_job_that_is_stopped_ends_without_a_word() {
        let (say, said) = mpsc::channel();
        let say_end = say.clone();
        let work = move |job: u32, stop: &Stop| {
            let _ = say.send(job);
            while job == 1 && !stop.is_asked_for() {
                std::thread::yield_now();
            }
        };
        let engine = Engine::new(work, move || say_end.send(0).unwrap_or(()));
        assert!(engine.start(1));
        assert_eq!(said.recv_timeout(LIMIT), Ok(1));
        assert!(engine.is_busy());
        assert!(!engine.start(2));
        engine.stop();
        engine.wait();
        assert!(!engine.is_busy());
        assert_eq!(said.try_recv(), Err(mpsc::TryRecvError::Empty));
        // And the next one is not stopped.
        assert!(engine.start(3));
        engine.wait();
        assert_eq!(said.try_iter().collect::<Vec<_>>(), [3, 0]);
        assert!(engine.start(1));
        drop(engine);
        assert!(said.try_iter().all(|word| word == 1));
    }
}
