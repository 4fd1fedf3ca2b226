//! What must hold before a row is read: one function per requirement, each with its cure.
//!
//! `run` asks those without which it would lose rows or wait in vain, and stops at the first failure. `check` asks all
//! of them. So both use the same words.

pub(crate) mod mysql;
