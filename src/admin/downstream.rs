//! What became of telling purges downstream, for whoever asks after a purge.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::entry::facts::{Listed, Mark};

/// Purges that are remembered.
const MOST: usize = 10_000;

/// How far each purge was told to whom.
#[derive(Default)]
pub struct Board(Mutex<BTreeMap<Listed, BTreeMap<Arc<str>, State>>>);

/// How far one purge was told to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits, after so many attempts; and what the last one failed of.
    Waiting {
        attempts: u32,
        why: Option<String>,
    },
    Told,
    /// It was told, but not of everything that was purged.
    InPart(String),
    /// It was given up.
    Failed(String),
}

impl Board {
    pub fn note(&self, mark: Mark, name: &Arc<str>, state: State) {
        let mut board = self.0.lock();
        board.entry(mark.into()).or_default().insert(name.clone(), state);
        while board.len() > MOST {
            board.pop_first();
        }
    }

    /// What is known of a purge; nothing where this instance told nobody of it.
    pub(crate) fn shown(&self, mark: Mark) -> Option<Value> {
        let board = self.0.lock();
        let states = board.get(&mark.into())?.iter().map(|(name, state)| {
            let (word, attempts, why) = match state {
                State::Waiting { attempts, why } => ("waiting", Some(*attempts), why.clone()),
                State::Told => ("told", None, None),
                State::InPart(why) => ("in part", None, Some(why.clone())),
                State::Failed(why) => ("failed", None, Some(why.clone())),
            };
            json!({ "name": name, "state": word, "attempts": attempts, "why": why })
        });
        Some(states.collect())
    }
}
