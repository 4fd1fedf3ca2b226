//! A buffer that is filled at its end and emptied at its head, for packets as they arrive and for events as they
//! are decompressed. What was taken stays where it is until the buffer is filled again.

use std::ops::Range;

/// Bytes that came, of which those of `held` were not taken yet.
pub struct Buffer {
    bytes: Vec<u8>,
    held: Range<usize>,
    /// With less room than this at its end, what is left moves to its head.
    room_min: usize,
}

impl Buffer {
    pub fn new(length: usize, room_min: usize) -> Buffer {
        Buffer { bytes: vec![0; length], held: 0..0, room_min }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What was not taken yet.
    pub fn held(&self) -> &[u8] {
        &self.bytes[self.held.clone()]
    }

    /// What was taken, until the next call of [`Buffer::room`].
    pub fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Where so many bytes of what is held are.
    pub fn first(&self, length: usize) -> Range<usize> {
        self.held.start..self.held.start + length
    }

    /// Takes bytes off the head of what is held, and says where they are.
    pub fn take(&mut self, length: usize) -> Range<usize> {
        let taken = self.first(length);
        self.held.start = taken.end;
        taken
    }

    /// Gives the room of a large packet back once nothing is held.
    pub fn shrink_to(&mut self, length: usize) {
        if self.held.is_empty() && self.bytes.len() > length {
            self.bytes = vec![0; length];
            self.held = 0..0;
        }
    }

    /// Room at the end, which doubles where what is held leaves too little.
    pub fn room(&mut self) -> &mut [u8] {
        if self.held.is_empty() {
            self.held = 0..0;
        }
        if self.bytes.len() - self.held.end < self.room_min {
            self.bytes.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
        }
        if self.bytes.len() - self.held.end < self.room_min {
            self.bytes.resize(self.bytes.len() * 2, 0);
        }
        &mut self.bytes[self.held.end..]
    }

    /// So many bytes were written into the room.
    pub fn note_filled(&mut self, length: usize) {
        self.held.end += length;
    }
}
