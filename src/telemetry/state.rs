//! The states of a relay, as `/status` and the metric name them.

use serde::Serialize;

/// What the relay is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It has not relayed since it was started.
    Starting,
    Relaying,
    /// It has relayed, and an end of the line is gone or does not take what it should.
    Reconnecting,
    /// It was told to stop and publishes what it has.
    Draining,
    /// A person must act.
    Halted,
    /// Another instance relays. Not in this version.
    Standby,
}

impl State {
    pub const ALL: [State; 6] = [
        State::Starting,
        State::Relaying,
        State::Reconnecting,
        State::Draining,
        State::Halted,
        State::Standby,
    ];

    /// As `/status` and the metric name it.
    pub fn label(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Relaying => "relaying",
            State::Reconnecting => "reconnecting",
            State::Draining => "draining",
            State::Halted => "halted",
            State::Standby => "standby",
        }
    }
}
