//! What a panic said, by whichever way it is caught: the same panic has the same words, so that the relay
//! recognises one that comes again.

use std::any::Any;

/// The words of a panic, without the thread or task that it ended.
pub fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_as_it_was_given() {
        let (formatted, plain) = (format!("row {}", 5), "row 5");
        assert_eq!(words(&formatted), "row 5");
        assert_eq!(words(&plain), "row 5");
        assert_eq!(words(&5_u8), "a panic without words");
    }
}
