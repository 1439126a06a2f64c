//! Submits purges to the log, follows it, and tells who has applied what.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, broadcast};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, error, info, warn};

use crate::entry::facts::{Epoch, Mark};
use crate::purge::audit::{self, Audit};
use crate::purge::ledger::Ledger;
use crate::purge::log::{Appended, Instance, LogError, Page, PurgeLog};
use crate::purge::{Cause, Effect, Purge, Record, Scope};
use crate::time::Timestamp;

/// How long one reading of the log waits for news.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one call to the log may take beyond its patience before it counts as failed.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long the follower rests after a failure, at first.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How many purges are kept for a log that is away; older ones become one purge of everything.
const PENDING: usize = 10_000;
/// Submitted purges that wait for whoever acts on them; who is slower than that is told how many it missed.
const SUBMITTED: usize = 1024;

/// Submits purges, follows the log, and keeps this instance's promise to the fleet. Clones share one purger.
pub struct Purger<L>(Arc<Parts<L>>);

struct Parts<L> {
    ledger: Arc<Ledger>,
    log: L,
    settings: Settings,
    /// Purges that were applied here and could not be appended yet, the oldest first.
    pending: Mutex<VecDeque<Pending>>,
    /// Told when none is left.
    emptied: Notify,
    /// When the log was last read to its end.
    read: Mutex<Option<Instant>>,
    audit: Audit,
    submitted: broadcast::Sender<Arc<Submitted>>,
}

/// A moment between purges, as far as they are known here: what is asked for then is as old as that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub known: Mark,
    /// The ledger's turn.
    pub turn: u64,
}

/// A purge that the log has not taken yet, and its turn in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    turn: u64,
    record: Record,
    /// Where and when a log took it that was not followed then: one that has begun anew is to be read first.
    written: Option<(Mark, Instant)>,
}

/// A purge that this instance was asked for, and that is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    pub mark: Mark,
    pub record: Record,
}

/// How this instance follows the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the fleet calls this instance.
    pub instance: String,
    /// How long the fleet may count on this instance after it was last heard of.
    pub lease: Duration,
    pub when_detached: WhenDetached,
}

/// What becomes of stored responses while the log cannot be read for longer than the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDetached {
    /// They are validated with the origin before they are served: no purge is ever missed.
    Validate,
    /// They are served as they are: a purge made meanwhile is missed until the log is back.
    Serve,
}

/// For whom a purge waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until every live instance has applied it.
    All,
    /// Until it is in the log and applied here.
    Local,
}

/// What became of a purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub mark: Mark,
    /// Whether every live instance has applied it: then none serves what it purged.
    pub complete: bool,
    pub instances: Vec<Applied>,
}

impl Receipt {
    /// Notes that this instance has applied the purge.
    fn applied_by(&mut self, id: &str) {
        for instance in &mut self.instances {
            instance.applied |= instance.id == id;
        }
        self.judge();
    }

    fn judge(&mut self) {
        self.complete = !self.instances.is_empty() && self.instances.iter().all(|it| it.applied);
    }
}

/// How far one live instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub id: String,
    /// Whether it has applied the purge.
    pub applied: bool,
    /// The mark up to which it has applied the log.
    pub at: Mark,
    /// When its lease ends, unless it renews it.
    pub until: Timestamp,
}

/// A purge that is applied here but could not be appended; it is kept and appended when the log is back.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the purge is applied on this instance only, the others will learn of it when the log is back: {why}"
)]
pub struct Detached {
    pub why: LogError,
}

impl<L> Clone for Purger<L> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<L: PurgeLog> Purger<L> {
    pub fn new(ledger: Arc<Ledger>, log: L, settings: Settings) -> Self {
        let (submitted, _) = broadcast::channel(SUBMITTED);
        let (pending, read, audit) = (Mutex::default(), Mutex::default(), Audit::default());
        let emptied = Notify::new();
        Self(Arc::new(Parts { ledger, log, settings, pending, emptied, read, audit, submitted }))
    }

    /// Purges: appends `record`, applies it here, and waits as asked, for at most `longest`.
    ///
    /// When it returns, nothing that the record purges is served by this instance to a request that begins now,
    /// whatever the result. Dropped while it waits, the purge holds all the same: what is not known to be in the log
    /// is appended by whoever follows it.
    pub async fn submit(
        &self,
        record: Record,
        wait: Wait,
        longest: Duration,
    ) -> Result<Receipt, Detached> {
        let until = Instant::now() + longest;
        let Appended { mark, .. } = self.append(&record, longest).await?;
        Ok(self.wait(mark, wait, until).await)
    }

    /// The moment that it is now.
    pub fn moment(&self) -> Moment {
        let ledger = &self.0.ledger;
        Moment { known: ledger.known(), turn: ledger.turn() }
    }

    /// Purges until it is in the log and applied here, and returns the record's mark if the log took nothing between
    /// `moment` and the record. Then what was asked for at that moment may be kept as of the mark, in the moment's turn:
    /// the record itself does not make it old; what comes later does, and so does what was asked for here meanwhile and
    /// is not in the log yet.
    pub async fn submit_next_after(
        &self,
        moment: Moment,
        record: Record,
        longest: Duration,
    ) -> Result<Option<Mark>, Detached> {
        let Appended { mark, after } = self.append(&record, longest).await?;
        // Where the log began anew, the marks are not in any order.
        Ok((after <= moment.known).then_some(mark))
    }

    /// Applies `record` here and appends it, for at most `longest`.
    async fn append(&self, record: &Record, longest: Duration) -> Result<Appended, Detached> {
        let parts = &self.0;
        // Applied before it is appended: the caller may not come back to apply it after.
        let turn = parts.ledger.apply_pending(record, Timestamp::now());
        let mut unappended = Unappended { purger: self, turn, record, written: None };
        let appended = timeout(DEADLINE.min(longest), parts.log.append(record)).await;
        let appended = appended.unwrap_or_else(|_| Err(LogError::Away("no answer".into())));
        let appended = appended.map_err(|why| {
            tell_detached(record, &why);
            Detached { why }
        })?;
        // What a log has that is not followed yet holds when that is; and if that is lost as well, it is appended again.
        unappended.written = Some((appended.mark, Instant::now()));
        if parts.ledger.appended(turn, appended.mark, record, Timestamp::now()) {
            unappended.settled();
            self.appended(appended.mark, record);
        }
        Ok(appended)
    }

    /// The latest purges of the fleet.
    pub fn audit(&self) -> &Audit {
        &self.0.audit
    }

    /// What this instance is asked to purge from now on, once it is in the log.
    pub fn submissions(&self) -> broadcast::Receiver<Arc<Submitted>> {
        self.0.submitted.subscribe()
    }

    /// Tells of a purge that was asked for here, that it is in the log now.
    fn appended(&self, mark: Mark, record: &Record) {
        tell_purged(mark, record);
        self.0.audit.note(mark, record);
        // Nobody listens where nothing acts on purges.
        let _ = self.0.submitted.send(Arc::new(Submitted { mark, record: record.clone() }));
    }

    async fn wait(&self, mark: Mark, wait: Wait, until: Instant) -> Receipt {
        let mut pause = Duration::from_millis(1);
        loop {
            let receipt = timeout_at(until, self.receipt(mark)).await;
            let nothing_yet = Receipt { mark, complete: false, instances: Vec::new() };
            let mut receipt = receipt.ok().and_then(Result::ok).unwrap_or(nothing_yet);
            // Applied before it was appended, and told to the fleet a little later.
            receipt.applied_by(&self.0.settings.instance);
            let enough = match wait {
                Wait::Local => true,
                Wait::All => receipt.complete,
            };
            if enough || Instant::now() + pause >= until {
                return receipt;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }

    /// Who has applied the purge at `mark`.
    pub async fn receipt(&self, mark: Mark) -> Result<Receipt, LogError> {
        let instances: Vec<Applied> = self
            .instances()
            .await?
            .into_iter()
            .map(|Instance { id, applied, until }| Applied {
                id,
                applied: applied >= mark || self.is_past(mark, applied),
                at: applied,
                until,
            })
            .collect();
        let mut receipt = Receipt { mark, complete: false, instances };
        receipt.judge();
        Ok(receipt)
    }

    /// Whether an instance that has applied the log up to `applied` trusts nothing from before `mark`: the log of
    /// the mark is lost, and the instance follows the one that came after.
    fn is_past(&self, mark: Mark, applied: Mark) -> bool {
        let followed = self.0.ledger.known().epoch;
        applied.epoch != mark.epoch && applied.epoch == followed && followed != Epoch::NONE
    }

    /// The live instances of the fleet.
    pub async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        let asked = timeout(DEADLINE, self.0.log.instances()).await;
        asked.unwrap_or_else(|_| Err(LogError::Away("no answer".into())))
    }

    /// How many purges wait for the log to come back.
    pub fn pending(&self) -> usize {
        self.0.pending.lock().len()
    }

    /// How long ago this instance last knew the log to its end, if it ever did.
    pub fn lag(&self) -> Option<Duration> {
        self.0.read.lock().map(|read| read.elapsed())
    }

    /// Takes part in the fleet: registers, and applies what the log holds already. To be done before the first
    /// request, so that nothing purged is served after a start, and so that every purge from now on waits for this
    /// instance. If the log cannot be had by `until`, nothing that is stored is trusted until it can.
    pub async fn join(&self, until: Instant) -> Follower<L> {
        let mut follower = Follower::new(self.clone());
        loop {
            match timeout_at(until, follower.join()).await {
                Ok(Ok(())) => return follower,
                Ok(Err(why)) => debug!(error = %why, "the purge log cannot be read yet"),
                Err(_) => break,
            }
            if timeout_at(until, sleep(Duration::from_millis(100))).await.is_err() {
                break;
            }
        }
        follower.lose();
        follower
    }

    /// Tells the fleet that this instance leaves, so that no purge waits for it. For a log that has not taken all purges yet it is
    /// waited until `until`: what it has not taken by then is gone with this instance, which is told.
    pub async fn leave(&self, until: Instant) {
        if timeout_at(until, self.emptied()).await.is_err() {
            self.0.pending.lock().iter().for_each(|lost| tell_lost(&lost.record));
        }
        let told = timeout(DEADLINE, self.0.log.acknowledge(Mark::ZERO, Duration::ZERO)).await;
        if !matches!(told, Ok(Ok(()))) {
            info!(
                "the fleet could not be told that this instance leaves; its lease will end by itself"
            );
        }
    }

    /// Returns once no purge waits for the log.
    async fn emptied(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            if self.pending() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn keep(&self, kept: Pending) {
        let mut pending = self.0.pending.lock();
        if pending.len() < PENDING {
            pending.push_back(kept);
            return;
        }
        warn!("too many purges wait for the log; they become one purge of everything");
        let everything = Purge { scope: Scope::Everything, effect: Effect::Remove };
        let reason = Some("too many purges were pending".into());
        let cause = Cause { by: "larder".into(), reason, ..Cause::default() };
        let record = Record { purges: vec![everything], cause, at: kept.record.at };
        let turn = self.0.ledger.apply_pending(&record, Timestamp::now());
        for old in pending.drain(..).chain([kept]) {
            self.0.ledger.replaced(old.turn);
        }
        pending.push_back(Pending { turn, record, written: None });
    }
}

/// The audit's line.
fn tell_purged(mark: Mark, record: &Record) {
    let (told, cause) = (audit::told(record), &record.cause);
    info!(
        target: "larder::audit",
        { purge.mark = %mark, purge.by = %cause.by, purge.from = shown(cause.from.as_ref()),
          purge.event = shown(cause.event.as_ref()), purge.reason = shown(cause.reason.as_ref()),
          purge.number = told.len(), purge.first = told.first().map_or("", String::as_str),
          purge.effect = ?audit::effect(record) },
        "purged"
    );
}

fn tell_detached(record: &Record, why: &LogError) {
    let (told, cause) = (audit::told(record), &record.cause);
    warn!(
        target: "larder::audit",
        { purge.by = %cause.by, purge.from = shown(cause.from.as_ref()),
          purge.event = shown(cause.event.as_ref()), purge.reason = shown(cause.reason.as_ref()),
          purge.number = told.len(), purge.first = told.first().map_or("", String::as_str),
          purge.effect = ?audit::effect(record), error = %why },
        "purged on this instance only"
    );
}

fn tell_lost(record: &Record) {
    let (told, cause) = (audit::told(record), &record.cause);
    error!(
        target: "larder::audit",
        { purge.by = %cause.by, purge.from = shown(cause.from.as_ref()),
          purge.event = shown(cause.event.as_ref()), purge.reason = shown(cause.reason.as_ref()),
          purge.number = told.len(), purge.first = told.first().map_or("", String::as_str),
          purge.effect = ?audit::effect(record) },
        "a purge is lost to the others: the purge log did not take it before this instance's end; purge it again"
    );
}

fn shown(text: Option<&String>) -> &str {
    text.map_or("", String::as_str)
}

/// A record that is applied here and may not be in the log; dropped, it is kept for it.
struct Unappended<'a, L: PurgeLog> {
    purger: &'a Purger<L>,
    turn: u64,
    record: &'a Record,
    written: Option<(Mark, Instant)>,
}

impl<L: PurgeLog> Unappended<'_, L> {
    /// Says that the log has it.
    fn settled(self) {
        std::mem::forget(self);
    }
}

impl<L: PurgeLog> Drop for Unappended<'_, L> {
    fn drop(&mut self) {
        let Self { turn, written, .. } = *self;
        self.purger.keep(Pending { turn, record: self.record.clone(), written });
    }
}

/// One following of the log: this instance's part in the fleet. Dropped (a panic of its task, too), it leaves nothing
/// that is stored trusted.
pub struct Follower<L: PurgeLog> {
    purger: Purger<L>,
    cursor: Mark,
    /// When the last acknowledgement that came through was sent; the fleet counts our lease from later than that.
    vouched: Instant,
    acknowledged: Option<Mark>,
    pause: Duration,
    said: Said,
}

/// What the operator was told of the log last: each outage is told once, not at each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Away,
}

impl<L: PurgeLog> Follower<L> {
    fn new(purger: Purger<L>) -> Self {
        Self {
            purger,
            cursor: Mark::ZERO,
            vouched: Instant::now(),
            acknowledged: None,
            pause: FIRST_PAUSE,
            said: Said::Nothing,
        }
    }

    fn tell_away(&mut self, why: &LogError) {
        match self.said {
            Said::Nothing => warn!(error = %why, "the purge log is away"),
            Said::Away => debug!(error = %why, "the purge log is still away"),
        }
        self.said = Said::Away;
    }

    fn tell_back(&mut self) {
        match self.said {
            Said::Nothing => {}
            Said::Away => info!("the purge log is back"),
        }
        self.said = Said::Nothing;
    }

    /// Registers between two readings: a purge that came before the first of them is applied, one that came after
    /// the registration waits for us, and the second reading brings those in between.
    async fn join(&mut self) -> Result<(), LogError> {
        self.read_to_the_end().await?;
        self.acknowledge(Instant::now()).await?;
        self.read_to_the_end().await
    }

    async fn read_to_the_end(&mut self) -> Result<(), LogError> {
        loop {
            let page = self.purger.0.log.read(self.cursor, Duration::ZERO).await?;
            self.take(&page);
            if page.records.is_empty() {
                return Ok(());
            }
        }
    }

    /// Follows the log for ever; a supervisor ends it by dropping it.
    pub async fn follow(mut self) {
        loop {
            self.step().await;
        }
    }

    /// Reads, applies, appends what is pending, acknowledges; or, when the log fails, lets the trust run out.
    async fn step(&mut self) {
        let begun = Instant::now();
        match self.turn(begun).await {
            Ok(()) => {
                self.pause = FIRST_PAUSE;
                self.tell_back();
            }
            Err(why) => {
                self.tell_away(&why);
                self.distrust_in_time(self.pause).await;
                self.pause = (self.pause * 2).min(Duration::from_secs(1));
            }
        }
    }

    async fn turn(&mut self, begun: Instant) -> Result<(), LogError> {
        let log = self.purger.0.log.clone();
        let lease = self.purger.0.settings.lease;
        // First, since the log may only just be back, and what the others keep in the fleet's store with it.
        self.append_pending(&log).await?;
        // However short the lease is, it is renewed before the trust in it is over.
        let read = log.read(self.cursor, PATIENCE.min(lease / 5));
        let page = self.in_time(read).await?;
        self.take(&page);
        if self.acknowledged != Some(self.cursor) || self.vouched.elapsed() > lease / 4 {
            self.acknowledge(begun).await?;
        }
        Ok(())
    }

    /// Tells the fleet how far we are, and renews our lease; `begun` is a moment at which what is told was true.
    async fn acknowledge(&mut self, begun: Instant) -> Result<(), LogError> {
        let log = self.purger.0.log.clone();
        self.in_time(log.acknowledge(self.cursor, self.purger.0.settings.lease)).await?;
        self.acknowledged = Some(self.cursor);
        self.vouched = begun;
        self.trust();
        Ok(())
    }

    /// Waits for `call`, at most until its deadline; meanwhile the trust may run out.
    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, LogError>>,
    ) -> Result<T, LogError> {
        let late = || Err(LogError::Away("no answer".into()));
        let mut call = std::pin::pin!(timeout(PATIENCE + DEADLINE, call));
        if let Ok(done) = timeout_at(self.trusted_until(), &mut call).await {
            return done.unwrap_or_else(|_| late());
        }
        self.lose();
        call.await.unwrap_or_else(|_| late())
    }

    fn take(&mut self, page: &Page) {
        let ledger = &self.purger.0.ledger;
        ledger.follow(page.beginning, page.end);
        for (mark, record) in &page.records {
            ledger.apply(*mark, record, Timestamp::now());
            self.purger.0.audit.note(*mark, record);
        }
        // A page may be cut short: then the next one goes on after its last record, not after the log's end.
        let last = page.records.last().map_or(page.end, |(mark, _)| *mark);
        let is_same_log = last.epoch == self.cursor.epoch;
        self.cursor = if is_same_log { self.cursor.or_later(last) } else { last };
        if last >= page.end {
            *self.purger.0.read.lock() = Some(Instant::now());
        }
    }

    /// Appends what was purged here while the log was away. A record leaves the queue when it is in the log that is
    /// being followed; where that has begun anew, it is read first.
    async fn append_pending(&self, log: &L) -> Result<(), LogError> {
        let parts = &self.purger.0;
        loop {
            let Some(kept) = parts.pending.lock().front().cloned() else {
                parts.emptied.notify_waiters();
                return Ok(());
            };
            let mark = match kept.written {
                Some((_, at)) if parts.read.lock().is_none_or(|read| read <= at) => return Ok(()),
                Some((mark, _)) if mark.epoch == parts.ledger.known().epoch => mark,
                Some(_) | None => self.in_time(log.append(&kept.record)).await?.mark,
            };
            let is_followed =
                parts.ledger.appended(kept.turn, mark, &kept.record, Timestamp::now());
            if is_followed {
                self.purger.appended(mark, &kept.record);
            }
            let mut pending = parts.pending.lock();
            let Some(front) = pending.front_mut().filter(|front| **front == kept) else { continue };
            if is_followed {
                pending.pop_front();
            } else {
                front.written = Some((mark, Instant::now()));
            }
        }
    }

    /// The lease less a fifth, for clocks that run apart and a task that wakes late.
    fn trusted_until(&self) -> Instant {
        self.vouched + self.purger.0.settings.lease * 4 / 5
    }

    async fn distrust_in_time(&self, pause: Duration) {
        let next = Instant::now() + pause;
        if self.trusted_until() <= next {
            tokio::time::sleep_until(self.trusted_until()).await;
            self.lose();
        }
        tokio::time::sleep_until(next).await;
    }

    /// The fleet waits for us: what is stored can be vouched for.
    fn trust(&self) {
        let parts = &self.purger.0;
        let until = match parts.settings.when_detached {
            WhenDetached::Validate => {
                let left = self.trusted_until().saturating_duration_since(Instant::now());
                Timestamp::now().plus(left)
            }
            WhenDetached::Serve => Timestamp::from_millis(u64::MAX),
        };
        parts.ledger.trust(until);
    }

    /// The fleet may have stopped waiting for us: what is stored cannot be vouched for any more.
    fn lose(&self) {
        let parts = &self.purger.0;
        match parts.settings.when_detached {
            WhenDetached::Validate => parts.ledger.distrust(),
            WhenDetached::Serve => {}
        }
    }
}

impl<L: PurgeLog> Drop for Follower<L> {
    fn drop(&mut self) {
        self.lose();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;
    use crate::purge::ledger::Contact;

    /// A log that never says anything new; whether it takes records is told when it is made.
    #[derive(Clone, Copy)]
    enum Silent {
        Takes,
        /// As one that was lost, and is another now.
        TakesAnew,
        Hangs,
    }

    impl PurgeLog for Silent {
        async fn append(&self, _: &Record) -> Result<Appended, LogError> {
            match self {
                Self::Takes => Ok(Appended { mark: Mark::new(9, 0), after: Mark::new(8, 0) }),
                Self::TakesAnew => {
                    let [mark, after] = [9, 8].map(|at| Mark::new(at, 0).of(Epoch::new(7)));
                    Ok(Appended { mark, after })
                }
                Self::Hangs => pending().await,
            }
        }

        fn read(
            &self,
            _: Mark,
            _: Duration,
        ) -> impl Future<Output = Result<Page, LogError>> + Send {
            pending()
        }

        fn acknowledge(
            &self,
            _: Mark,
            _: Duration,
        ) -> impl Future<Output = Result<(), LogError>> + Send {
            ready(Ok(()))
        }

        fn instances(&self) -> impl Future<Output = Result<Vec<Instance>, LogError>> + Send {
            pending()
        }
    }

    fn purger(log: Silent) -> Purger<Silent> {
        let settings = Settings {
            instance: "me".into(),
            lease: Duration::from_secs(10),
            when_detached: WhenDetached::Validate,
        };
        Purger::new(Arc::default(), log, settings)
    }

    fn everything() -> Record {
        let purges = vec![Purge { scope: Scope::Everything, effect: Effect::Remove }];
        Record { purges, cause: Cause::default(), at: Timestamp::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_whose_caller_leaves_is_kept_for_the_log() {
        let purger = purger(Silent::Hangs);
        let submitting = purger.submit(everything(), Wait::Local, Duration::from_mins(1));
        assert!(timeout(Duration::from_millis(1), submitting).await.is_err());
        assert_eq!(purger.pending(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_takes_no_longer_than_its_caller_waits() {
        for (log, kept) in [(Silent::Hangs, 1), (Silent::Takes, 0)] {
            let begun = Instant::now();
            let purger = purger(log);
            let _receipt = purger.submit(everything(), Wait::All, Duration::from_millis(700)).await;
            assert!(begun.elapsed() <= Duration::from_millis(700), "{:?}", begun.elapsed());
            assert_eq!(purger.pending(), kept);
        }
    }

    #[test]
    fn a_receipt_is_complete_when_the_last_instance_has_applied_the_purge() {
        let of = |id: &str, applied| Applied {
            id: id.into(),
            applied,
            at: Mark::ZERO,
            until: Timestamp::default(),
        };
        let mut receipt = Receipt {
            mark: Mark::new(1, 0),
            complete: false,
            instances: vec![of("me", false), of("other", false)],
        };
        receipt.applied_by("me");
        assert!(receipt.instances[0].applied && !receipt.complete);
        receipt.applied_by("nobody");
        assert!(!receipt.instances[1].applied && !receipt.complete);
        receipt.applied_by("other");
        assert!(receipt.complete);
        let mut alone = Receipt { mark: receipt.mark, complete: false, instances: Vec::new() };
        alone.applied_by("me");
        assert!(!alone.complete, "nobody is known");
    }

    /// The mark of a purge that is the next after `moment`.
    async fn next_after(purger: &Purger<Silent>, moment: Moment) -> Option<Mark> {
        purger.submit_next_after(moment, everything(), Duration::from_secs(1)).await.ok().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_is_the_next_after_a_moment_only_if_the_log_took_no_other_since() {
        let takes = purger(Silent::Takes);
        assert_eq!(next_after(&takes, takes.moment()).await, None, "it took one that is not known");
        assert_eq!(next_after(&takes, takes.moment()).await, Some(Mark::new(9, 0)));
        let anew = purger(Silent::TakesAnew);
        assert_eq!(next_after(&anew, anew.moment()).await, None, "it began anew");
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_that_did_not_reach_the_log_is_next_after_nothing() {
        let purger = purger(Silent::Hangs);
        let moment = purger.moment();
        assert_eq!(next_after(&purger, moment).await, None);
        assert_eq!(purger.pending(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_pending_is_appended_before_there_is_news() {
        let purger = purger(Silent::Takes);
        let turn = purger.0.ledger.apply_pending(&everything(), Timestamp::now());
        purger.keep(Pending { turn, record: everything(), written: None });
        let mut follower = Follower::new(purger.clone());
        let _no_news = timeout(Duration::from_millis(1), follower.step()).await;
        assert_eq!(purger.pending(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_purge_in_a_log_that_is_not_followed_yet_holds_when_it_is() {
        let purger = purger(Silent::TakesAnew);
        let submitting = purger.submit(everything(), Wait::Local, Duration::from_millis(1));
        assert_eq!(submitting.await.unwrap().mark.epoch, Epoch::new(7));
        assert_eq!(purger.pending(), 1, "it holds here until then");
        let mut follower = Follower::new(purger.clone());
        let _no_news = timeout(Duration::from_millis(1), follower.step()).await;
        assert_eq!(purger.pending(), 1);
        let mark = Mark::new(1, 0).of(Epoch::new(7));
        follower.take(&Page { records: Vec::new(), beginning: mark, end: mark });
        let _no_news = timeout(Duration::from_millis(1), follower.step()).await;
        assert_eq!((purger.pending(), purger.0.ledger.len()), (0, 0));
        assert_eq!(purger.0.ledger.known(), Mark::new(9, 0).of(Epoch::new(7)));
    }

    #[test]
    fn a_following_that_ends_leaves_nothing_trusted() {
        let purger = purger(Silent::Takes);
        drop(Follower::new(purger.clone()));
        assert_eq!(purger.0.ledger.contact(), Contact::Lost);
    }
}
