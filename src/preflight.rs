//! What must hold before a row is read: one function a requirement, each with its cure.

pub mod mysql;
