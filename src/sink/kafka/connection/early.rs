//! Clients that connect before it is known whether a broker can be reached at all: while MySQL is looked at, so that
//! a start waits for the slower end only, and not for both.
//!
//! Until a broker has answered somebody, they tell nothing above DEBUG, as all of them would tell the same; and they
//! end when nobody wants them any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What clients that connect early are told.
#[derive(Debug, Clone, Default)]
pub struct Early(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    has_answered: AtomicBool,
    is_unwanted: AtomicBool,
}

impl Early {
    /// For clients that are made when they are needed.
    #[must_use]
    pub fn not() -> Early {
        let early = Early::default();
        early.note_answered();
        early
    }

    /// A broker has answered, and will answer these clients, too.
    pub fn note_answered(&self) {
        self.0.has_answered.store(true, Ordering::Relaxed);
    }

    /// What these clients have to tell, another one tells.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.0.has_answered.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.0.is_unwanted.load(Ordering::Relaxed)
    }
}

/// Who wants such clients: when this is dropped, those that still connect give up.
#[derive(Debug)]
pub struct Wanted(pub Early);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.0.is_unwanted.store(true, Ordering::Relaxed);
    }
}
