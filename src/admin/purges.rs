//! Purges asked for over HTTP: what is asked, strictly read, and the receipt.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::uri::Scheme;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Value, json};

use crate::admin::auth::Caller;
use crate::admin::estimate::{Estimate, Holdings};
use crate::admin::problem::Problem;
use crate::admin::tripwire::Wire;
use crate::entry::facts::{Mark, RouteId, Tag};
use crate::key::canonical::Target;
use crate::key::host::HostPattern;
use crate::message::authority::hidden;
use crate::purge::events::{Meaning, Unclear};
use crate::purge::glob::UrlGlob;
use crate::purge::log::{Instance, LogError, PurgeLog};
use crate::purge::purger::{Detached, Purger, Receipt, Wait};
use crate::purge::receipt::{moment, shown};
use crate::purge::template::Named;
use crate::purge::{Cause, Effect, Purge, Record, Scope};
use crate::route::depends::Cut;
use crate::route::table::RouteTable;
use crate::time::Timestamp;

/// What the admin API needs of the part that purges.
pub trait Purging: Clone + Send + Sync + 'static {
    /// See [`Purger::submit`].
    fn submit(
        &self,
        record: Record,
        wait: Wait,
        longest: Duration,
    ) -> impl Future<Output = Result<Receipt, Detached>> + Send;

    /// See [`Purger::receipt`].
    fn receipt(&self, mark: Mark) -> impl Future<Output = Result<Receipt, LogError>> + Send;

    /// The live instances of the fleet.
    fn instances(&self) -> impl Future<Output = Result<Vec<Instance>, LogError>> + Send;

    /// What a purge of this URL names.
    fn url_scope(&self, url: &Target) -> Scope;

    /// What a purge of this path names, on every host.
    fn path_scopes(&self, path: &str) -> Vec<Scope>;

    /// The names of all routes.
    fn routes(&self) -> Vec<RouteId>;

    /// What would go; see [`Holdings::estimate`].
    fn estimate(&self, scopes: Vec<Scope>) -> impl Future<Output = Estimate> + Send;

    /// See [`Events::meaning`](crate::purge::events::Events::meaning).
    fn meaning(&self, event: &str, data: &Value) -> Result<Meaning, Unclear>;

    /// The names of all events.
    fn events(&self) -> Vec<String>;

    /// See [`RouteTable::scopes`].
    fn scopes(&self, named: &Named) -> Vec<Scope>;

    /// See [`RouteTable::complete`].
    fn complete(&self, record: Record) -> Result<Record, Cut>;

    /// The tripwires of all routes that have one.
    fn tripwires(&self) -> Vec<Wire>;

    /// Has a route share again; whether its tripwire had sprung.
    fn reset_tripwire(&self, route: &RouteId) -> bool;

    /// The latest purges of the fleet, the latest first.
    fn audit(&self) -> Vec<(Mark, Arc<Record>)>;
}

/// The real thing: a purger, and the routes in force.
pub struct Fleet<L> {
    pub purger: Purger<L>,
    pub routes: Arc<ArcSwap<RouteTable>>,
    pub holdings: Holdings,
}

impl<L> Clone for Fleet<L> {
    fn clone(&self) -> Self {
        Self {
            purger: self.purger.clone(),
            routes: self.routes.clone(),
            holdings: self.holdings.clone(),
        }
    }
}

impl<L: PurgeLog> Purging for Fleet<L> {
    async fn submit(
        &self,
        record: Record,
        wait: Wait,
        longest: Duration,
    ) -> Result<Receipt, Detached> {
        self.purger.submit(record, wait, longest).await
    }

    async fn receipt(&self, mark: Mark) -> Result<Receipt, LogError> {
        self.purger.receipt(mark).await
    }

    async fn instances(&self) -> Result<Vec<Instance>, LogError> {
        self.purger.instances().await
    }

    fn url_scope(&self, url: &Target) -> Scope {
        self.routes.load().url_scope(url)
    }

    fn path_scopes(&self, path: &str) -> Vec<Scope> {
        self.routes.load().path_scopes(path)
    }

    async fn estimate(&self, scopes: Vec<Scope>) -> Estimate {
        self.holdings.estimate(scopes).await
    }

    fn routes(&self) -> Vec<RouteId> {
        self.routes.load().all().map(|route| route.id.clone()).collect()
    }

    fn meaning(&self, event: &str, data: &Value) -> Result<Meaning, Unclear> {
        self.routes.load().events().meaning(event, data)
    }

    fn events(&self) -> Vec<String> {
        let routes = self.routes.load();
        routes.events().rules.iter().map(|rule| rule.name.0.to_string()).collect()
    }

    fn scopes(&self, named: &Named) -> Vec<Scope> {
        self.routes.load().scopes(named)
    }

    fn complete(&self, record: Record) -> Result<Record, Cut> {
        self.routes.load().complete(record)
    }

    fn tripwires(&self) -> Vec<Wire> {
        let routes = self.routes.load();
        let wires = routes.all().filter(|route| !route.tripwire.is_off());
        wires
            .map(|route| Wire {
                route: route.id.clone(),
                sample: route.tripwire.sample(),
                sprung: route.tripwire.cause().map(|(why, since)| (why.token(), since)),
            })
            .collect()
    }

    fn reset_tripwire(&self, route: &RouteId) -> bool {
        self.routes.load().by_id(route).is_some_and(|route| route.tripwire.reset())
    }

    fn audit(&self) -> Vec<(Mark, Arc<Record>)> {
        self.purger.audit().latest()
    }
}

/// The body of a purge, as it is written. An unknown key is an error: a scope that was misspelt must not become
/// a smaller purge than was meant.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    urls: Vec<String>,
    tags: Vec<String>,
    all_tags: Vec<Vec<String>>,
    prefixes: Vec<String>,
    globs: Vec<String>,
    hosts: Vec<String>,
    routes: Vec<String>,
    everything: bool,
    soft: bool,
    wait: WrittenWait,
    timeout: Option<String>,
    reason: Option<String>,
    dry_run: bool,
    rewarm: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WrittenWait {
    #[default]
    All,
    /// In the log and applied here.
    Local,
    /// The same: nothing is answered before that.
    None,
}

/// Reads a body that must be one JSON object.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // A list would be taken for the object's values in their order.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::malformed("the body must be one JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data => {
            let place = culprit::<T>(body).map_or("the body".into(), |key| format!("`{key}`"));
            Problem::unprocessable(format!("in {place}: {error}"))
        }
        Category::Io | Category::Syntax | Category::Eof => {
            Problem::malformed(format!("the body is not JSON: {error}"))
        }
    })
}

/// For whom a call waits, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    wait: Wait,
    longest: Duration,
}

impl Waiting {
    pub(crate) const fn all(longest: Duration) -> Self {
        Self { wait: Wait::All, longest }
    }

    pub(crate) fn read(wait: WrittenWait, timeout: Option<&str>) -> Result<Self, Problem> {
        let longest = timeout.map_or(Ok(TIMEOUT), duration)?;
        let wait = match wait {
            WrittenWait::All => Wait::All,
            WrittenWait::Local | WrittenWait::None => Wait::Local,
        };
        Ok(Self { wait, longest })
    }
}

/// The first member that cannot be read by itself.
fn culprit<T: DeserializeOwned>(body: &[u8]) -> Option<String> {
    let members: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
    members.into_iter().find_map(|(key, value)| {
        let alone = json!({ key.as_str(): value });
        serde_json::from_value::<T>(alone).is_err().then_some(key)
    })
}

/// What one call asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    scopes: Vec<Scope>,
    urls: Vec<String>,
    effect: Effect,
    waiting: Waiting,
    reason: Option<String>,
    run: Run,
    rewarm: Option<u32>,
}

/// Whether what is asked for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    Real,
    Dry,
}

/// How many URLs, tags, prefixes, globs, hosts and routes one call may name.
const SCOPES: usize = 1000;
/// The longest tag, prefix, glob or reason.
const LENGTH: usize = 2048;
/// How many tags an entry may have to carry together.
const TOGETHER: usize = 16;
/// How long a call waits for the fleet unless it says otherwise, and at most.
const TIMEOUT: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_mins(1);
/// How many entries one call may have fetched again.
const REWARM: u32 = 10_000;

impl Asked {
    /// Reads a body. What is empty, odd or unknown is an error and never means "everything".
    pub(crate) fn read(body: &[u8], purging: &impl Purging) -> Result<Self, Problem> {
        let written: Written = parse(body)?;
        let number = [
            &written.urls,
            &written.tags,
            &written.prefixes,
            &written.globs,
            &written.hosts,
            &written.routes,
        ];
        let number = number.map(Vec::len).iter().sum::<usize>()
            + written.all_tags.iter().map(Vec::len).sum::<usize>();
        if number > SCOPES {
            let detail = format!("one purge may name {SCOPES} things at most, this names {number}");
            return Err(Problem::unprocessable(detail));
        }
        if written.rewarm.is_some_and(|keys| keys > REWARM) {
            let detail = format!("in `rewarm`: {REWARM} entries at most are fetched again");
            return Err(Problem::unprocessable(detail));
        }
        let waiting = Waiting::read(written.wait, written.timeout.as_deref())?;
        let effect = if written.soft { Effect::MarkStale } else { Effect::Remove };
        let reason = written.reason.clone().map(|text| plain("reason", text)).transpose()?;
        let run = if written.dry_run { Run::Dry } else { Run::Real };
        let (urls, rewarm) = (written.urls.clone(), written.rewarm);
        Ok(Self { scopes: scopes(&written, purging)?, urls, effect, waiting, reason, rewarm, run })
    }

    /// Whether it is only to be told what would go.
    pub(crate) fn is_dry(&self) -> bool {
        self.run == Run::Dry
    }

    fn record(self, Caller { name: by, from }: Caller) -> Record {
        let purge = |scope| Purge { scope, effect: self.effect };
        let (reason, urls, rewarm) = (self.reason, self.urls, self.rewarm);
        let cause = Cause { by, reason, event: None, from, urls, rewarm };
        let purges = self.scopes.into_iter().map(purge).collect();
        Record { purges, cause, at: Timestamp::now() }
    }
}

/// Tells what would go if it were asked for in earnest; nothing goes.
pub(crate) async fn estimate(purging: &impl Purging, asked: Asked) -> Result<Value, Problem> {
    let estimate = purging.estimate(asked.scopes).await;
    serde_json::to_value(estimate).map_err(|error| Problem::unavailable(error.to_string()))
}

/// Has the fleet purge what is asked.
pub(crate) async fn purge(
    purging: &impl Purging,
    asked: Asked,
    caller: Caller,
) -> Result<Value, Problem> {
    let waiting = asked.waiting;
    submit(purging, asked.record(caller), waiting).await
}

/// Has the fleet purge what a record says, and all that depends on it.
pub(crate) async fn submit(
    purging: &impl Purging,
    record: Record,
    Waiting { wait, longest }: Waiting,
) -> Result<Value, Problem> {
    let record = purging.complete(record).map_err(|cut| {
        Problem::unprocessable(format!("nothing was purged, see `depends`: {cut}"))
    })?;
    let receipt = purging.submit(record, wait, longest).await;
    let receipt = receipt
        .map_err(|detached| Problem::unavailable(detached.to_string()).with("applied", "here"))?;
    Ok(shown(&receipt))
}

/// The instances as they are answered.
pub(crate) fn shown_instances(instances: &[Instance]) -> Value {
    let instance = |it: &Instance| json!({ "id": it.id, "applied": it.applied.to_string(), "until": moment(it.until) });
    json!({ "instances": instances.iter().map(instance).collect::<Vec<_>>() })
}

fn scopes(written: &Written, purging: &impl Purging) -> Result<Vec<Scope>, Problem> {
    let mut scopes = Vec::new();
    for url in &written.urls {
        if url.starts_with('/') {
            scopes.extend(everywhere(url, purging)?);
            continue;
        }
        scopes.extend(both_schemes(&absolute(url)?).map(|target| purging.url_scope(&target)));
    }
    for tag in &written.tags {
        scopes.push(Scope::Tag(Tag::new(&plain("tags", tag.clone())?)));
    }
    for text in &written.prefixes {
        scopes.extend(prefix(text)?);
    }
    for tags in &written.all_tags {
        scopes.push(together(tags)?);
    }
    for text in &written.globs {
        scopes.push(Scope::Glob(glob(text)?));
    }
    for text in &written.hosts {
        scopes.push(Scope::Host(host(text)?));
    }
    let known = purging.routes();
    for name in &written.routes {
        scopes.push(Scope::Route(route(name, &known)?));
    }
    if written.everything {
        scopes.push(Scope::Everything);
    }
    if scopes.is_empty() {
        return Err(Problem::unprocessable(
            "nothing is named: give one of `urls`, `tags`, `all_tags`, `prefixes`, `globs`, `hosts`, `routes`, or \
             `everything: true`",
        ));
    }
    Ok(scopes)
}

/// A path on every host.
fn everywhere(path: &str, purging: &impl Purging) -> Result<Vec<Scope>, Problem> {
    let scopes = purging.path_scopes(&plain("urls", path.to_owned())?);
    if path.starts_with("//") || scopes.is_empty() {
        return Err(Problem::unprocessable(format!("in `urls`: `{path}` is no path of a URL")));
    }
    Ok(scopes)
}

fn together(tags: &[String]) -> Result<Scope, Problem> {
    if tags.is_empty() || tags.len() > TOGETHER {
        let detail = format!("in `all_tags`: each list names 1 to {TOGETHER} tags");
        return Err(Problem::unprocessable(detail));
    }
    let tag = |text: &String| plain("all_tags", text.clone()).map(|text| Tag::new(&text));
    let tags = tags.iter().map(tag).collect::<Result<Box<[Tag]>, Problem>>()?;
    Ok(Scope::AllTags(tags))
}

fn glob(text: &str) -> Result<UrlGlob, Problem> {
    let text = plain("globs", text.to_owned())?;
    let glob = UrlGlob::parse(&text).map_err(|why| {
        Problem::unprocessable(format!(
            "in `globs`: `{}` cannot be used: {why}; write it as `/api/*/reviews/**`",
            hidden(&text)
        ))
    })?;
    if glob.is_every() {
        let detail =
            format!("in `globs`: `{text}` is every URL; if that is meant, say `everything: true`");
        return Err(Problem::unprocessable(detail));
    }
    Ok(glob)
}

fn host(text: &str) -> Result<HostPattern, Problem> {
    let text = plain("hosts", text.to_owned())?;
    let host = HostPattern::parse(&text)
        .map_err(|why| Problem::unprocessable(format!("in `hosts`: {why}")))?;
    if host.is_every() {
        let detail =
            "in `hosts`: `*` is every host; if that is meant, say `everything: true`".to_owned();
        return Err(Problem::unprocessable(detail));
    }
    Ok(host)
}

fn absolute(url: &str) -> Result<Target, Problem> {
    let is_absolute = ["http://", "https://"].iter().any(|scheme| begins(url, scheme));
    let wrong = |why: &str| {
        Problem::unprocessable(format!(
            "in `urls`: `{}` {why}; write it as a client does, as \
             `http://shop.example/api/products?page=2`, or from its path on for every host",
            hidden(url)
        ))
    };
    if !is_absolute {
        return Err(wrong("is not an absolute URL"));
    }
    Target::parse(url).map_err(|error| wrong(&format!("names no URL ({error})")))
}

fn begins(text: &str, with: &str) -> bool {
    text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// The URL under `http` and under `https`: what ends TLS before Larder may or may not have told it.
fn both_schemes(target: &Target) -> impl Iterator<Item = Target> + use<> {
    let other = if *target.scheme() == Scheme::HTTPS { "http" } else { "https" };
    let other = format!("{other}://{}{}", target.host_str(), target.path_and_query());
    [Some(target.clone()), Target::parse(&other).ok()].into_iter().flatten()
}

/// The prefixes that one entry of `prefixes` names, in the form in which stored URLs are written.
fn prefix(text: &str) -> Result<Vec<Scope>, Problem> {
    let text = plain("prefixes", text.to_owned())?;
    if text == "/" {
        return Err(Problem::unprocessable(
            "in `prefixes`: `/` is every URL; if that is meant, say `everything: true`",
        ));
    }
    if text.starts_with('/') {
        return Ok(vec![Scope::Prefix(text.into())]);
    }
    let has_path = text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    let target = Target::parse(&text).ok().filter(|_| has_path);
    let Some(target) = target else {
        return Err(Problem::unprocessable(format!(
            "in `prefixes`: `{}` must begin with a slash, or with a scheme, a host and a slash, as \
             `http://shop.example/api/`",
            hidden(&text)
        )));
    };
    Ok(both_schemes(&target).map(|target| Scope::Prefix(target.url().into())).collect())
}

fn route(name: &str, known: &[RouteId]) -> Result<RouteId, Problem> {
    known.iter().find(|route| route.as_str() == name).cloned().ok_or_else(|| {
        let names: BTreeSet<&str> = known.iter().map(RouteId::as_str).collect();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        Problem::unprocessable(format!(
            "in `routes`: no route is named `{name}`; there are: {names}"
        ))
    })
}

/// A text that is not empty, not long and on one line.
pub(crate) fn plain(key: &str, text: String) -> Result<String, Problem> {
    let wrong = if text.is_empty() {
        "an empty text names nothing"
    } else if text.len() > LENGTH {
        "a text is too long"
    } else if text.chars().any(char::is_control) {
        "control characters are not allowed"
    } else {
        return Ok(text);
    };
    Err(Problem::unprocessable(format!("in `{key}`: {wrong}")))
}

fn duration(text: &str) -> Result<Duration, Problem> {
    let longest = humantime::parse_duration(text).map_err(|_| {
        Problem::unprocessable(format!("in `timeout`: `{text}` is no duration such as `5s`"))
    })?;
    if longest > LONGEST {
        let most = humantime::format_duration(LONGEST);
        let detail =
            format!("in `timeout`: `{text}` is longer than a call may wait; write {most} or less");
        return Err(Problem::unprocessable(detail));
    }
    Ok(longest)
}
