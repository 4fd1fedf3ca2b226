//! A cursor over the bytes of one binlog event. Every read is checked: bytes that end too early, or a
//! length that no MySQL server writes, become a [`Malformed`] with the numbers in it, never a panic.
//! What is handed out borrows from the event.

use thiserror::Error;

/// Bytes that do not hold what their own lengths promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Fewer bytes are left than the next field takes.
    #[error("{wanted} bytes wanted, {left} left")]
    Short {
        /// Bytes that the field takes.
        wanted: usize,
        /// Bytes that are there.
        left: usize,
    },
    /// The first byte of a length-encoded integer is one that has no meaning (0xfb or 0xff).
    #[error("{0:#04x} does not begin a length-encoded integer")]
    Length(u8),
    /// A list has more entries than there are columns for it.
    #[error("{0} bytes too many")]
    Long(usize),
    /// A name is not UTF-8. MySQL keeps every identifier in utf8mb3.
    #[error("a name is not UTF-8")]
    Name,
}

/// What of an event is not read yet.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    /// A cursor at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The bytes that are not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// Whether everything is read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Fails when something is left: whoever reads a list must have come to its end.
    ///
    /// # Errors
    /// [`Malformed::Long`]
    pub fn ensure_read(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Long(self.0.len())) }
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] when fewer are left; nothing is read then.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else {
            return Err(Malformed::Short { wanted: count, left: self.0.len() });
        };
        self.0 = rest;
        Ok(taken)
    }

    /// The next byte.
    ///
    /// # Errors
    /// [`Malformed::Short`] at the end.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    /// An unsigned little-endian integer of `count` (at most 8) bytes.
    ///
    /// # Errors
    /// [`Malformed::Short`] when fewer are left.
    #[inline]
    pub fn uint(&mut self, count: usize) -> Result<u64, Malformed> {
        Ok(uint_le(self.take(count)?))
    }

    /// A length-encoded integer of the MySQL protocol, as a count of bytes or things.
    ///
    /// # Errors
    /// [`Malformed`] when it is cut off or begins with 0xfb or 0xff.
    pub fn lenenc(&mut self) -> Result<usize, Malformed> {
        let wide = match self.u8()? {
            small @ 0..=0xfa => return Ok(usize::from(small)),
            0xfc => self.uint(2)?,
            0xfd => self.uint(3)?,
            0xfe => self.uint(8)?,
            other => return Err(Malformed::Length(other)),
        };
        // A count beyond the address space cannot be satisfied by any event either.
        Ok(usize::try_from(wide).unwrap_or(usize::MAX))
    }

    /// Bytes behind their own length-encoded length.
    ///
    /// # Errors
    /// [`Malformed`] when the length or the bytes are cut off.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.lenenc()?;
        self.take(count)
    }

    /// A name behind its length-encoded length.
    ///
    /// # Errors
    /// [`Malformed`] when it is cut off or not UTF-8.
    pub fn lenenc_name(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.lenenc_bytes()?).map_err(|_| Malformed::Name)
    }
}

/// The unsigned integer that at most 8 little-endian bytes hold.
#[inline]
pub fn uint_le(bytes: &[u8]) -> u64 {
    debug_assert!(bytes.len() <= 8, "the callers read fields of at most 8 bytes");
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_encoded_integers_of_all_widths_are_read() {
        let mut bytes =
            Bytes::new(&[0xfa, 0xfc, 1, 2, 0xfd, 1, 2, 3, 0xfe, 1, 0, 0, 0, 1, 0, 0, 0]);
        let read: Vec<_> = std::iter::repeat_with(|| bytes.lenenc()).take(4).collect();
        assert_eq!(read, [Ok(0xfa), Ok(0x0201), Ok(0x03_0201), Ok(0x01_0000_0001)]);
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_length_beyond_the_end_is_an_error_with_its_numbers() {
        assert_eq!(
            Bytes::new(&[5, 1, 2]).lenenc_bytes(),
            Err(Malformed::Short { wanted: 5, left: 2 })
        );
        assert_eq!(Bytes::new(&[0xff]).lenenc(), Err(Malformed::Length(0xff)));
        let huge = [0xfe, 255, 255, 255, 255, 255, 255, 255, 255, 0];
        assert!(matches!(Bytes::new(&huge).lenenc_bytes(), Err(Malformed::Short { left: 1, .. })));
    }

    #[test]
    fn little_endian_integers_of_every_width() {
        assert_eq!(uint_le(&[]), 0);
        assert_eq!(uint_le(&[1, 2, 3]), 0x03_0201);
        assert_eq!(uint_le(&[255; 8]), u64::MAX);
    }
}
