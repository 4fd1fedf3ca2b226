//! The result of a requirement that does not fail, for `run` and `check`.

/// The result of a requirement that does not fail.
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
    #[must_use]
    pub fn doubtful(detail: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::Doubtful { detail: detail.into(), cure: cure.into() }
    }
}
