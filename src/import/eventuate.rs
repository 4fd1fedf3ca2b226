//! A service of Eventuate CDC, as a configuration of the relay.

use super::Error;

pub fn convert(_text: &str, file: &str) -> Result<String, Error> {
    Err(Error::Unreadable {
        file: file.to_owned(),
        program: "Eventuate CDC",
        what: "later".to_owned(),
    })
}
