//! Which layers are on, on this instance: told while it runs, and forgotten when it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::route::Layers;

/// Whether a layer is read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

/// The switches of both layers, on at the start. Cloning shares them; reading them costs one relaxed load.
#[derive(Clone, Debug, Default)]
pub struct Switches(Arc<AtomicU8>);

/// The bits of what is off.
const L1: u8 = 1;
const L2: u8 = 2;

impl Switches {
    pub fn l1(&self) -> Switch {
        self.of(L1)
    }

    pub fn l2(&self) -> Switch {
        self.of(L2)
    }

    /// From the next request on memory is used so; returns how it was used before.
    pub fn turn_l1(&self, switch: Switch) -> Switch {
        self.turn(L1, switch)
    }

    /// From the next request on the store behind memory is used so; returns how it was used before.
    pub fn turn_l2(&self, switch: Switch) -> Switch {
        self.turn(L2, switch)
    }

    /// Those of `layers` that are on; nothing where all are off.
    pub fn left_of(&self, layers: Layers) -> Option<Layers> {
        let off = self.0.load(Ordering::Relaxed);
        match (layers, switch(off, L1), switch(off, L2)) {
            (_, Switch::On, Switch::On) => Some(layers),
            (Layers::Both | Layers::OnlyL1, Switch::On, Switch::Off) => Some(Layers::OnlyL1),
            (Layers::Both | Layers::OnlyL2, Switch::Off, Switch::On) => Some(Layers::OnlyL2),
            (Layers::OnlyL2, Switch::On, Switch::Off)
            | (Layers::OnlyL1, Switch::Off, Switch::On)
            | (_, Switch::Off, Switch::Off) => None,
        }
    }

    fn of(&self, layer: u8) -> Switch {
        // Nothing else is read by what is seen here: an order with other memory is not needed.
        switch(self.0.load(Ordering::Relaxed), layer)
    }

    fn turn(&self, layer: u8, to: Switch) -> Switch {
        let before = match to {
            Switch::On => self.0.fetch_and(!layer, Ordering::Relaxed),
            Switch::Off => self.0.fetch_or(layer, Ordering::Relaxed),
        };
        switch(before, layer)
    }
}

impl Switch {
    pub const fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

const fn switch(off: u8, layer: u8) -> Switch {
    if off & layer == 0 { Switch::On } else { Switch::Off }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_routes_layers_is_what_is_on_of_them() {
        let switches = Switches::default();
        let left = || [Layers::Both, Layers::OnlyL1, Layers::OnlyL2].map(|of| switches.left_of(of));
        let (l1, l2) = (Some(Layers::OnlyL1), Some(Layers::OnlyL2));
        assert_eq!(left(), [Some(Layers::Both), l1, l2]);
        assert_eq!(switches.turn_l2(Switch::Off), Switch::On);
        assert_eq!(left(), [l1, l1, None]);
        assert_eq!(switches.clone().turn_l1(Switch::Off), Switch::On);
        assert_eq!(left(), [None, None, None]);
        assert_eq!(switches.turn_l2(Switch::On), Switch::Off);
        assert_eq!(left(), [l2, None, l2]);
        assert_eq!((switches.turn_l1(Switch::On), switches.l1()), (Switch::Off, Switch::On));
        assert_eq!(left(), [Some(Layers::Both), l1, l2]);
    }
}
