//! The client of the admin API.

use std::env;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response, Url, redirect};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{Failure, Purge, Wait, runtime, tell};

/// Where the token comes from: an argument would be seen by everybody on the machine.
const TOKEN: &str = "LARDER_TOKEN";
/// How much longer than the server may wait for the fleet it may take to hear from it.
const GRACE: Duration = Duration::from_secs(10);

/// A receipt, as far as people are told about it.
#[derive(Debug, Deserialize)]
struct Receipt {
    mark: String,
    complete: bool,
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
struct Instance {
    id: String,
    applied: bool,
    #[serde(default)]
    until: String,
}

/// Purges, and shows the receipt.
pub(super) fn purge(asked: &Purge) -> Result<(), Failure> {
    let url = endpoint(&asked.api.admin, "admin/purges")?;
    let receipt = runtime()?.block_on(post(url.clone(), body(asked), *asked.timeout))?;
    if asked.dry_run {
        return tell(&if asked.api.json { receipt.to_string() } else { estimated(&receipt) });
    }
    if asked.api.json {
        tell(&receipt.to_string())?;
    }
    let told = in_words(&url, receipt, asked.wait)?;
    if asked.api.json { Ok(()) } else { tell(&told) }
}

/// What an answered receipt says; one that is not what was waited for is a failure.
pub(super) fn in_words(admin: &Url, receipt: Value, wait: Wait) -> Result<String, Failure> {
    let receipt = serde_json::from_value(receipt).map_err(|_| unlike(admin))?;
    shown(&receipt, wait)
}

fn body(asked: &Purge) -> Value {
    let mut body = json!({
        "urls": asked.urls,
        "tags": asked.tags,
        "all_tags": asked.all_tags.iter().map(|tags| tags.split(',').map(str::trim).collect()).collect::<Vec<Vec<&str>>>(),
        "prefixes": asked.prefixes,
        "globs": asked.globs,
        "hosts": asked.hosts,
        "routes": asked.routes,
        "everything": asked.everything,
        "soft": asked.soft,
        "dry_run": asked.dry_run,
        "wait": asked.wait.word(),
        "timeout": asked.timeout.to_string().replace(' ', ""),
    });
    if let Some(reason) = &asked.reason {
        body["reason"] = reason.as_str().into();
    }
    if let Some(keys) = asked.rewarm {
        body["rewarm"] = keys.into();
    }
    body
}

/// The address of one of the API's paths. A scheme may be left out.
pub(super) fn endpoint(admin: &str, path: &str) -> Result<Url, Failure> {
    let with_scheme =
        if admin.contains("://") { admin.to_owned() } else { format!("http://{admin}") };
    let base = format!("{}/", with_scheme.trim_end_matches('/'));
    let url = Url::parse(&base).and_then(|base| base.join(path));
    let url = url.ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| {
        // It may hold a password.
        let admin = if admin.contains('@') { "--admin" } else { admin };
        Failure::Usage(format!(
            "`{admin}` is no address of an admin API; write it as http://127.0.0.1:9090"
        ))
    })
}

/// Something else answers there.
pub(super) fn unlike(url: &Url) -> Failure {
    Failure::Failed(format!("{} does not answer as Larder does", place(url)))
}

/// Scheme, host and port: what stands before the host may be a password.
fn place(url: &Url) -> String {
    url.origin().ascii_serialization()
}

pub(super) async fn post(url: Url, body: Value, wait: Duration) -> Result<Value, Failure> {
    send(url, wait, |client, url| client.post(url).json(&body)).await
}

pub(super) async fn get(url: Url) -> Result<Value, Failure> {
    send(url, Duration::ZERO, Client::get).await
}

async fn send(
    url: Url,
    wait: Duration,
    request: impl FnOnce(&Client, Url) -> RequestBuilder,
) -> Result<Value, Failure> {
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(wait.saturating_add(GRACE))
        .build()
        .map_err(|error| Failure::Failed(format!("cannot make requests: {error}")))?;
    let mut request = request(&client, url.clone());
    if let Some(token) = env::var(TOKEN).ok().filter(|token| !token.is_empty()) {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.map_err(|error| unreachable(&url, &error))?;
    read(&url, response).await
}

async fn read(url: &Url, response: Response) -> Result<Value, Failure> {
    let status = response.status();
    let media_type = response.headers().get(CONTENT_TYPE).cloned();
    let body = response.bytes().await.map_err(|error| unreachable(url, &error))?;
    let value: Option<Value> = serde_json::from_slice(&body).ok();
    let is_problem = media_type.is_some_and(|it| it.as_bytes() == b"application/problem+json");
    match value {
        Some(value) if status.is_success() => Ok(value),
        Some(problem) if is_problem => {
            let detail = problem["detail"].as_str().unwrap_or("no reason was given");
            let hint =
                if status.as_u16() == 401 { format!("; set {TOKEN}") } else { String::new() };
            let told = format!("{detail}{hint} (status {status})");
            Err(match status.as_u16() {
                // What was asked for means nothing there, and nothing was done.
                400 | 404 | 422 => Failure::Usage(told),
                _ => Failure::Failed(told),
            })
        }
        Some(_) | None => {
            let place = place(url);
            Err(Failure::Failed(format!(
                "{place} does not answer as Larder does (status {status})"
            )))
        }
    }
}

/// The last cause is the one that says something.
fn unreachable(url: &Url, error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let place = place(url);
    Failure::Failed(format!(
        "cannot reach the admin API at {place}: {cause}; is Larder running, and is --admin right?"
    ))
}

/// An estimate in words.
fn estimated(estimate: &Value) -> String {
    let count = |it: &Value| format!("{} entries, {} bytes", it["entries"], it["bytes"]);
    let mut lines = vec![format!("would purge from memory here: {}", count(&estimate["l1"]))];
    for (route, it) in estimate["routes"].as_object().into_iter().flatten() {
        lines.push(format!("  route {route}: {}", count(it)));
    }
    if estimate["complete"] == false {
        lines.push("  or more: not all of memory was walked through".into());
    }
    lines.push(format!("second layer: {}", estimate["l2"].as_str().unwrap_or("unknown")));
    lines.join("\n")
}

/// One line for each instance.
fn each(instances: &[Instance]) -> String {
    let line = |instance: &Instance| {
        let Instance { id, applied, until } = instance;
        if *applied {
            format!("\n  {id}: applied")
        } else {
            format!("\n  {id}: not applied, its lease ends {until}")
        }
    };
    instances.iter().map(line).collect()
}

/// The receipt in words; one that is not complete although all were waited for is a failure.
fn shown(receipt: &Receipt, wait: Wait) -> Result<String, Failure> {
    let Receipt { mark, instances, .. } = receipt;
    let number = instances.len();
    let late: Vec<String> = instances
        .iter()
        .filter(|instance| !instance.applied)
        .map(|instance| format!("{} (its lease ends {})", instance.id, instance.until))
        .collect();
    if receipt.complete {
        let whom =
            if number == 1 { "1 instance".into() } else { format!("all {number} instances") };
        return Ok(format!("purged at {mark}, applied by {whom}{}", each(instances)));
    }
    match wait {
        Wait::Local => Ok(format!("purged at {mark}{}", each(instances))),
        Wait::All if late.is_empty() => Err(Failure::Failed(format!(
            "the purge {mark} is in the log, but it is not known which instances have applied it"
        ))),
        Wait::All => Err(Failure::Failed(format!(
            "the purge {mark} is in the log, but of {number} instances these have not applied it: {}",
            late.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(applied: &[bool]) -> Receipt {
        let instance = |applied: &bool| json!({"id": "a", "applied": applied, "until": "soon"});
        let complete = !applied.is_empty() && applied.iter().all(|it| *it);
        let instances: Vec<_> = applied.iter().map(instance).collect();
        let receipt = json!({"mark": "17-0", "complete": complete, "instances": instances});
        serde_json::from_value(receipt).unwrap()
    }

    #[test]
    fn a_receipt_that_is_not_complete_fails_only_those_who_wait_for_all() {
        assert_eq!(
            shown(&receipt(&[true, true]), Wait::All).unwrap(),
            "purged at 17-0, applied by all 2 instances\n  a: applied\n  a: applied"
        );
        assert!(shown(&receipt(&[true, false]), Wait::Local).is_ok());
        for applied in [&[true, false][..], &[]] {
            assert!(matches!(shown(&receipt(applied), Wait::All), Err(Failure::Failed(_))));
        }
    }

    #[test]
    fn the_admin_address_may_be_written_short() {
        let url = |admin| endpoint(admin, "admin/purges").unwrap().to_string();
        assert_eq!(url("127.0.0.1:9090"), "http://127.0.0.1:9090/admin/purges");
        assert_eq!(url("https://a.example/larder/"), "https://a.example/larder/admin/purges");
        assert!(matches!(endpoint("ftp://a", "x"), Err(Failure::Usage(_))));
        assert!(matches!(endpoint("http://", "x"), Err(Failure::Usage(_))));
    }
}
