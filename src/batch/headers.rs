//! The headers of a record, as bytes behind its value in the batch's buffer.
//!
//! A header is two lengths in 4 bytes each, its name, and its value. A batch whose records have no headers has none of
//! this.

/// Stands for the length of a value that is NULL.
const NULL: u32 = u32::MAX;

const LENGTH_BYTES: usize = size_of::<u32>();

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub name: &'a str,
    /// `None`: NULL, which is not the same as empty.
    pub value: Option<&'a [u8]>,
}

/// The headers of a record, in the order in which they were written. A name may come more than once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

/// Appends a header to a draft, behind its value.
///
/// # Panics
/// The name or the value has 4 GiB or more.
pub fn write_header(draft: &mut Vec<u8>, name: &str, value: Option<&[u8]>) {
    let length = |bytes: usize| u32::try_from(bytes).ok().filter(|length| *length != NULL);
    let name_len = length(name.len()).expect("a header's name is below 4 GiB");
    let value_len =
        value.map_or(NULL, |value| length(value.len()).expect("a header's value is below 4 GiB"));
    draft.extend_from_slice(&name_len.to_le_bytes());
    draft.extend_from_slice(&value_len.to_le_bytes());
    draft.extend_from_slice(name.as_bytes());
    draft.extend_from_slice(value.unwrap_or_default());
}

impl<'a> Headers<'a> {
    /// Of what [`write_header`] has written.
    pub(super) fn of(bytes: &'a [u8]) -> Headers<'a> {
        Headers(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their bytes in the batch, lengths included.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> Iter<'a> {
        Iter(self.0)
    }
}

impl<'a> IntoIterator for Headers<'a> {
    type Item = Header<'a>;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Reads headers one after the other.
#[derive(Debug, Clone)]
pub struct Iter<'a>(&'a [u8]);

impl<'a> Iter<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes);
        self.0 = rest;
        taken
    }

    fn length(&mut self) -> u32 {
        let bytes = self.take(LENGTH_BYTES).try_into().expect("it is as long as a length");
        u32::from_le_bytes(bytes)
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (name_len, value_len) = (self.length(), self.length());
        let name = str::from_utf8(self.take(name_len as usize)).expect("it was written as text");
        let value = (value_len != NULL).then(|| self.take(value_len as usize));
        Some(Header { name, value })
    }
}
