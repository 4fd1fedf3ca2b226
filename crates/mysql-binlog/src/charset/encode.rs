//! Text → the bytes of a character set: the inverse of [`Charset::decode`], for rows that do not come from a binlog.
//!
//! Each character is encoded, then decoded again: what does not come back as the same character is not used. So the
//! decoder's tables are the only ones.

use std::borrow::Cow;

use super::{Charset, multi_byte, single_byte};

/// The character that a character set does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{charset} has no character {character:?}")]
pub struct NoCharacter {
    /// The character set.
    pub charset: Charset,
    /// What it does not have.
    pub character: char,
}

impl Charset {
    /// The bytes that stand for `text` in this character set. Where several do, one of them.
    ///
    /// # Errors
    /// The first character that it does not have. An unknown collation has none.
    pub fn encode(self, text: &str) -> Result<Cow<'_, [u8]>, NoCharacter> {
        match self {
            Self::Utf8mb4 | Self::Binary => return Ok(Cow::Borrowed(text.as_bytes())),
            Self::Utf8mb3 => {
                let beyond = text.chars().find(|character| character.len_utf8() > 3);
                return match beyond {
                    None => Ok(Cow::Borrowed(text.as_bytes())),
                    Some(character) => Err(NoCharacter { charset: self, character }),
                };
            }
            _ => {}
        }
        let mut bytes = Vec::with_capacity(text.len());
        for character in text.chars() {
            let encoded = self.encode_character(character);
            let encoded = encoded.ok_or(NoCharacter { charset: self, character })?;
            bytes.extend_from_slice(&encoded);
        }
        Ok(Cow::Owned(bytes))
    }

    fn encode_character(self, character: char) -> Option<Vec<u8>> {
        let mut units = [0; 2];
        let mut utf16 = |unit: fn(u16) -> [u8; 2]| {
            character.encode_utf16(&mut units).iter().flat_map(|it| unit(*it)).collect()
        };
        let candidate: Vec<u8> = match self {
            Self::Utf16 | Self::Ucs2 => utf16(u16::to_be_bytes),
            Self::Utf16le => utf16(u16::to_le_bytes),
            Self::Utf32 => u32::from(character).to_be_bytes().to_vec(),
            Self::Swe7 => single_byte::encode_swe7(character)?,
            _ if character.is_ascii() => vec![character as u8],
            _ => match (self.upper_half(), self.multi_byte()) {
                (Some(upper_half), _) => single_byte::encode(character, upper_half)?,
                (None, Some(charset)) => {
                    let mut candidates = multi_byte::encode(character, charset);
                    return candidates.find(|bytes| self.is(bytes, character));
                }
                (None, None) => return None,
            },
        };
        self.is(&candidate, character).then_some(candidate)
    }

    fn is(self, bytes: &[u8], character: char) -> bool {
        self.decode(bytes).is_ok_and(|decoded| decoded == *character.encode_utf8(&mut [0; 4]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sequence of one, two and three bytes (those of three where one begins so), and of four a sample.
    fn sequences() -> impl Iterator<Item = Vec<u8>> {
        let one = (0..=0xff_u8).map(|byte| vec![byte]);
        let two = (0..=0xffff_u16).map(|number| number.to_be_bytes().to_vec());
        let three = (0..=0xffff_u16).map(|number| {
            let [second, third] = number.to_be_bytes();
            vec![0x8f, second, third]
        });
        let four =
            (0x8130_8130_u32..0x8539_fe39).step_by(7).map(|number| number.to_be_bytes().to_vec());
        let wide = (0..0x11_0000_u32).step_by(61).map(|number| number.to_be_bytes().to_vec());
        one.chain(two).chain(three).chain(four.take(100_000)).chain(wide)
    }

    #[test]
    fn what_a_character_set_can_be_decoded_to_it_can_be_encoded_from() {
        for charset in Charset::ALL {
            assert_encodes_all(*charset, if charset.multi_byte().is_some() { 31 } else { 1 });
        }
    }

    fn assert_encodes_all(charset: Charset, step: usize) {
        let mut compared = 0;
        for bytes in sequences().step_by(step) {
            let Ok(text) = charset.decode(&bytes) else { continue };
            let encoded = charset.encode(&text);
            let encoded = encoded.unwrap_or_else(|error| panic!("{bytes:x?} of {error}"));
            assert_eq!(charset.decode(&encoded).unwrap(), text, "{charset} {bytes:x?}");
            compared += 1;
        }
        assert!(compared > 3, "{charset}: {compared} compared");
    }

    #[test]
    fn a_character_that_a_set_does_not_have_is_named() {
        for (charset, text, character) in [
            (Charset::Ascii, "caf\u{e9}", 'é'),
            (Charset::Latin1, "a\u{4e2d}", '中'),
            (Charset::Utf8mb3, "a😀", '😀'),
            (Charset::Ucs2, "😀", '😀'),
            (Charset::Sjis, "é", 'é'),
            (Charset::Swe7, "@", '@'),
            (Charset::Unknown(2000), "a", 'a'),
        ] {
            assert_eq!(charset.encode(text), Err(NoCharacter { charset, character }), "{charset}");
        }
        let error = Charset::Latin1.encode("中").unwrap_err();
        assert_eq!(error.to_string(), "latin1 has no character '中'");
    }
}
