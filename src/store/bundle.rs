//! All variants of a URL as one value, for a store that has one value per key.

use bytes::{BufMut, Bytes, BytesMut};

use crate::entry::pack::{Reader, Writer};
use crate::entry::wire::{Encoded, Unreadable};
use crate::key::vary::Selector;
use crate::store::index::{self, Listed, Slot};
use crate::time::Timestamp;

/// A slot as it is written to one place: the length of the index, the index, the variants in the order of the index.
#[derive(Default)]
pub(crate) struct Bundle(Vec<(Listed, Bytes)>);

impl Bundle {
    /// Nothing where the bytes make no sense. Copies nothing.
    pub(crate) fn parse(bytes: &Bytes) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let mut index = Reader::new(rest.get(..length)?);
        let mut at = 4 + length;
        let mut slot = Vec::new();
        for _ in 0..index.array()? {
            index.array_of(2..=2)?;
            let (listed, length) = (Listed::read(&mut index)?, index.number()?);
            let end = at.checked_add(length).filter(|end| *end <= bytes.len())?;
            slot.push((listed, bytes.slice(at..end)));
            at = end;
        }
        (at == bytes.len()).then_some(Self(slot))
    }

    /// The bytes of the newest variant that the request selects, without the others where these would keep much more
    /// memory than it costs.
    pub(crate) fn newest(
        &self,
        selector: &Selector<'_>,
        slot: &Slot<'_>,
    ) -> Result<Option<(&str, Bytes)>, Unreadable> {
        let listed: Vec<_> = self.0.iter().map(|(listed, _)| listed.clone()).collect();
        let Some(newest) = index::newest(&listed, selector, slot, Timestamp::now())? else {
            return Ok(None);
        };
        let found = self.0.iter().find(|(listed, _)| listed.digest == newest.digest);
        Ok(found.map(|(listed, bytes)| {
            let all: usize = self.0.iter().map(|(_, bytes)| bytes.len()).sum();
            let mostly_others = all > bytes.len() * 5 / 4;
            let bytes = if mostly_others { Bytes::copy_from_slice(bytes) } else { bytes.clone() };
            (&*listed.digest, bytes)
        }))
    }

    /// Whether the entry, with how it is listed, is now part of the slot.
    pub(crate) fn add(
        &mut self,
        listed: Listed,
        encoded: &Encoded,
        max_variants: usize,
        now: Timestamp,
    ) -> bool {
        let bytes = &encoded.bytes;
        let digest = listed.digest.clone();
        let known: Vec<_> = self.0.iter().map(|(listed, _)| listed.clone()).collect();
        let Some(index) = index::with(known, listed, max_variants, now) else { return false };
        let old = std::mem::take(&mut self.0);
        let bytes_of = |listed: &Listed| {
            if listed.digest == digest {
                return Some(bytes.clone());
            }
            old.iter().find(|(old, _)| old.digest == listed.digest).map(|(_, bytes)| bytes.clone())
        };
        self.0 = index
            .into_iter()
            .filter_map(|listed| bytes_of(&listed).map(|bytes| (listed, bytes)))
            .collect();
        true
    }

    /// The slot without as many of its oldest variants as are too much; nothing when none is left.
    pub(crate) fn bytes(mut self, most: usize) -> Option<Bytes> {
        loop {
            if self.0.is_empty() {
                return None;
            }
            let mut index = Writer::default();
            index.array(self.0.len());
            for (listed, bytes) in &self.0 {
                index.array(2);
                listed.write(&mut index);
                index.number(bytes.len() as u64);
            }
            let index = index.into_bytes();
            let length =
                4 + index.len() + self.0.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            if length <= most {
                let mut whole = BytesMut::with_capacity(length);
                whole.put_u32(u32::try_from(index.len()).ok()?);
                whole.put_slice(&index);
                for (_, bytes) in &self.0 {
                    whole.put_slice(bytes);
                }
                return Some(whole.freeze());
            }
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::{any, prop};
    use proptest::{prop_assert, proptest};

    use super::*;
    use crate::entry::seal::Seal;
    use crate::key::Key;
    use crate::key::vary::VaryRules;

    fn listed(digest: &str, names: &str, received: u64) -> Listed {
        let listed = (digest, names, u64::MAX, (1_u64, 0_u64), received);
        Listed::read(&mut Reader::new(&rmp_serde::to_vec(&listed).unwrap())).unwrap()
    }

    fn bundle(variants: u32) -> Bundle {
        let variant = |number| {
            let listed = listed(&format!("{number:x}"), "x-a", 100 - u64::from(number));
            (listed, Bytes::from(vec![7; 1000]))
        };
        Bundle((1..=variants).map(variant).collect())
    }

    #[test]
    fn what_is_too_much_loses_its_oldest_variants() {
        let whole = Bundle::parse(&bundle(5).bytes(10_000).unwrap()).unwrap();
        assert_eq!(whole.0.len(), 5);
        let fitting = bundle(5).bytes(3500).unwrap();
        assert!(fitting.len() <= 3500);
        let kept: Vec<_> = Bundle::parse(&fitting).unwrap().0;
        assert_eq!(
            kept.iter().map(|(listed, _)| &*listed.digest).collect::<Vec<_>>(),
            ["1", "2", "3"]
        );
        assert_eq!(bundle(1).bytes(500), None);
    }

    #[test]
    fn one_variant_does_not_keep_the_memory_of_the_others() {
        let mut bundle = bundle(5);
        bundle.0.push((listed("0", "", 999), Bytes::from_static(b"plain")));
        let bytes = bundle.bytes(10_000).unwrap();
        let (fields, rules) = (HeaderMap::new(), VaryRules::default());
        let selector = Selector { fields: &fields, rules: &rules };
        let seal = Seal::default();
        let slot = Slot { seal: &seal, name: "a", key: Key::from_bits(1) };
        let whole = Bundle::parse(&bytes).unwrap();
        let (_, plain) = whole.newest(&selector, &slot).unwrap().unwrap();
        assert_eq!(plain, "plain");
        assert!(!bytes.as_ptr_range().contains(&plain.as_ptr()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _sense_or_none = Bundle::parse(&bytes.into());
        }

        #[test]
        fn a_cut_bundle_makes_no_sense(at in any::<prop::sample::Index>()) {
            let whole = bundle(3).bytes(10_000).unwrap();
            prop_assert!(Bundle::parse(&whole.slice(..at.index(whole.len()))).is_none());
        }
    }
}
