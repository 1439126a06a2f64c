//! One value for each runtime that asks for it, such as the connections that its tasks drive.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::runtime::{Handle, Id};

/// One value for each runtime that has asked: whatever is driven by a runtime is used on it alone, so that nobody waits
/// for another thread.
///
/// Asking costs a read lock and a look through a list: runtimes are few, and found sooner than a hash of the name is
/// made. Values are dropped with the list; those that [`Ends::has_ended`] already when the next is made.
pub struct PerRuntime<T>(RwLock<Vec<(Id, Arc<T>)>>);

/// Tells which values outlived their runtimes.
pub trait Ends {
    /// Whether nobody will ask for it again, since the runtime has ended that drove it.
    fn has_ended(&self) -> bool {
        false
    }
}

impl<T> Default for PerRuntime<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Ends> PerRuntime<T> {
    /// The current runtime's value; what is made in its place if there is none yet. `make` must not ask in turn.
    ///
    /// # Panics
    ///
    /// Outside of a runtime.
    pub fn get(&self, make: impl FnOnce(&Handle) -> T) -> Arc<T> {
        let runtime = Handle::current();
        let id = runtime.id();
        if let Some(found) = find(&self.0.read(), id) {
            return found;
        }
        let mut all = self.0.write();
        // Another thread of the same runtime may have come first.
        if let Some(found) = find(&all, id) {
            return found;
        }
        all.retain(|(_, value)| !value.has_ended());
        let value = Arc::new(make(&runtime));
        all.push((id, value.clone()));
        value
    }
}

fn find<T>(all: &[(Id, Arc<T>)], id: Id) -> Option<Arc<T>> {
    all.iter().find(|(of, _)| *of == id).map(|(_, value)| value.clone())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    #[derive(Default)]
    struct Driven(AtomicBool);

    impl Ends for Driven {
        fn has_ended(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn each_runtime_has_one_of_its_own() {
        let all = PerRuntime::<Driven>::default();
        let ask = |runtime: &Runtime| runtime.block_on(async { all.get(|_| Driven::default()) });
        let (one, other) = (runtime(), runtime());
        let first = ask(&one);
        assert!(Arc::ptr_eq(&first, &ask(&one)));
        assert!(!Arc::ptr_eq(&first, &ask(&other)));
    }

    #[test]
    fn what_has_ended_is_dropped_when_the_next_is_made() {
        let all = PerRuntime::<Driven>::default();
        let ask = || runtime().block_on(async { all.get(|_| Driven::default()) });
        let (ended, lives) = (ask(), ask());
        ended.0.store(true, Ordering::Relaxed);
        ask();
        assert_eq!((Arc::strong_count(&ended), Arc::strong_count(&lives)), (1, 2));
    }
}
