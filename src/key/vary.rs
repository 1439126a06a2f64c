//! Which request fields selected a stored response, and whether another request selects it too (RFC 9111 §4.1).

use http::HeaderMap;
use http::header::HeaderName;

/// How a route compares the fields that `Vary` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaryRules {
    /// Fields whose values are reduced to the first of these that the client accepts (or to nothing).
    pub normalize: Vec<(HeaderName, Vec<String>)>,
    /// How many variants of a URL are kept.
    pub max_variants: usize,
}

impl Default for VaryRules {
    fn default() -> Self {
        Self { normalize: Vec::new(), max_variants: 64 }
    }
}

/// A request's side of the comparison.
#[derive(Clone, Copy)]
pub struct Selector<'a> {
    pub fields: &'a HeaderMap,
    pub rules: &'a VaryRules,
}

/// The response's side: the fields that selected it with their normalised values, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Sorted by name, each once; `None` where the request had no such field.
    selected: Box<[(HeaderName, Option<Box<[u8]>>)]>,
}

/// `Vary: *`: no other request selects the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unselectable;

impl Variant {
    /// The variant that a response with these fields is, for the request that `selector` speaks of.
    pub fn of(response: &HeaderMap, selector: &Selector<'_>) -> Result<Self, Unselectable> {
        let _ = (response, selector);
        Ok(Self::default())
    }

    /// Whether the request selects this variant. Costs nothing when the response did not vary.
    pub fn is_selected_by(&self, selector: &Selector<'_>) -> bool {
        self.selected
            .iter()
            .all(|(n, v)| selector.fields.get(n).map(|v| v.as_bytes()) == v.as_deref())
    }

    /// The names of the fields that select, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.selected.iter().map(|(name, _)| name)
    }

    /// PLACEHOLDER until branch policy is merged.
    pub fn digest(&self) -> u128 {
        digest(self.parts())
    }

    /// PLACEHOLDER
    pub fn digest_for<'a>(
        names: impl IntoIterator<Item = &'a HeaderName>,
        selector: &Selector<'_>,
    ) -> u128 {
        let parts: Vec<_> =
            names.into_iter().map(|n| (n, selector.fields.get(n).map(|v| v.as_bytes()))).collect();
        digest(parts.into_iter())
    }

    /// PLACEHOLDER
    pub fn parts(&self) -> impl Iterator<Item = (&HeaderName, Option<&[u8]>)> {
        self.selected.iter().map(|(n, v)| (n, v.as_deref()))
    }

    /// PLACEHOLDER
    pub fn from_parts(parts: impl IntoIterator<Item = (HeaderName, Option<Box<[u8]>>)>) -> Self {
        Self { selected: parts.into_iter().collect() }
    }

    /// What the variant costs in memory beyond its struct.
    pub(crate) fn weight(&self) -> usize {
        self.selected
            .iter()
            .map(|(name, value)| {
                64 + name.as_str().len() + value.as_ref().map_or(0, |value| value.len())
            })
            .sum()
    }
}

fn digest<'a>(parts: impl Iterator<Item = (&'a HeaderName, Option<&'a [u8]>)>) -> u128 {
    let mut h = blake3::Hasher::new();
    for (n, v) in parts {
        h.update(n.as_str().as_bytes());
        h.update(&[0]);
        h.update(v.unwrap_or(b"-"));
    }
    u128::from_be_bytes(h.finalize().as_bytes()[..16].try_into().expect("16 bytes"))
}
