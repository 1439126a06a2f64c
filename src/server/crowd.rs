//! How many connections each client has open, and whether it may have one more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::message::network::household;
use crate::server::limits::Crowding;

/// The connections that count, over all listeners that share a drain; as many entries as clients are connected.
#[derive(Debug, Default)]
pub(crate) struct Crowd(Mutex<HashMap<IpAddr, usize>>);

/// A connection counts as its client's as long as this lives.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<Crowd>, IpAddr)>);

impl Crowd {
    /// One more of this client's, unless it has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr, limit: &Crowding) -> Option<Place> {
        let Some(most) = limit.most.filter(|_| !limit.is_exempt(client)) else {
            return Some(Place(None));
        };
        let client = household(client);
        let mut counts = self.0.lock();
        let count = counts.entry(client).or_insert(0);
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(Place(Some((Arc::clone(self), client))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, client)) = self.0.take() else { return };
        let mut counts = crowd.0.lock();
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::message::network::Network;

    #[test]
    fn each_client_has_its_own_count_and_gets_back_what_it_closes() {
        let crowd = Arc::new(Crowd::default());
        let limit = Crowding { most: NonZeroUsize::new(2), exempt: Arc::default() };
        let admit = |client: &str| crowd.admit(client.parse().unwrap(), &limit);
        let (first, second) = (admit("192.0.2.1"), admit("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some());
        drop(first);
        assert!(admit("192.0.2.1").is_some());
        drop(second);
        assert!(crowd.0.lock().is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let crowd = Arc::new(Crowd::default());
        let limit = Crowding { most: NonZeroUsize::new(1), exempt: Arc::default() };
        let _one = crowd.admit("2001:db8::1".parse().unwrap(), &limit).unwrap();
        assert!(crowd.admit("2001:db8::2".parse().unwrap(), &limit).is_none());
        assert!(crowd.admit("2001:db8:0:1::1".parse().unwrap(), &limit).is_some());
    }

    #[test]
    fn who_connects_for_many_is_not_counted() {
        let crowd = Arc::new(Crowd::default());
        let network = Network { address: "10.0.0.0".parse().unwrap(), bits: 8 };
        let limit = Crowding { most: NonZeroUsize::new(1), exempt: Arc::from([network]) };
        let places: Vec<_> =
            (0..3).map(|_| crowd.admit("10.1.2.3".parse().unwrap(), &limit)).collect();
        assert!(places.iter().all(Option::is_some));
    }
}
