//! The password of the MySQL user: fixed, or looked up anew for each connection. It is never printed.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

type Lookup = dyn Fn() -> Result<String, PasswordError> + Send + Sync;

/// A password, or where to look it up. Every new connection looks it up again, so that it may change while the
/// program runs.
#[derive(Clone)]
pub struct Password(Arc<Lookup>);

/// Why there is no password: the error of the function given to [`Password::looked_up`], which
/// [`PasswordError::downcast_ref`] gives back.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PasswordError(Box<dyn Error + Send + Sync>);

impl PasswordError {
    /// The error that the look-up returned, if it is of this type.
    pub fn downcast_ref<E: Error + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }
}

impl Password {
    /// A password that does not change.
    pub fn fixed(text: impl Into<String>) -> Password {
        let text = text.into();
        Password(Arc::new(move || Ok(text.clone())))
    }

    /// Calls `look_up` for each connection, for instance to read a file. It must not block for long.
    pub fn looked_up<E>(look_up: impl Fn() -> Result<String, E> + Send + Sync + 'static) -> Password
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        Password(Arc::new(move || look_up().map_err(|error| PasswordError(error.into()))))
    }

    /// The text itself.
    ///
    /// # Errors
    /// The look-up failed.
    pub fn reveal(&self) -> Result<String, PasswordError> {
        (self.0)()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_password_does_not_print() {
        let looked_up = Password::looked_up(|| Ok::<_, std::fmt::Error>("geheim".to_owned()));
        assert_eq!(format!("{:?} {looked_up:?}", Password::fixed("geheim")), "Password Password");
    }

    #[test]
    fn a_password_is_looked_up_each_time() {
        let asked = Arc::new(AtomicUsize::new(0));
        let password = {
            let asked = Arc::clone(&asked);
            Password::looked_up(move || match asked.fetch_add(1, Ordering::Relaxed) {
                number @ 0..2 => Ok(format!("number {number}")),
                _ => Err(std::fmt::Error),
            })
        };
        assert_eq!(password.reveal().unwrap(), "number 0");
        assert_eq!(password.reveal().unwrap(), "number 1");
        let error = password.reveal().unwrap_err();
        assert_eq!(error.to_string(), std::fmt::Error.to_string());
        assert!(error.downcast_ref::<std::fmt::Error>().is_some());
    }
}
