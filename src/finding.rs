//! What a requirement that does not fail has to say, for `run` and `check` alike.

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
    #[must_use]
    pub fn doubtful(detail: impl Into<String>, cure: impl Into<String>) -> Finding {
        Finding::Doubtful { detail: detail.into(), cure: cure.into() }
    }
}
