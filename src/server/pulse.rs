//! What a connection is doing, told by a few relaxed atomics, and the judgement of one that takes too long.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::message::interim::Outbox;
use crate::server::framing::Doubtful;
use crate::server::limits::Limits;

/// How long a connection that was told to end may take to do so, and how long one that has said its last
/// word goes on listening.
const LINGER: Duration = Duration::from_secs(2);

/// How many connections the sweeper looks at in one go, and how many it ends.
const LOOKED_AT: usize = 512;
const ENDED: usize = 8;

/// Milliseconds since the worker began, published by its sweeper: the hit path reads no clock.
///
/// It never shows zero, because the pulse uses zero for "not at all".
#[derive(Debug)]
pub(crate) struct Clock {
    born: Instant,
    shown: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { born: Instant::now(), shown: AtomicU64::new(1) }
    }

    /// Shows the present time.
    pub(crate) fn publish(&self) -> u64 {
        let now = millis(self.born.elapsed()) + 1;
        self.shown.store(now, Ordering::Relaxed);
        now
    }

    fn shown(&self) -> u64 {
        self.shown.load(Ordering::Relaxed)
    }
}

/// What is expected of a connection while it has no request in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// HTTP/1: the first byte of a request.
    Idle = 0,
    /// HTTP/1: the rest of a request's head.
    Head = 1,
    /// HTTP/2: a stream. What arrives in between belongs to no request in particular.
    Multiplexed = 2,
    /// Not HTTP any more; whoever holds the tunnel bounds it.
    Tunnel = 3,
    /// The peer's last bytes, after ours.
    Closing = 4,
}

impl Phase {
    fn of(stored: u8) -> Self {
        match stored {
            0 => Self::Idle,
            1 => Self::Head,
            2 => Self::Multiplexed,
            3 => Self::Tunnel,
            _ => Self::Closing,
        }
    }
}

/// What a connection has been told from outside. Later orders replace earlier ones, never the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Nothing.
    Continue = 0,
    /// Finish what is in progress, or what is asked next: whoever has connected may have asked already, and a request that meets
    /// the end of its connection cannot be told from one that was lost.
    Finish = 1,
    /// Finish what is in progress, begin nothing.
    Close = 2,
    /// End now.
    Cut = 3,
}

impl Order {
    fn of(stored: u8) -> Self {
        match stored {
            0 => Self::Continue,
            1 => Self::Finish,
            2 => Self::Close,
            _ => Self::Cut,
        }
    }
}

/// Why the sweeper ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhyCut {
    SlowHead,
    StalledReader,
    Lingered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Leave,
    Close,
    Cut(WhyCut),
}

/// The state of one connection, written by its task and read by the sweeper.
#[derive(Debug)]
pub(crate) struct Pulse {
    clock: Arc<Clock>,
    phase: AtomicU8,
    order: AtomicU8,
    /// Requests in progress: head complete, and body of request or response not yet through.
    active: AtomicU32,
    /// Heads that were handed to the service.
    heads: AtomicU64,
    /// Whether an answer without an end of its own was cut off.
    is_cut_off: AtomicBool,
    /// Response bodies that have given a piece and were not asked for the next one yet.
    lent: AtomicU32,
    /// When the phase began, or the last byte was written in it.
    since: AtomicU64,
    /// Since when writing makes no progress; zero if it does.
    blocked: AtomicU64,
    /// When a response body was last asked for a piece.
    moved: AtomicU64,
    ordered: AtomicU64,
    doubtful: OnceLock<Doubtful>,
    /// What is to be said before the answer in progress.
    outbox: Arc<Outbox>,
    /// Kept when it is used: one connection may be told twice.
    waker: Mutex<Option<Waker>>,
}

impl Pulse {
    pub(crate) fn new(clock: Arc<Clock>) -> Self {
        let now = clock.shown();
        Self {
            clock,
            phase: AtomicU8::new(Phase::Idle as u8),
            order: AtomicU8::new(Order::Continue as u8),
            active: AtomicU32::new(0),
            heads: AtomicU64::new(0),
            is_cut_off: AtomicBool::new(false),
            lent: AtomicU32::new(0),
            since: AtomicU64::new(now),
            blocked: AtomicU64::new(0),
            moved: AtomicU64::new(now),
            ordered: AtomicU64::new(0),
            doubtful: OnceLock::new(),
            outbox: Arc::default(),
            waker: Mutex::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    pub(crate) fn order(&self) -> Order {
        Order::of(self.order.load(Ordering::Acquire))
    }

    pub(crate) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Who is to be woken by an order.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut listener = self.waker.lock();
        if !listener.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *listener = Some(waker.clone());
        }
    }

    /// A new phase begins now.
    pub(crate) fn enter(&self, phase: Phase) {
        self.since.store(self.clock.shown(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Bytes came in: on an idle HTTP/1 connection they begin a head.
    pub(crate) fn received(&self) {
        if self.phase() == Phase::Idle && self.active.load(Ordering::Relaxed) == 0 {
            self.enter(Phase::Head);
        }
    }

    /// Bytes went out.
    pub(crate) fn sent(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.blocked.store(0, Ordering::Relaxed);
        }
        // Only the time of a head is a total; idleness begins anew with each byte that goes out.
        if self.phase() != Phase::Head {
            self.since.store(self.clock.shown(), Ordering::Relaxed);
        }
    }

    /// Bytes want to go out and cannot.
    pub(crate) fn blocked(&self) {
        if self.blocked.load(Ordering::Relaxed) == 0 {
            self.blocked.store(self.clock.shown(), Ordering::Relaxed);
        }
    }

    /// What became of a write.
    pub(crate) fn note_written(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(_)) => self.sent(),
            Poll::Pending => self.blocked(),
            Poll::Ready(Err(_)) => {}
        }
    }

    /// A head is handed to the service; the how manieth.
    pub(crate) fn take_up(&self) -> u64 {
        self.heads.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether an HTTP/1 connection rests between two messages: all of the `heads` that came were taken up and
    /// answered, the answers went out, and nothing is on the way. An HTTP/1 parser reads only then, or to see whether
    /// its client is still there.
    pub(crate) fn is_between(&self, heads: u64) -> bool {
        self.phase() == Phase::Idle
            && self.order() == Order::Continue
            && self.active.load(Ordering::Relaxed) == 0
            && self.blocked.load(Ordering::Relaxed) == 0
            && self.heads.load(Ordering::Relaxed) == heads
    }

    /// How many heads were handed to the service.
    pub(crate) fn heads(&self) -> u64 {
        self.heads.load(Ordering::Relaxed)
    }

    /// Whether a request is in progress, or may come at any time beside others.
    pub(crate) fn is_asked(&self) -> bool {
        self.phase() == Phase::Multiplexed || self.active.load(Ordering::Relaxed) > 0
    }

    /// Nothing waits to go out any more.
    pub(crate) fn flushed(&self) {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.sent();
        }
    }

    /// A head came in that must be refused; the first one counts.
    pub(crate) fn doubt(&self, doubtful: Doubtful) {
        let _ = self.doubtful.set(doubtful);
    }

    /// The request that must be refused, if there is one.
    pub(crate) fn doubtful(&self) -> Option<&Doubtful> {
        self.doubtful.get()
    }

    /// What was being sent came to no end, and nothing but the connection could tell.
    pub(crate) fn cut_off(&self) {
        self.is_cut_off.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_cut_off.load(Ordering::Relaxed)
    }

    /// A response body gave a piece and has more.
    pub(crate) fn lend(&self) {
        self.moved.store(self.clock.shown(), Ordering::Relaxed);
        self.lent.fetch_add(1, Ordering::Relaxed);
    }

    /// A response body was asked for the next piece, or is no longer wanted.
    pub(crate) fn return_lent(&self) {
        self.moved.store(self.clock.shown(), Ordering::Relaxed);
        self.lent.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells the connection; wakes it if that is news.
    pub(crate) fn command(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.ordered.store(self.clock.shown(), Ordering::Relaxed);
            if let Some(waker) = self.waker.lock().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    fn vitals(&self) -> Vitals {
        Vitals {
            phase: self.phase(),
            order: self.order(),
            active: self.active.load(Ordering::Relaxed),
            lent: self.lent.load(Ordering::Relaxed),
            since: self.since.load(Ordering::Relaxed),
            blocked: self.blocked.load(Ordering::Relaxed),
            moved: self.moved.load(Ordering::Relaxed),
            ordered: self.ordered.load(Ordering::Relaxed),
        }
    }
}

/// A request in progress. It ends when this falls.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Pulse>);

impl Busy {
    pub(crate) fn begin(pulse: &Arc<Pulse>) -> Self {
        pulse.active.fetch_add(1, Ordering::Relaxed);
        if pulse.phase() == Phase::Head {
            pulse.phase.store(Phase::Idle as u8, Ordering::Relaxed);
        }
        Self(Arc::clone(pulse))
    }

    pub(crate) fn pulse(&self) -> &Pulse {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.0.phase() != Phase::Head {
            self.0.since.store(self.0.clock.shown(), Ordering::Relaxed);
        }
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reading of a pulse.
#[derive(Clone, Copy, Debug)]
struct Vitals {
    phase: Phase,
    order: Order,
    active: u32,
    lent: u32,
    since: u64,
    blocked: u64,
    moved: u64,
    ordered: u64,
}

/// The limits in the clock's unit, each longer by one tick, because a stamp may be that much too early.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    tick: u64,
    head: u64,
    idle: u64,
    stall: u64,
    linger: u64,
}

impl Bounds {
    pub(crate) fn of(limits: &Limits) -> Self {
        let shortest = limits.header_timeout.min(limits.idle_timeout).min(limits.stall_timeout);
        let tick = (shortest / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
        Self {
            tick: millis(tick),
            head: millis(limits.header_timeout + tick),
            idle: millis(limits.idle_timeout + tick),
            stall: millis(limits.stall_timeout + tick),
            linger: millis(LINGER + tick),
        }
    }

    /// How often the sweeper looks.
    pub(crate) fn tick(&self) -> Duration {
        Duration::from_millis(self.tick)
    }
}

/// May this connection go on?
fn judge(vitals: &Vitals, now: u64, bounds: &Bounds) -> Verdict {
    let older = |stamp: u64, bound: u64| now.saturating_sub(stamp) >= bound;
    let cut_if = |over: bool, why| if over { Verdict::Cut(why) } else { Verdict::Leave };
    match vitals.phase {
        Phase::Tunnel => return Verdict::Leave,
        Phase::Closing => return cut_if(older(vitals.since, bounds.linger), WhyCut::Lingered),
        Phase::Idle | Phase::Head | Phase::Multiplexed => {}
    }
    if vitals.blocked != 0 {
        return cut_if(older(vitals.blocked, bounds.stall), WhyCut::StalledReader);
    }
    if vitals.active > 0 {
        let stalled = vitals.lent > 0 && older(vitals.moved, bounds.stall);
        return cut_if(stalled, WhyCut::StalledReader);
    }
    match (vitals.phase, vitals.order) {
        (Phase::Head, _) => cut_if(older(vitals.since, bounds.head), WhyCut::SlowHead),
        (_, Order::Continue) if older(vitals.since, bounds.idle) => Verdict::Close,
        (_, Order::Continue) => Verdict::Leave,
        (_, Order::Finish | Order::Close | Order::Cut) => {
            let told = vitals.since.max(vitals.ordered);
            cut_if(older(told, bounds.linger), WhyCut::Lingered)
        }
    }
}

/// The live connections of one worker.
#[derive(Debug)]
pub(crate) struct Registry {
    /// In the order of their arrival, so that a look at all of them can be taken in parts.
    seats: Mutex<BTreeMap<u64, Arc<Pulse>>>,
    next: AtomicU64,
    emptied: Notify,
}

/// A connection's place among the live ones; it ends when this falls, with the socket.
#[derive(Debug)]
pub(crate) struct Seat {
    registry: Arc<Registry>,
    open: Arc<AtomicUsize>,
    number: u64,
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self { seats: Mutex::new(BTreeMap::new()), next: AtomicU64::new(0), emptied: Notify::new() }
    }

    /// Takes a place, unless `limit` connections are `open` already.
    pub(crate) fn admit(
        self: &Arc<Self>,
        pulse: &Arc<Pulse>,
        open: &Arc<AtomicUsize>,
        limit: usize,
    ) -> Option<Seat> {
        if open.fetch_add(1, Ordering::Relaxed) >= limit {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.seats.lock().insert(number, Arc::clone(pulse));
        Some(Seat { registry: Arc::clone(self), open: Arc::clone(open), number })
    }

    /// Ends what has taken too long, among the connections from this number on; tells from which to go on, if it did not
    /// come to their end. It looks at a part of them and ends a few: a crowd whose time is over at once, or one that
    /// rests, does not hold up those whom the worker serves.
    pub(crate) fn sweep(&self, from: u64, now: u64, bounds: &Bounds) -> Option<u64> {
        let mut told = 0;
        let seats = self.seats.lock();
        for (looked, (number, pulse)) in seats.range(from..).enumerate() {
            if looked == LOOKED_AT || told == ENDED {
                return Some(*number);
            }
            match judge(&pulse.vitals(), now, bounds) {
                Verdict::Leave => continue,
                Verdict::Close => pulse.command(Order::Close),
                Verdict::Cut(why) => {
                    tracing::debug!(connection.end = ?why, "connection ended for taking too long");
                    pulse.command(Order::Cut);
                }
            }
            told += 1;
        }
        None
    }

    /// Tells every connection.
    pub(crate) fn command(&self, order: Order) {
        for pulse in self.seats.lock().values() {
            pulse.command(order);
        }
    }

    /// Returns once no connection is left. May be dropped at any time.
    pub(crate) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.seats.lock().is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let mut seats = self.registry.seats.lock();
        let pulse = seats.remove(&self.number);
        let is_empty = seats.is_empty();
        drop(seats);
        drop(pulse);
        if is_empty {
            self.registry.emptied.notify_waiters();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn bounds() -> Bounds {
        Bounds::of(&Limits::default())
    }

    fn resting(phase: Phase, for_millis: u64) -> Vitals {
        Vitals {
            phase,
            order: Order::Continue,
            active: 0,
            lent: 0,
            since: NOW - for_millis,
            blocked: 0,
            moved: NOW - for_millis,
            ordered: 0,
        }
    }

    #[test]
    fn a_head_has_its_time_and_not_more() {
        let judged = |age| judge(&resting(Phase::Head, age), NOW, &bounds());
        assert_eq!(judged(9_999), Verdict::Leave);
        assert_eq!(judged(10_500), Verdict::Cut(WhyCut::SlowHead));
    }

    #[test]
    fn an_idle_connection_is_asked_to_close_and_cut_if_it_does_not() {
        for phase in [Phase::Idle, Phase::Multiplexed] {
            assert_eq!(judge(&resting(phase, 29_000), NOW, &bounds()), Verdict::Leave);
            assert_eq!(judge(&resting(phase, 31_000), NOW, &bounds()), Verdict::Close);
            let told =
                Vitals { order: Order::Close, ordered: NOW - 3_000, ..resting(phase, 31_000) };
            assert_eq!(judge(&told, NOW, &bounds()), Verdict::Cut(WhyCut::Lingered));
        }
    }

    #[test]
    fn a_request_in_progress_may_take_as_long_as_it_likes() {
        let busy = Vitals { active: 1, ..resting(Phase::Idle, 900_000) };
        assert_eq!(judge(&busy, NOW, &bounds()), Verdict::Leave);
    }

    #[test]
    fn a_reader_that_takes_nothing_is_cut_on_either_protocol() {
        let socket_full = Vitals { blocked: NOW - 61_000, ..resting(Phase::Idle, 61_000) };
        assert_eq!(judge(&socket_full, NOW, &bounds()), Verdict::Cut(WhyCut::StalledReader));
        let window_shut = Vitals { active: 3, lent: 1, ..resting(Phase::Multiplexed, 61_000) };
        assert_eq!(judge(&window_shut, NOW, &bounds()), Verdict::Cut(WhyCut::StalledReader));
    }

    #[test]
    fn a_slow_reader_that_makes_progress_is_not_idle() {
        let sending = Vitals { blocked: NOW - 1_000, ..resting(Phase::Idle, 900_000) };
        assert_eq!(judge(&sending, NOW, &bounds()), Verdict::Leave);
    }

    #[test]
    fn a_tunnel_is_left_to_its_holder() {
        assert_eq!(judge(&resting(Phase::Tunnel, 900_000), NOW, &bounds()), Verdict::Leave);
    }

    #[test]
    fn orders_only_grow_harsher() {
        let pulse = Pulse::new(Arc::new(Clock::new()));
        pulse.command(Order::Cut);
        pulse.command(Order::Finish);
        assert_eq!(pulse.order(), Order::Cut);
    }

    #[test]
    fn the_first_byte_begins_a_head_and_the_next_ones_do_not_prolong_it() {
        let pulse = Arc::new(Pulse::new(Arc::new(Clock::new())));
        pulse.received();
        let begun = pulse.vitals();
        assert_eq!(begun.phase, Phase::Head);
        pulse.clock.shown.store(5_000, Ordering::Relaxed);
        pulse.received();
        pulse.sent();
        assert_eq!(pulse.vitals().since, begun.since);
        drop(Busy::begin(&pulse));
        assert_eq!(pulse.vitals().phase, Phase::Idle);
        assert_eq!(pulse.vitals().since, 5_000);
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let registry = Arc::new(Registry::new());
        let pulse = Arc::new(Pulse::new(Arc::new(Clock::new())));
        let open = Arc::new(AtomicUsize::new(0));
        let seat = registry.admit(&pulse, &open, 1).unwrap();
        assert!(registry.admit(&pulse, &open, 1).is_none());
        drop(seat);
        registry.emptied().await;
        assert!(registry.admit(&pulse, &open, 1).is_some());
    }

    #[test]
    fn a_sweep_ends_a_few_at_a_time_and_comes_to_all() {
        let (clock, registry) = (Arc::new(Clock::new()), Arc::new(Registry::new()));
        let (bounds, open) = (Bounds::of(&Limits::default()), Arc::default());
        let mut seats = Vec::new();
        for _ in 0..1000 {
            let pulse = Arc::new(Pulse::new(clock.clone()));
            let seat = registry.admit(&pulse, &open, 1000).unwrap();
            seats.push((pulse, seat));
        }
        let ended = || seats.iter().filter(|(pulse, _)| pulse.order() != Order::Continue).count();
        let now = clock.publish();
        let (mut from, mut looks) = (registry.sweep(0, now, &bounds), 1);
        assert_eq!(
            from,
            Some(LOOKED_AT as u64),
            "nobody's time is over, and yet not all were looked at"
        );
        assert_eq!((registry.sweep(LOOKED_AT as u64, now, &bounds), ended()), (None, 0));
        let now = now + bounds.idle;
        from = registry.sweep(0, now, &bounds);
        while let Some(number) = from {
            assert!(ended() <= looks * ENDED, "{} were ended in {looks} looks", ended());
            from = registry.sweep(number, now, &bounds);
            looks += 1;
        }
        assert_eq!(ended(), 1000);
    }
}
