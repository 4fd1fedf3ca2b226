//! The fate of an error: retry, halt with a hint, or find out which instance has taken over.

/// The fate of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It may heal: recover and retry.
    Retry,
    /// A person must act; the hint says how.
    Halt { hint: String },
    /// Another instance may have taken over. The checkpoint tells.
    MaybeTakenOver,
    /// Another instance has taken over.
    TakenOver,
}

impl Fate {
    pub fn is_halt(&self) -> bool {
        matches!(self, Fate::Halt { .. })
    }

    /// Adds another remedy to the hint of a halt.
    #[must_use]
    pub fn with_hint(self, more: impl std::fmt::Display) -> Fate {
        match self {
            Fate::Halt { hint } => halt(format!("{hint}; {more}")),
            fate => fate,
        }
    }
}

/// A halt with its hint.
pub fn halt(hint: impl Into<String>) -> Fate {
    Fate::Halt { hint: hint.into() }
}
