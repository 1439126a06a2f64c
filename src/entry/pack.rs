//! `MessagePack` as entries and indexes are written in it: arrays of numbers, texts and bytes, read where they lie.

use std::ops::RangeInclusive;

use rmp::encode::buffer::ByteBuf;
use rmp::{decode, encode};

/// Reads one value after another; nothing where the next is of another kind, or cut off. No bytes make it panic, and
/// none make it take memory.
///
/// A deserialiser calls back for each value and gathers lists that nobody keeps.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Begins an array; tells how many values are in it.
    pub(crate) fn array(&mut self) -> Option<u32> {
        decode::read_array_len(&mut self.0).ok()
    }

    /// Begins an array of so many values.
    pub(crate) fn array_of(&mut self, lengths: RangeInclusive<u32>) -> Option<u32> {
        self.array().filter(|length| lengths.contains(length))
    }

    /// A number, however it is written; nothing where `T` does not hold it.
    pub(crate) fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(decode::read_int(&mut self.0).ok()?).ok()
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let length = decode::read_str_len(&mut self.0).ok()?;
        str::from_utf8(self.take(length)?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = decode::read_bin_len(&mut self.0).ok()?;
        self.take(length)
    }

    /// Whether the next value is nothing, which is read then.
    pub(crate) fn nil(&mut self) -> bool {
        let mut ahead = self.0;
        let is_nil = decode::read_nil(&mut ahead).is_ok();
        if is_nil {
            self.0 = ahead;
        }
        is_nil
    }

    fn take(&mut self, length: u32) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

/// Writes one value after another, each in its shortest form; into memory, where nothing fails.
#[derive(Default)]
pub(crate) struct Writer(ByteBuf);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// Begins an array of so many values, of which there are fewer than four billion.
    pub(crate) fn array(&mut self, length: usize) {
        let Ok(_) = encode::write_array_len(&mut self.0, short(length));
    }

    pub(crate) fn number(&mut self, number: u64) {
        let Ok(_) = encode::write_uint(&mut self.0, number);
    }

    pub(crate) fn text(&mut self, text: &str) {
        let Ok(()) = encode::write_str(&mut self.0, text);
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let Ok(()) = encode::write_bin(&mut self.0, bytes);
    }

    pub(crate) fn bytes_or_nil(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bytes(bytes),
            None => {
                let Ok(()) = encode::write_nil(&mut self.0);
            }
        }
    }
}

fn short(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, prop_assert_eq, proptest};
    use serde_bytes::ByteBuf;

    use super::*;

    proptest! {
        /// What any other implementation reads and writes.
        #[test]
        fn what_is_written_is_what_a_deserialiser_reads_and_the_other_way_round(
            number in any::<u64>(), shift in 0..64_u32, text in ".{0,300}",
            bytes in prop::option::of(prop::collection::vec(any::<u8>(), 0..70_000)),
            many in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let number = number >> shift;
            let mut writer = Writer::default();
            writer.array(4);
            writer.number(number);
            writer.text(&text);
            writer.bytes_or_nil(bytes.as_deref());
            writer.array(many.len());
            for one in &many {
                writer.number((*one).into());
            }
            let written = writer.into_bytes();
            let all = (number, text, bytes.map(ByteBuf::from), many);
            prop_assert_eq!(&written, &rmp_serde::to_vec(&all).unwrap());

            let (number, text, bytes, many) = &all;
            let mut reader = Reader::new(&written);
            prop_assert_eq!(reader.array_of(4..=4), Some(4));
            prop_assert_eq!(reader.number(), Some(*number));
            prop_assert_eq!(reader.text(), Some(&**text));
            prop_assert_eq!(reader.nil(), bytes.is_none());
            if let Some(bytes) = bytes {
                prop_assert_eq!(reader.bytes(), Some(bytes.as_slice()));
            }
            let length = reader.array();
            prop_assert_eq!(length, u32::try_from(many.len()).ok());
            for one in many {
                prop_assert_eq!(reader.number(), Some(*one));
            }
            prop_assert!(reader.0.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let readers: [fn(&mut Reader<'_>) -> bool; 6] = [
                |reader| reader.array().is_some(),
                |reader| reader.number::<u8>().is_some(),
                |reader| reader.number::<u64>().is_some(),
                |reader| reader.text().is_some(),
                |reader| reader.bytes().is_some(),
                |reader| reader.nil(),
            ];
            for read in readers {
                let mut reader = Reader::new(&bytes);
                while read(&mut reader) {}
            }
        }
    }

    #[test]
    fn what_is_of_another_kind_or_cut_off_or_too_large_is_nothing() {
        let mut writer = Writer::default();
        writer.bytes(b"abc");
        let written = writer.into_bytes();
        assert_eq!(Reader::new(&written).text(), None);
        assert_eq!(Reader::new(&written).array(), None);
        assert_eq!(Reader::new(&written).number::<u64>(), None);
        assert_eq!(Reader::new(&written[..4]).bytes(), None);
        // As if there were four billion of them.
        assert_eq!(Reader::new(&[0xc6, 0xff, 0xff, 0xff, 0xff, 0]).bytes(), None);
        assert_eq!(Reader::new(&[0xcd, 1, 0]).number::<u8>(), None);
        assert_eq!(Reader::new(&[0xff]).number::<u64>(), None, "minus one");
        assert_eq!(Reader::new(&[0xd3, 0, 0, 0, 0, 0, 0, 0, 7]).number(), Some(7_u64), "signed");
        assert_eq!(Reader::new(&[0x92]).array_of(3..=4), None);
        assert_eq!(Reader::new(&[0x92, 0xff]).array_of(2..=4), Some(2));
        assert!(!Reader::new(&[]).nil());
    }
}
