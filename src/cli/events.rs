//! Events from the command line: tell one, or list those that a running Larder knows.

use serde_json::{Map, Value, json};

use crate::cli::client::{endpoint, get, in_words, post};
use crate::cli::{Events, Failure, Wait, runtime, tell};

/// Tells an event and shows the receipt; without a name, lists all events.
pub(super) fn events(asked: &Events) -> Result<(), Failure> {
    let url = endpoint(&asked.api.admin, "admin/events")?;
    let Some(name) = &asked.name else {
        let known = runtime()?.block_on(get(url))?;
        if asked.api.json {
            return tell(&known.to_string());
        }
        let names = known["events"].as_array().into_iter().flatten().filter_map(Value::as_str);
        return match names.collect::<Vec<_>>().join("\n") {
            names if names.is_empty() => tell("no events are configured"),
            names => tell(&names),
        };
    };
    let mut body = json!({
        "event": name,
        "data": data(asked)?,
        "wait": asked.wait.word(),
        "timeout": asked.timeout.to_string().replace(' ', ""),
    });
    if let Some(reason) = &asked.reason {
        body["reason"] = reason.as_str().into();
    }
    let receipt = runtime()?.block_on(post(url.clone(), body, *asked.timeout))?;
    if asked.api.json {
        tell(&receipt.to_string())?;
    }
    let told = in_words(&url, receipt, asked.wait)?;
    if asked.api.json { Ok(()) } else { tell(&told) }
}

/// The data as JSON, with what single values say in it.
fn data(asked: &Events) -> Result<Value, Failure> {
    let mut data = match &asked.data {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::Usage(format!("--data is not JSON: {error}")))?,
        None => Value::Object(Map::new()),
    };
    for pair in &asked.set {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Failure::Usage(format!("`{pair}` is not NAME=VALUE")));
        };
        let Some(object) = data.as_object_mut() else {
            return Err(Failure::Usage("--set needs --data to be an object".into()));
        };
        object.insert(name.to_owned(), value.into());
    }
    Ok(data)
}

impl Wait {
    /// As the API writes it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Local => "local",
        }
    }
}
