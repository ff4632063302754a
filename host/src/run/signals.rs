//! Signals that ask a run to end. The first one is a request: the step is finished, everything is saved. A second one
//! ends the process at once; so does the first where there is nothing to save yet.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;

/// Signals that come closer together are one request: `timeout`, a terminal that closes and a parent that forwards
/// Ctrl-C send theirs twice.
const ONE_REQUEST: Duration = Duration::from_millis(100);

/// What was asked for by signals, of the whole process.
#[derive(Debug)]
pub struct Signals {
    number: AtomicI32,
    saving: AtomicBool,
    begun: Instant,
    first: OnceLock<Duration>,
}

static SIGNALS: OnceLock<Signals> = OnceLock::new();

impl Signals {
    /// Takes signals from now on, for the whole process. To be called before other threads exist and before a device is
    /// looked for: threads that are started later leave signals to this one, and so do drivers, which set handlers of
    /// their own (LLVM's, in PoCL, would end the process).
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn listen() -> Result<&'static Self, Error> {
        if let Some(signals) = SIGNALS.get() {
            return Ok(signals);
        }
        system::block().map_err(|source| Error::io("signals", source))?;
        let begun = Instant::now();
        let (number, saving, first) = (AtomicI32::new(0), AtomicBool::new(false), OnceLock::new());
        let signals = SIGNALS.get_or_init(|| Self { number, saving, begun, first });
        system::hear(|signal| signals.take(signal)).map_err(|source| Error::io("signals", source))?;
        Ok(signals)
    }

    /// From now on there is something to save: the first signal is a request.
    pub fn save_first(&self) {
        self.saving.store(true, Ordering::SeqCst);
    }

    /// The signal that asked for an end.
    pub fn received(&self) -> Option<i32> {
        match self.number.load(Ordering::SeqCst) {
            0 => None,
            number => Some(number),
        }
    }

    fn take(&self, signal: i32) {
        let now = self.begun.elapsed();
        let first = *self.first.get_or_init(|| now);
        if !self.saving.load(Ordering::SeqCst) || now > first + ONE_REQUEST {
            system::end(signal);
        }
        let _ = self.number.compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// A file that outgrows a limit of the system (`ulimit -f`) is an error of the call that writes, for the whole process,
/// and not its end without a word.
pub fn outlive_limits_of_files() {
    system::block_file_limit();
}

#[cfg(unix)]
mod system {
    use std::io;
    use std::thread;

    use nix::libc;
    use nix::sys::signal::{SigSet, Signal};

    /// What terminals, schedulers and limits send to end a job.
    const ENDS: &[Signal] = &[
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGXCPU,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGVTALRM,
        #[cfg(target_os = "linux")]
        Signal::SIGPWR,
    ];

    fn set() -> SigSet {
        // `nohup` has the process ignore SIGHUP.
        ENDS.iter().copied().filter(|&signal| signal != Signal::SIGHUP || !is_ignored(signal)).collect()
    }

    fn is_ignored(signal: Signal) -> bool {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: no action is given, so none is changed; the present one is written to memory of its type.
        let asked = unsafe { libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr()) };
        // SAFETY: a call that returns 0 has written it.
        asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
    }

    /// A blocked signal runs no handler, whoever installs one: it waits until it is taken.
    pub fn block() -> io::Result<()> {
        Ok(set().thread_block()?)
    }

    pub fn hear(take: impl Fn(i32) + Send + 'static) -> io::Result<()> {
        let wait = move || {
            let set = set();
            loop {
                if let Ok(signal) = set.wait() {
                    take(signal as i32);
                }
            }
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map(drop)
    }

    pub fn end(signal: i32) -> ! {
        // SAFETY: ends the process at once: no destructor runs that another thread may be using.
        unsafe { libc::_exit(128 + signal) }
    }

    pub fn block_file_limit() {
        let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;
    use std::sync::Arc;

    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::low_level;

    pub fn block() -> io::Result<()> {
        Ok(())
    }

    pub fn hear(take: impl Fn(i32) + Send + Sync + 'static) -> io::Result<()> {
        let take = Arc::new(take);
        for signal in [SIGINT, SIGTERM] {
            let take = Arc::clone(&take);
            // SAFETY: atomics, the clock, and an end of the process: all allowed in a handler.
            unsafe { low_level::register(signal, move || take(signal)) }?;
        }
        Ok(())
    }

    pub fn end(signal: i32) -> ! {
        low_level::exit(128 + signal)
    }

    pub fn block_file_limit() {}
}
