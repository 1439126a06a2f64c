//! How many retries a stream of requests may cause: a share of them, so that retries cannot make a storm.

use std::sync::atomic::{AtomicU64, Ordering};

/// The price of a retry.
const RETRY: u64 = 1_000_000;

/// What may be saved up, and what there is at first: enough that a quiet origin has its retries too.
const SAVINGS: u64 = 10 * RETRY;

/// A purse that each request fills a little and each retry empties by one.
#[derive(Debug)]
pub(crate) struct Budget {
    per_request: u64,
    purse: AtomicU64,
}

impl Budget {
    /// `share` is retries per request, `0.1` for one in ten.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the value is between nought and a million"
    )]
    pub(crate) fn new(share: f64) -> Self {
        let per_request = (share.clamp(0.0, 1.0) * RETRY as f64) as u64;
        let purse = if per_request == 0 { 0 } else { SAVINGS };
        Self { per_request, purse: AtomicU64::new(purse) }
    }

    /// A request comes by.
    pub(crate) fn deposit(&self) {
        // Full most of the time, and then nothing is written.
        if self.purse.load(Ordering::Relaxed) < SAVINGS {
            let _ = self.purse.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |purse| {
                Some((purse + self.per_request).min(SAVINGS))
            });
        }
    }

    /// Pays for one retry; false if there is not enough.
    pub(crate) fn withdraw(&self) -> bool {
        self.purse
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |purse| purse.checked_sub(RETRY))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn withdrawals(budget: &Budget) -> usize {
        std::iter::repeat_with(|| budget.withdraw()).take_while(|paid| *paid).take(1000).count()
    }

    #[test]
    fn it_pays_for_its_share_of_the_requests_and_not_more() {
        let budget = Budget::new(0.1);
        assert_eq!(withdrawals(&budget), 10);
        for _ in 0..50 {
            budget.deposit();
        }
        assert_eq!(withdrawals(&budget), 5);
    }

    #[test]
    fn it_saves_up_only_so_much() {
        let budget = Budget::new(1.0);
        for _ in 0..1000 {
            budget.deposit();
        }
        assert_eq!(withdrawals(&budget), 10);
    }

    #[test]
    fn a_share_of_nothing_pays_for_nothing() {
        assert!(!Budget::new(0.0).withdraw());
    }
}
