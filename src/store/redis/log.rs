//! The fleet's purge log: a Redis stream, and a registry of the instances that follow it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use redis::{RedisError, RedisResult, Value};
use tokio::time::{Instant, timeout};

use crate::entry::facts::{Epoch, Mark};
use crate::purge::log::{Appended, Instance, LogError, Page, PurgeLog};
use crate::purge::{Cause, Effect, Purge, Record, Scope};
use crate::store::redis::home::{Home, Seat};
use crate::store::redis::script::{Call, Script};
use crate::store::redis::servers::Servers;
use crate::store::redis::{Settings, name};
use crate::store::{StoreError, fresh_epoch};
use crate::time::Timestamp;

/// How long an append, an acknowledgement or a look at the registry may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(1);
/// Records that one question brings.
const PAGE: usize = 1000;
/// After so long a silence the log is looked at again: it may have been lost, or the server hangs.
const SILENCE: Duration = Duration::from_secs(1);

macro_rules! script {
    ($($line:literal)+) => {
        LazyLock::new(|| Script::new(concat!(include_str!("log.lua"), $($line, "\n"),+)))
    };
}

/// ARGV: retention, longest life in ms, record. Returns the record's id, that of the one before it, and the log's epoch.
static APPEND: LazyLock<Script> = script! {
    "local before, epoch = last()"
    "local id = redis.call('XADD', KEYS[1], '*', 'record', ARGV[8])"
    "trim(tonumber(ARGV[6]), tonumber(ARGV[7]), id)"
    "renew()"
    "return { id, before, epoch }"
};

/// ARGV: the epoch and the id of the last record that the caller has, count. Returns the epoch, the first id, the
/// beginning, the last id, and the records after the caller's; all of them where the caller's are another log's.
static READ: LazyLock<Script> = script! {
    "local last_id, epoch = last()"
    "local first, begins = beginning()"
    "local from = epoch == ARGV[6] and '(' .. ARGV[7] or '-'"
    "local records = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ARGV[8])"
    "return { epoch, first, begins, last_id, records }"
};

/// ARGV: instance, applied, lease in ms.
static ACKNOWLEDGE: LazyLock<Script> = script! {
    "local lease = tonumber(ARGV[8])"
    "if lease == 0 then"
    "  redis.call('HDEL', KEYS[3], ARGV[6])"
    "else"
    "  redis.call('HSET', KEYS[3], ARGV[6], ARGV[7] .. ' ' .. number(now() + lease))"
    "end"
    "renew()"
    "return 0"
};

/// Returns instance, applied and end of lease of each in turn, and drops those whose lease is over.
static INSTANCES: LazyLock<Script> = script! {
    "last()"
    "local all = redis.call('HGETALL', KEYS[3])"
    "local alive, clock = {}, now()"
    "for at = 1, #all, 2 do"
    "  local applied, ends = string.match(all[at + 1], '^(%S+) (%d+)$')"
    "  if ends and tonumber(ends) > clock then"
    "    alive[#alive + 1] = all[at]"
    "    alive[#alive + 1] = applied"
    "    alive[#alive + 1] = ends"
    "  else"
    "    redis.call('HDEL', KEYS[3], all[at])"
    "  end"
    "end"
    "return alive"
};

/// The purge log of a fleet. Cloning shares it; one reader at a time.
#[derive(Clone)]
pub struct StreamLog(Arc<Parts>);

struct Parts {
    home: Home,
    /// The stream, its identity, the registry.
    keys: [String; 3],
    instance: String,
    retention: u64,
    keep_for: Duration,
    lease: Duration,
    seen: Mutex<Seen>,
    /// The reader's own connection, because its commands block. It is taken while a read is on its way, so that a
    /// read that is dropped takes the connection with it, and with that the answer that nobody waits for.
    reader: Mutex<Option<Seat>>,
}

#[derive(Default)]
struct Seen {
    /// The last mark of the log that this instance knows of: it is there, or it was trimmed, or the log was lost.
    mark: Mark,
    /// The beginning that the last page told.
    beginning: Option<Mark>,
}

impl StreamLog {
    pub(super) fn new(servers: &Arc<Servers>, settings: &Settings) -> Self {
        let service = name(&settings.service);
        // The braces give all three one slot of a Cluster, and so one server.
        let key = |kind: &str| format!("larder:{{{service}}}:{kind}");
        let keys = [key("purges"), key("log"), key("instances")];
        Self(Arc::new(Parts {
            home: Home::new(servers, &keys[0]),
            keys,
            instance: settings.instance.clone(),
            retention: settings.retention.max(1),
            keep_for: settings.keep_for,
            lease: settings.lease,
            seen: Mutex::default(),
            reader: Mutex::default(),
        }))
    }

    /// The call of a script with its keys and what every script is told.
    fn call(&self, script: &'static Script) -> Call {
        let known = self.0.seen.lock().mark;
        let mut call = script.call();
        for key in &self.0.keys {
            call.key(key);
        }
        call.arg(epoch(known)).arg(known.millis).arg(known.number);
        call.arg(fresh_epoch().to_string()).arg(millis(self.0.lease));
        call
    }

    fn learn(&self, mark: Mark) {
        let mut seen = self.0.seen.lock();
        let is_same_log = seen.mark.epoch == mark.epoch;
        seen.mark = if is_same_log { seen.mark.or_later(mark) } else { mark };
    }

    async fn run<T>(&self, call: Call) -> Result<T, LogError>
    where
        T: redis::FromRedisValue,
    {
        self.0.home.call(&call, PATIENCE).await.map_err(|error| match error {
            StoreError::Failed(why) => LogError::Unwritable(why),
            StoreError::Late(_)
            | StoreError::Open
            | StoreError::Away(_)
            | StoreError::QueueFull
            | StoreError::TooLarge => LogError::Away(error.to_string()),
        })
    }

    async fn reader(&self) -> Result<Seat, LogError> {
        let idle = self.0.reader.lock().take();
        match idle.filter(|seat| self.0.home.is_at(seat)) {
            Some(seat) => Ok(seat),
            None => self.0.home.seat().await.map_err(|error| LogError::Away(error.to_string())),
        }
    }

    /// All that the log holds after `after`, at once.
    async fn page(&self, reader: &mut Seat, after: Mark) -> Result<Page, LogError> {
        let mut page = Page { end: after, ..Page::default() };
        loop {
            let from = page.records.last().map_or(after, |(mark, _)| *mark);
            let mut call = self.call(&READ);
            call.arg(epoch(from)).arg(id(from)).arg(PAGE);
            let value: Value = within(PAGE_PATIENCE, reader.call(&call)).await?;
            let part = Part::of(value).ok_or_else(|| LogError::Away("an odd answer".into()))?;
            self.learn(part.end);
            if part.end.epoch != page.end.epoch {
                // All that was read of another log is of no more use.
                page.records.clear();
            }
            page.beginning = part.beginning;
            page.end = part.end;
            page.records.extend(part.records);
            if part.length < PAGE {
                return Ok(page);
            }
        }
    }

    /// Whether the page says anything that the last one did not say.
    fn is_news(&self, page: &Page) -> bool {
        !page.records.is_empty() || self.0.seen.lock().beginning != Some(page.beginning)
    }
}

impl PurgeLog for StreamLog {
    async fn append(&self, record: &Record) -> Result<Appended, LogError> {
        let text = serde_json::to_string(record)
            .map_err(|error| LogError::Unwritable(error.to_string()))?;
        let mut call = self.call(&APPEND);
        call.arg(self.0.retention).arg(millis(self.0.keep_for)).arg(text);
        let (id, before, epoch): (String, String, String) = self.run(call).await?;
        let mark =
            |id: &str| mark(id, &epoch).ok_or_else(|| LogError::Unwritable(format!("odd id {id}")));
        let (mark, after) = (mark(&id)?, mark(&before)?);
        self.learn(mark);
        Ok(Appended { mark, after })
    }

    async fn read(&self, after: Mark, patience: Duration) -> Result<Page, LogError> {
        let end = Instant::now() + patience;
        let mut reader = self.reader().await?;
        loop {
            let page = self.page(&mut reader, after).await?;
            let left = end.saturating_duration_since(Instant::now());
            if self.is_news(&page) || left.is_zero() {
                self.0.seen.lock().beginning = Some(page.beginning);
                *self.0.reader.lock() = Some(reader);
                return Ok(page);
            }
            wait(&mut reader, &self.0.keys[0], page.end, left.min(SILENCE)).await?;
            if !self.0.home.is_at(&reader) {
                return Err(LogError::Away("the log is on another server now".into()));
            }
        }
    }

    async fn acknowledge(&self, applied: Mark, lease: Duration) -> Result<(), LogError> {
        let mut call = self.call(&ACKNOWLEDGE);
        call.arg(&self.0.instance).arg(applied.to_string()).arg(millis(lease));
        self.run::<i64>(call).await?;
        Ok(())
    }

    async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        let told: Vec<String> = self.run(self.call(&INSTANCES)).await?;
        let instance = |told: &[String]| match told {
            [id, applied, until] => Some(Instance {
                id: id.clone(),
                applied: applied.parse().ok()?,
                until: Timestamp::from_millis(until.parse().ok()?),
            }),
            _ => None,
        };
        Ok(told.chunks(3).filter_map(instance).collect())
    }
}

/// Waits until the stream has a record after `after`, or `patience` is over.
async fn wait(
    reader: &mut Seat,
    stream: &str,
    after: Mark,
    patience: Duration,
) -> Result<(), LogError> {
    // Zero would block for ever.
    let block = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut read = redis::cmd("XREAD");
    read.arg("COUNT").arg(1).arg("BLOCK").arg(block).arg("STREAMS").arg(stream);
    read.arg(id(after));
    within(patience + PAGE_PATIENCE, reader.ask::<Value>(&read)).await?;
    Ok(())
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = RedisResult<T>>,
) -> Result<T, LogError> {
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(|error: RedisError| LogError::Away(error.to_string())),
        Err(_) => Err(LogError::Away(format!("no answer within {patience:?}"))),
    }
}

/// What one question brought.
struct Part {
    beginning: Mark,
    end: Mark,
    records: Vec<(Mark, Record)>,
    /// How many records, the start of the log included.
    length: usize,
}

impl Part {
    fn of(value: Value) -> Option<Self> {
        let [epoch, first, beginning, end, records] = array(value)?.try_into().ok()?;
        let epoch = text(epoch)?;
        let beginning = match text(beginning)?.as_str() {
            // Somebody else trimmed it: what was before the first record is gone.
            "" => before(mark(&text(first)?, &epoch)?),
            id => mark(id, &epoch)?,
        };
        let records = array(records)?.into_iter().map(|value| record(value, &epoch));
        let records: Vec<_> = records.collect::<Option<_>>()?;
        Some(Self {
            beginning,
            end: mark(&text(end)?, &epoch)?,
            length: records.len(),
            records: records
                .into_iter()
                .filter_map(|(mark, content)| match content {
                    Content::Start => None,
                    Content::Record(record) => Some((mark, record)),
                })
                .collect(),
        })
    }
}

enum Content {
    Start,
    Record(Record),
}

fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    redis::from_redis_value(value).ok()
}

/// The mark at a stream's id.
fn mark(id: &str, epoch: &str) -> Option<Mark> {
    Some(id.parse::<Mark>().ok()?.of(Epoch::new(epoch.parse().ok()?)))
}

/// A stream's id at a mark.
fn id(mark: Mark) -> String {
    mark.of(Epoch::NONE).to_string()
}

fn epoch(mark: Mark) -> String {
    mark.epoch.number().to_string()
}

fn millis(span: Duration) -> u64 {
    // A year is as good as for ever, and every script takes it exactly.
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).min(Epoch::GREATEST)
}

fn record(value: Value, epoch: &str) -> Option<(Mark, Content)> {
    let [id, fields] = array(value)?.try_into().ok()?;
    let fields: Vec<String> = redis::from_redis_value(fields).ok()?;
    let content = match &fields[..] {
        [kind, _] if kind == "start" => Content::Start,
        [kind, text] if kind == "record" => Content::Record(parse(text)),
        _ => Content::Record(parse("")),
    };
    Some((mark(&text(id)?, epoch)?, content))
}

/// The record that a text is. One that cannot be read, such as a later version's, may purge anything: so it does.
pub(crate) fn parse(text: &str) -> Record {
    serde_json::from_str(text).unwrap_or_else(|error| Record {
        purges: vec![Purge { scope: Scope::Everything, effect: Effect::Remove }],
        cause: Cause {
            by: "an unreadable record".into(),
            reason: Some(error.to_string()),
            ..Cause::default()
        },
        at: Timestamp::now(),
    })
}

/// The greatest mark before this one.
fn before(mark: Mark) -> Mark {
    match (mark.millis, mark.number) {
        (0, 0) => mark,
        (millis, 0) => Mark { millis: millis - 1, number: u64::MAX, ..mark },
        (_, number) => Mark { number: number - 1, ..mark },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_before_is_the_greatest_that_is_less() {
        assert_eq!(before(Mark::new(5, 2)), Mark::new(5, 1));
        assert_eq!(before(Mark::new(5, 0)), Mark::new(4, u64::MAX));
        assert_eq!(before(Mark::ZERO), Mark::ZERO);
    }

    #[test]
    fn a_record_that_cannot_be_read_purges_everything() {
        let record = parse("{\"purges\":[{\"scope\":{\"Glob\":\"x\"}}]}");
        assert_eq!(record.purges, [Purge { scope: Scope::Everything, effect: Effect::Remove }]);
    }
}
