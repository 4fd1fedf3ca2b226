//! What must hold before a row is read: one function a requirement, each with its cure.
//!
//! `run` asks those without which it would lose rows or wait in vain, and stops at the first that fails;
//! `check` asks every one. So both say the same words.

pub(crate) mod mysql;
