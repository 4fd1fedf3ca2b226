//! Clients that connect early: while MySQL is being asked, and before any broker has answered. So a start waits for the
//! slower end only.
//!
//! Until a broker has answered one client, these log at DEBUG only, since all of them would log the same. They stop
//! connecting when nobody wants them any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// State that is shared with clients that connect early.
#[derive(Debug, Clone, Default)]
pub struct Early(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    has_answered: AtomicBool,
    is_unwanted: AtomicBool,
}

impl Early {
    /// For clients that are made only when they are needed.
    #[must_use]
    pub fn not() -> Early {
        let early = Early::default();
        early.note_answered();
        early
    }

    /// A broker has answered, so it will answer these clients, too.
    pub fn note_answered(&self) {
        self.0.has_answered.store(true, Ordering::Relaxed);
    }

    /// Another client logs the same.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.0.has_answered.load(Ordering::Relaxed)
    }

    #[must_use]
    pub fn is_unwanted(&self) -> bool {
        self.0.is_unwanted.load(Ordering::Relaxed)
    }
}

/// Keeps such clients connecting: when this is dropped, those that are still connecting stop.
#[derive(Debug)]
pub struct Wanted(pub Early);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.0.is_unwanted.store(true, Ordering::Relaxed);
    }
}
