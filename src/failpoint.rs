//! Named places at which a test kills, stops or holds the relay.
//!
//! `kill -9` hits some moments by luck only. A failpoint is such a moment with a name: see CONTRIBUTING.md,
//! "Failpoints". Without the feature `failpoints`, which no release has, the macro is nothing.

/// A place with a name.
#[cfg(feature = "failpoints")]
macro_rules! failpoint {
    ($name:literal) => {
        fail::fail_point!($name)
    };
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
macro_rules! failpoint {
    ($name:literal) => {{}};
}

pub(crate) use failpoint;
