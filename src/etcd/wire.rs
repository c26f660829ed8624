//! protobuf's wire format: fields in, fields out. By hand: six small messages need no build step, and borrow their bytes.

use anyhow::{Context, Result, bail, ensure};

use crate::sys::terminal::table::count;

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5; no message here uses them, they are skipped.
    Fixed,
}

impl<'a> Value<'a> {
    /// The number.
    ///
    /// # Errors
    /// The field has another wire type.
    pub fn number(self) -> Result<u64> {
        match self {
            Self::Varint(n) => Ok(n),
            _ => bail!("expected a number, found another wire type"),
        }
    }

    /// The bytes.
    ///
    /// # Errors
    /// The field has another wire type.
    pub fn bytes(self) -> Result<&'a [u8]> {
        match self {
            Self::Bytes(b) => Ok(b),
            _ => bail!("expected bytes, found another wire type"),
        }
    }
}

/// The fields of a message, in their order: field number and value.
#[derive(Debug, Clone)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of an encoded message.
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn step(&mut self) -> Result<(u64, Value<'a>)> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Varint(varint(&mut self.0)?),
            2 => {
                let length = varint(&mut self.0)?;
                Value::Bytes(take(&mut self.0, length)?)
            }
            1 => take(&mut self.0, 8).map(|_| Value::Fixed)?,
            5 => take(&mut self.0, 4).map(|_| Value::Fixed)?,
            wire => bail!("wire type {wire} does not exist"),
        };
        ensure!(key >> 3 != 0, "field number 0 does not exist");
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.0 = &[];
        }
        Some(step)
    }
}

/// A message whose fields are read one by one, in the order in which etcd writes them: by their numbers, each once. What
/// is missing, out of order or unknown is an error.
#[derive(Debug)]
pub struct Message<'a>(Fields<'a>);

impl<'a> Message<'a> {
    /// An encoded message.
    pub fn new(message: &'a [u8]) -> Self {
        Self(Fields::new(message))
    }

    /// The next field, if it has this number.
    ///
    /// # Errors
    /// There is no whole field.
    pub fn optional(&mut self, field: u64) -> Result<Option<Value<'a>>> {
        let mut ahead = self.0.clone();
        match ahead.next().transpose()? {
            Some((number, value)) if number == field => {
                self.0 = ahead;
                Ok(Some(value))
            }
            _ => Ok(None),
        }
    }

    /// The next field, which must be a number with this field number.
    ///
    /// # Errors
    /// It is another one, or missing.
    pub fn number(&mut self, field: u64) -> Result<u64> {
        self.optional(field)?.with_context(|| format!("the number of field {field} is missing"))?.number()
    }

    /// The next field, if it has this number: its bytes, empty if it is not there.
    ///
    /// # Errors
    /// It is there and no bytes.
    pub fn optional_bytes(&mut self, field: u64) -> Result<&'a [u8]> {
        self.optional(field)?.map_or(Ok(&[]), Value::bytes)
    }

    /// To be called when all known fields are read.
    ///
    /// # Errors
    /// There are others.
    pub fn end(mut self) -> Result<()> {
        match self.0.next().transpose()? {
            None => Ok(()),
            Some((field, _)) => bail!("field {field} is not expected here"),
        }
    }
}

/// Reads a varint off the front of `bytes`.
///
/// # Errors
/// The bytes end too early, or the number has more than 64 bits, or more bytes than it needs: etcd writes none such.
pub fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else { bail!("a number is cut off") };
        *bytes = rest;
        ensure!(shift < 63 || byte <= 1, "a number has more than 64 bits");
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            ensure!(byte > 0 || shift == 0, "a number has more bytes than it needs");
            return Ok(value);
        }
    }
    bail!("a number has more than ten bytes")
}

/// The first 16 bytes of a message, taken apart front to back without loops and calls. Every record and entry of a log
/// passes here, in a program that is otherwise compiled to be small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    low: u64,
    high: u64,
    /// Bytes taken so far; more than 16 if a number in it is longer than seven bytes.
    pub(super) taken: usize,
}

impl Head {
    #[inline(always)]
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { low: both as u64, high: (both >> 64) as u64, taken: 0 }
    }

    /// Three bytes, the first one lowest.
    #[inline(always)]
    pub(super) fn three(&mut self) -> u32 {
        let three = self.low as u32 & 0x00ff_ffff;
        self.skip(3);
        three
    }

    /// A byte.
    #[inline(always)]
    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.low as u8;
        self.skip(1);
        byte
    }

    /// A varint, and how many bytes it had.
    #[inline(always)]
    pub(super) fn number(&mut self) -> (u64, u32) {
        let word = self.low;
        if word & 0x80 == 0 {
            self.skip(1);
            return (word & 0x7f, 1);
        }
        // The first byte without the mark that says: another one follows.
        let length = (!word & 0x8080_8080_8080_8080).trailing_zeros() / 8 + 1;
        if length > 7 {
            self.taken = 99;
            return (0, length);
        }
        let sevens = word & 0x7f7f_7f7f_7f7f_7f7f & !(u64::MAX << (8 * length));
        let pairs = (sevens & 0x007f_007f_007f_007f) | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
        let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
        self.skip(length);
        ((fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4, length)
    }

    /// At most seven bytes.
    #[inline(always)]
    fn skip(&mut self, bytes: u32) {
        self.low = self.low >> (8 * bytes) | self.high << (64 - 8 * bytes);
        self.high >>= 8 * bytes;
        self.taken += bytes as usize;
    }
}

/// A number and how many bytes it had, if it has no more of them than it needs.
#[inline(always)]
pub(super) fn shortest((value, length): (u64, u32)) -> Option<u64> {
    (length == 1 || value >> (7 * (length - 1)) != 0).then_some(value)
}

fn take<'a>(bytes: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let Some((head, rest)) = usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n)) else {
        bail!("a field of {} is cut off after {}", count(length, "byte", "bytes"), bytes.len())
    };
    *bytes = rest;
    Ok(head)
}

/// Appends fields to a message.
#[derive(Debug, Default)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Appends a number field.
    #[must_use]
    pub fn number(mut self, field: u64, value: u64) -> Self {
        put_varint(&mut self.0, field << 3);
        put_varint(&mut self.0, value);
        self
    }

    /// Appends a bytes field.
    #[must_use]
    pub fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        put_varint(&mut self.0, field << 3 | 2);
        put_varint(&mut self.0, value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// The message.
    #[must_use]
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_survive() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let message = Encoder::default().number(15, value).number(16, value).bytes(1, b"x").done();
            let fields: Vec<_> = Fields::new(&message).map(Result::unwrap).collect();
            assert_eq!(
                fields,
                [(15, Value::Varint(value)), (16, Value::Varint(value)), (1, Value::Bytes(b"x"))]
            );
        }
    }

    #[test]
    fn a_head_gives_what_is_in_front() {
        for value in (0..64).flat_map(|bits| [1 << bits, (1 << bits) - 1, (1 << bits) | 1]) {
            let mut bytes = Vec::from([1, 2, 3, 4]);
            put_varint(&mut bytes, value);
            let length = bytes.len() as u32 - 4;
            bytes.extend([5, 0x80, 0xff]);
            bytes.resize(16, 0xff);
            let mut head = Head::new(bytes.try_into().unwrap());
            assert_eq!((head.three(), head.byte()), (0x03_0201, 4));
            let number = head.number();
            if length > 7 {
                assert!(head.taken > 16, "{value:x}");
            } else {
                assert_eq!((number, head.byte()), ((value, length), 5), "{value:x}");
                assert_eq!(head.taken, 5 + length as usize, "{value:x}");
            }
        }
    }

    #[test]
    fn a_message_is_read_in_order_and_to_its_end() {
        let read = |bytes: &[u8]| -> Result<(u64, Vec<u8>)> {
            let mut message = Message::new(bytes);
            let read = (message.number(1)?, message.optional_bytes(2)?.to_vec());
            message.end().map(|()| read)
        };
        assert_eq!(read(&[8, 7]).unwrap(), (7, vec![]));
        assert_eq!(read(&[8, 7, 0x12, 1, 9]).unwrap(), (7, vec![9]));
        for (bytes, error) in [
            (&[][..], "the number of field 1 is missing"),
            (&[0x12, 0], "the number of field 1 is missing"),
            (&[0x0a, 0], "expected a number, found another wire type"),
            (&[8, 7, 8, 7], "field 1 is not expected here"),
            (&[8, 7, 0x10, 7], "expected bytes, found another wire type"),
            (&[8, 7, 0x18, 7], "field 3 is not expected here"),
            (&[8, 0x87, 0], "a number has more bytes than it needs"),
            (&[8, 7, 0x12, 1], "a field of 1 byte is cut off after 0"),
        ] {
            assert_eq!(read(bytes).unwrap_err().to_string(), error, "{bytes:02x?}");
        }
    }

    #[test]
    fn unused_wire_types_are_passed_over() {
        let message = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x18, 7];
        let fields: Vec<_> = Fields::new(&message).map(Result::unwrap).collect();
        assert_eq!(fields, [(1, Value::Fixed), (2, Value::Fixed), (3, Value::Varint(7))]);
    }
}
