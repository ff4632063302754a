//! SIGINT and SIGTERM: the first one is a request, the second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::Error;

/// What was asked for by signals.
#[derive(Debug)]
pub struct Signals {
    number: Arc<AtomicUsize>,
}

impl Signals {
    /// Takes signals from now on.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses.
    pub fn listen() -> Result<Self, Error> {
        let (armed, number) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal arms what ends the process at the second.
            let registered = flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&armed))
                .and_then(|_| flag::register(signal, Arc::clone(&armed)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&number), signal as usize));
            registered.map_err(|source| Error::io("signals", source))?;
        }
        Ok(Self { number })
    }

    /// The signal that asked for an end.
    pub fn received(&self) -> Option<i32> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            number => Some(number as i32),
        }
    }
}
