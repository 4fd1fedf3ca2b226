//! What must hold before a row is read: one function a requirement, each with its cure.
//!
//! `run` asks those without which it would lose rows or wait in vain, and stops at the first that fails;
//! `check` asks every one. So both say the same words.

pub mod kafka;
pub mod mysql;

/// What a requirement that does not fail has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    Holds(String),
    /// It works, but a person should know.
    Doubtful {
        detail: String,
        cure: String,
    },
}

impl Finding {
    fn doubtful(detail: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::Doubtful { detail: detail.into(), cure: cure.into() }
    }
}
