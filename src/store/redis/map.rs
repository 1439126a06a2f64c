//! Which server holds which slot, at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::breaker;
use crate::store::redis::address::Address;
use crate::store::redis::link::Link;
use crate::store::redis::slots::{SLOTS, View, slot};

/// What a slot has that nobody holds.
const NOBODY: u16 = u16::MAX;

/// Who may answer a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadFrom {
    Masters,
    Replicas,
}

/// A map from slots to servers; it never changes, another takes its place.
#[derive(Default)]
pub(super) struct Map {
    nodes: Vec<Node>,
    /// The number of the node that holds each slot.
    holders: Vec<u16>,
    /// Whether one node holds them all.
    is_alone: bool,
}

/// A master and its replicas.
pub(super) struct Node {
    pub(super) master: Arc<Link>,
    replicas: Vec<Arc<Link>>,
    turn: AtomicUsize,
}

impl Map {
    /// The map of what was seen. A server without a link is left out.
    pub(super) fn of(view: &View, mut link: impl FnMut(&Address) -> Option<Arc<Link>>) -> Self {
        let holders = vec![NOBODY; usize::from(SLOTS)];
        let mut map = Self { nodes: Vec::new(), holders, is_alone: false };
        for shard in &view.0 {
            let Some(master) = link(&shard.master) else { continue };
            let Ok(number) = u16::try_from(map.nodes.len()) else { break };
            let replicas = shard.replicas.iter().filter_map(&mut link).collect();
            map.nodes.push(Node { master, replicas, turn: AtomicUsize::new(0) });
            for (first, last) in &shard.slots {
                let range = usize::from(*first)..=usize::from(*last);
                map.holders.get_mut(range).into_iter().for_each(|range| range.fill(number));
            }
        }
        map.is_alone = map.holders.iter().all(|holder| *holder == 0);
        map
    }

    /// Who holds the key. Its slot is counted out only where that tells anything: 550 instructions.
    pub(super) fn holder(&self, key: &str) -> Option<&Node> {
        if self.is_alone {
            return self.nodes.first();
        }
        self.nodes.get(usize::from(*self.holders.get(usize::from(slot(key)))?))
    }

    pub(super) fn masters(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.nodes.iter().map(|node| &node.master)
    }

    /// Every link, masters first.
    pub(super) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.masters().chain(self.nodes.iter().flat_map(|node| &node.replicas))
    }

    /// The link to the server at this address.
    pub(super) fn at(&self, address: &Address) -> Option<Arc<Link>> {
        self.links().find(|link| link.address() == address).cloned()
    }
}

impl Node {
    /// The master; or, where replicas may answer, the next in turn of all that are well.
    pub(super) fn link(&self, from: ReadFrom) -> Arc<Link> {
        if from == ReadFrom::Masters || self.replicas.is_empty() {
            return self.master.clone();
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.replicas.len() + 1);
        let all = self.replicas.iter().chain([&self.master]).cycle();
        let mut in_turn = all.skip(turn).take(self.replicas.len() + 1);
        let well =
            in_turn.find(|link| link.is_up() && link.breaker_state() == breaker::State::Closed);
        well.unwrap_or(&self.master).clone()
    }
}
