//! MySQL's character sets: a name, or the collation id that a TABLE_MAP event gives, becomes a decoder.
//! Text comes out as the server's own `CONVERT(… USING utf8mb4)` gives it, borrowed where it is UTF-8
//! already. Bytes that have no meaning in the character set are an error, never a replacement character.
//!
//! MySQL's `latin1` is Windows-1252, and the five bytes that Windows leaves undefined (0x81, 0x8d, 0x8f,
//! 0x90, 0x9d) are the control characters of the same number, as the server has it.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

mod encode;
mod multi_byte;
mod single_byte;

pub use encode::NoCharacter;

/// Bytes that the character set does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Invalid {
    /// Where about: the first byte of the character, or of the run that it is in.
    at: usize,
}

/// Why bytes are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// The bytes are not what the column's character set allows.
    #[error("not valid {charset} at or after byte {at}")]
    Invalid {
        /// The column's character set.
        charset: Charset,
        /// Byte from which on it is not valid.
        at: usize,
    },
    /// The event names a collation that no known server has.
    #[error("collation id {0} is not known")]
    UnknownCollation(u16),
}

macro_rules! charsets {
    ($($variant:ident $name:literal $($ids:pat_param)|+,)+) => {
        /// A character set of MySQL.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "each variant is the MySQL name of itself")]
        pub enum Charset {
            $($variant,)+
            /// A collation id that no known server has. An error only when text in it is wanted.
            Unknown(u16),
        }

        impl Charset {
            /// All that are known.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The character set of a collation, by the id in `information_schema.collations`.
            pub fn from_collation(id: usize) -> Self {
                match id {
                    $($($ids)|+ => Self::$variant,)+
                    // Ids are at most 2047; the number is only ever shown to people.
                    _ => Self::Unknown(u16::try_from(id).unwrap_or(u16::MAX)),
                }
            }

            /// The character set of that name in `information_schema`.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    "utf8" => Some(Self::Utf8mb3), // its name before 8.0.29
                    _ => None,
                }
            }

            /// Its name in MySQL.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unknown(_) => "unknown",
                }
            }
        }
    };
}

// Ids as MySQL 5.7.22 and 8.0.31 list them; neither contradicts the other.
charsets! {
    Big5 "big5" 1 | 84,
    Latin2 "latin2" 2 | 9 | 21 | 27 | 77,
    Dec8 "dec8" 3 | 69,
    Cp850 "cp850" 4 | 80,
    Latin1 "latin1" 5 | 8 | 15 | 31 | 47..=49 | 94,
    Hp8 "hp8" 6 | 72,
    Koi8r "koi8r" 7 | 74,
    Swe7 "swe7" 10 | 82,
    Ascii "ascii" 11 | 65,
    Ujis "ujis" 12 | 91,
    Sjis "sjis" 13 | 88,
    Cp1251 "cp1251" 14 | 23 | 50..=52,
    Hebrew "hebrew" 16 | 71,
    Tis620 "tis620" 18 | 89,
    Euckr "euckr" 19 | 85,
    Latin7 "latin7" 20 | 41..=42 | 79,
    Koi8u "koi8u" 22 | 75,
    Gb2312 "gb2312" 24 | 86,
    Greek "greek" 25 | 70,
    Cp1250 "cp1250" 26 | 34 | 44 | 66 | 99,
    Gbk "gbk" 28 | 87,
    Cp1257 "cp1257" 29 | 58..=59,
    Latin5 "latin5" 30 | 78,
    Armscii8 "armscii8" 32 | 64,
    Utf8mb3 "utf8mb3" 33 | 76 | 83 | 192..=215 | 223,
    Ucs2 "ucs2" 35 | 90 | 128..=151 | 159,
    Cp866 "cp866" 36 | 68,
    Keybcs2 "keybcs2" 37 | 73,
    Macce "macce" 38 | 43,
    Macroman "macroman" 39 | 53,
    Cp852 "cp852" 40 | 81,
    Utf8mb4 "utf8mb4" 45..=46 | 224..=247 | 255..=271 | 273..=275 | 277..=294 | 296..=298 | 300 | 303..=323,
    Utf16 "utf16" 54..=55 | 101..=124,
    Utf16le "utf16le" 56 | 62,
    Cp1256 "cp1256" 57 | 67,
    Utf32 "utf32" 60..=61 | 160..=183,
    Binary "binary" 63,
    Geostd8 "geostd8" 92..=93,
    Cp932 "cp932" 95..=96,
    Eucjpms "eucjpms" 97..=98,
    Gb18030 "gb18030" 248..=250,
}

impl fmt::Display for Charset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(id) => write!(f, "the unknown collation {id}"),
            known => f.write_str(known.name()),
        }
    }
}

impl Charset {
    /// The text that `bytes` are in this character set. Bytes of `binary` must be UTF-8.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are not valid, [`Error::UnknownCollation`] when nobody knows.
    #[inline]
    pub fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
        match self {
            Self::Utf8mb4 | Self::Utf8mb3 | Self::Binary => match std::str::from_utf8(bytes) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(error) => Err(Error::Invalid { charset: self, at: error.valid_up_to() }),
            },
            Self::Unknown(id) => Err(Error::UnknownCollation(id)),
            other => other
                .transcode(bytes)
                .map_err(|Invalid { at }| Error::Invalid { charset: self, at }),
        }
    }

    /// Whether it has characters that take four bytes in UTF-8.
    pub fn is_beyond_basic_plane(self) -> bool {
        matches!(self, Self::Utf8mb4 | Self::Utf16 | Self::Utf16le | Self::Utf32 | Self::Gb18030)
    }

    fn transcode(self, bytes: &[u8]) -> Result<Cow<'_, str>, Invalid> {
        if let Some(upper_half) = self.upper_half() {
            return single_byte::decode(bytes, upper_half);
        }
        if let Some(multi_byte) = self.multi_byte() {
            return multi_byte::decode(bytes, multi_byte);
        }
        match self {
            Self::Swe7 => single_byte::decode_swe7(bytes),
            Self::Ucs2 => decode_utf16(bytes, u16::from_be_bytes, Surrogates::Invalid),
            Self::Utf16 => decode_utf16(bytes, u16::from_be_bytes, Surrogates::Pairs),
            Self::Utf16le => decode_utf16(bytes, u16::from_le_bytes, Surrogates::Pairs),
            Self::Utf32 => decode_utf32(bytes),
            // Ascii; the others do not come here.
            _ => match ascii_prefix(bytes) {
                text if text.len() == bytes.len() => Ok(Cow::Borrowed(text)),
                text => Err(Invalid { at: text.len() }),
            },
        }
    }

    fn upper_half(self) -> Option<&'static single_byte::UpperHalf> {
        Some(match self {
            Self::Armscii8 => &single_byte::ARMSCII8,
            Self::Cp1250 => &single_byte::CP1250,
            Self::Cp1251 => &single_byte::CP1251,
            Self::Cp1256 => &single_byte::CP1256,
            Self::Cp1257 => &single_byte::CP1257,
            Self::Cp850 => &single_byte::CP850,
            Self::Cp852 => &single_byte::CP852,
            Self::Cp866 => &single_byte::CP866,
            Self::Dec8 => &single_byte::DEC8,
            Self::Geostd8 => &single_byte::GEOSTD8,
            Self::Greek => &single_byte::GREEK,
            Self::Hebrew => &single_byte::HEBREW,
            Self::Hp8 => &single_byte::HP8,
            Self::Keybcs2 => &single_byte::KEYBCS2,
            Self::Koi8r => &single_byte::KOI8R,
            Self::Koi8u => &single_byte::KOI8U,
            Self::Latin1 => &single_byte::LATIN1,
            Self::Latin2 => &single_byte::LATIN2,
            Self::Latin5 => &single_byte::LATIN5,
            Self::Latin7 => &single_byte::LATIN7,
            Self::Macce => &single_byte::MACCE,
            Self::Macroman => &single_byte::MACROMAN,
            Self::Tis620 => &single_byte::TIS620,
            _ => return None,
        })
    }

    fn multi_byte(self) -> Option<multi_byte::MultiByte> {
        Some(match self {
            Self::Big5 => multi_byte::BIG5,
            Self::Cp932 => multi_byte::CP932,
            Self::Eucjpms => multi_byte::EUCJPMS,
            Self::Euckr => multi_byte::EUCKR,
            Self::Gb18030 => multi_byte::GB18030,
            Self::Gb2312 => multi_byte::GB2312,
            Self::Gbk => multi_byte::GBK,
            Self::Sjis => multi_byte::SJIS,
            Self::Ujis => multi_byte::UJIS,
            _ => return None,
        })
    }
}

/// The ASCII that `bytes` begin with.
fn ascii_prefix(bytes: &[u8]) -> &str {
    // Whole words are looked at in the usual case, in which all of it is ASCII.
    let length = if bytes.is_ascii() {
        bytes.len()
    } else {
        bytes.iter().take_while(|byte| byte.is_ascii()).count()
    };
    std::str::from_utf8(&bytes[..length]).expect("ASCII is UTF-8")
}

enum Surrogates {
    Pairs,
    Invalid,
}

fn decode_utf16(
    bytes: &[u8],
    unit: fn([u8; 2]) -> u16,
    surrogates: Surrogates,
) -> Result<Cow<'_, str>, Invalid> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Invalid { at: bytes.len() - 1 });
    }
    let mut text = String::with_capacity(bytes.len());
    let mut at = 0;
    for character in char::decode_utf16(units.iter().map(|bytes| unit(*bytes))) {
        let character = character.map_err(|_| Invalid { at })?;
        if character.len_utf16() == 2 && matches!(surrogates, Surrogates::Invalid) {
            return Err(Invalid { at });
        }
        text.push(character);
        at += 2 * character.len_utf16();
    }
    Ok(Cow::Owned(text))
}

fn decode_utf32(bytes: &[u8]) -> Result<Cow<'_, str>, Invalid> {
    let (units, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Invalid { at: bytes.len() - rest.len() });
    }
    let characters = units.iter().enumerate().map(|(index, bytes)| {
        char::from_u32(u32::from_be_bytes(*bytes)).ok_or(Invalid { at: index * 4 })
    });
    characters.collect::<Result<String, _>>().map(Cow::Owned)
}

#[cfg(test)]
mod tests;
