//! What is to be done about an error: retry, halt with a hint, or find out who took over.

/// What is to be done about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It may heal: recover and go on.
    Retry,
    /// A person must act; the hint says how.
    Halt { hint: String },
    /// Somebody else may have this relay's identity: the checkpoint tells.
    MaybeTakenOver,
    /// Somebody else has.
    TakenOver,
}

impl Fate {
    pub fn is_halt(&self) -> bool {
        matches!(self, Fate::Halt { .. })
    }

    /// A halt with another thing that helps.
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
