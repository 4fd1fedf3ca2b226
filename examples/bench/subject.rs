//! A relay as it is measured: a program, and how it delivers.

use std::path::PathBuf;

use harness::consumer::Isolation;
use harness::scene::Delivery;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    /// `None` is the program that is built beside this one.
    pub program: Option<PathBuf>,
    pub delivery: Delivery,
}

impl Subject {
    pub fn name(&self) -> String {
        match &self.program {
            None => self.delivery.name().to_owned(),
            Some(program) => format!("{}, {}", self.delivery.name(), program.display()),
        }
    }

    /// What its consumers read with.
    pub fn isolation(&self) -> Isolation {
        self.delivery.isolation()
    }
}
