//! Holds a tree against the schema: unknown keys, wrong kinds and bad values, all at once and each at its place.

use std::collections::HashSet;

use schemars::schema_for;
use serde_json::{Map, Value};

use crate::config::fault::{Fault, Faults, Place, Severity, listed, nearest};
use crate::config::file::File;
use crate::config::scalar::kind::{KEYWORD, KINDS, Kind};
use crate::config::tree::{Content, Node, Scalar, Source};
use crate::config::values::{number, of_kind, one_of, truth, whole, words};
use crate::message::authority::hidden;

/// The keyword that names the kind of a map's keys.
const KEYS: &str = "x-keys";

/// The JSON schema of the file, for editors and for what a file is held against.
pub fn schema() -> Value {
    let mut schema = schema_for!(File).to_value();
    without_null(&mut schema);
    schema
}

/// A tree's values as far as they are right, and where they were not.
pub(crate) struct Held {
    pub(crate) value: Value,
    pub(crate) told: Told,
}

/// The paths of what was told as a fault already; what stands there is not complained about again.
#[derive(Default)]
pub(crate) struct Told(HashSet<String>);

impl Told {
    /// Whether `path`, or what it is a part of, was told.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let ends =
            path.char_indices().filter(|(_, end)| matches!(end, '.' | '[')).map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| self.0.contains(&path[..end]))
    }
}

/// Holds the tree against the schema. Every fault goes to `faults`; what is faulty is left out of the value, but
/// for elements of lists of maps, which become empty, so that the others keep their numbers.
pub(crate) fn hold(root: &Node, schema: &Value, faults: &mut Faults) -> Held {
    let mut hold = Hold { schema, faults, told: Told::default() };
    let value = match &root.content {
        // An empty file says nothing wrong; what is missing is told by the checks.
        Content::Nothing => None,
        Content::Scalar(_) | Content::List(_) | Content::Map(_) | Content::Faulty => {
            hold.value(root, schema, "")
        }
    };
    let value = value.unwrap_or_else(|| Value::Object(Map::new()));
    Held { value, told: hold.told }
}

struct Hold<'a> {
    schema: &'a Value,
    faults: &'a mut Faults,
    told: Told,
}

impl<'a> Hold<'a> {
    /// The value as the schema wants it; nothing, and a fault, where it cannot be had.
    fn value(&mut self, node: &Node, schema: &'a Value, path: &str) -> Option<Value> {
        let branches = self.branches(schema);
        let value = match &node.content {
            Content::Faulty => None,
            Content::Nothing => {
                let what = format!("{} has no value", named(path));
                self.fault(node, path, what, "give it one, or remove the key".into());
                None
            }
            Content::Scalar(scalar) => match branches.iter().find(|branch| is_scalar(branch)) {
                Some(branch) => self.scalar(node, scalar, branch, path),
                None => self.mistyped(node, &branches, path),
            },
            Content::List(elements) => match branches.iter().find(|branch| is(branch, "array")) {
                Some(branch) => self.list(node, elements, branch, path),
                None => self.mistyped(node, &branches, path),
            },
            Content::Map(_) => match branches.iter().find(|branch| is(branch, "object")) {
                Some(branch) => Some(self.map(node, branch, path)),
                None => self.mistyped(node, &branches, path),
            },
        };
        if value.is_none() {
            self.told.0.insert(path.to_owned());
        }
        value
    }

    /// The schema's alternatives, with references followed.
    fn branches(&self, schema: &'a Value) -> Vec<&'a Value> {
        let schema = self.resolved(schema);
        match schema.get("anyOf").and_then(Value::as_array) {
            Some(branches) => branches.iter().flat_map(|branch| self.branches(branch)).collect(),
            None => vec![schema],
        }
    }

    fn resolved(&self, schema: &'a Value) -> &'a Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let found =
            reference.and_then(|reference| self.schema.pointer(reference.strip_prefix('#')?));
        found.unwrap_or(schema)
    }

    fn map(&mut self, node: &Node, schema: &'a Value, path: &str) -> Value {
        let Content::Map(entries) = &node.content else { return Value::Object(Map::new()) };
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        let keys = schema.get(KEYS).and_then(Value::as_str).and_then(kind);
        let mut map = Map::new();
        for (key, value) in entries {
            let path = join(path, &key.name);
            let own = known.and_then(|known| known.get(&key.name));
            let Some(schema) = own.or(others) else {
                let (what, right) = self.unknown(&key.name, known, &path);
                self.add(key.place, &path, what, right);
                continue;
            };
            let misnamed = keys.filter(|_| own.is_none());
            if let Some((keys, wrong)) =
                misnamed.and_then(|keys| Some((keys, (keys.check)(&key.name).err()?)))
            {
                let what = format!("`{}` is not {}", shortened(&key.name), keys.noun);
                self.add(key.place, &path, what, wrong.right);
                self.told.0.insert(path);
                continue;
            }
            if let Some(value) = self.value(value, schema, &path) {
                map.insert(key.name.clone(), value);
            }
        }
        Value::Object(map)
    }

    fn list(
        &mut self,
        node: &Node,
        elements: &[Node],
        schema: &'a Value,
        path: &str,
    ) -> Option<Value> {
        if elements.is_empty() && schema.get("minItems").is_some() {
            let what = format!("{} is an empty list", named(path));
            self.fault(node, path, what, "give it at least one element".into());
            return None;
        }
        let items = schema.get("items").unwrap_or(&Value::Null);
        let of_maps = self.branches(items).iter().all(|branch| is(branch, "object"));
        let values = elements.iter().enumerate().map(|(index, element)| {
            let value = self.value(element, items, &format!("{path}[{index}]"));
            if of_maps { Some(value.unwrap_or_else(|| Value::Object(Map::new()))) } else { value }
        });
        // Every element is looked at before the list is given up for one of them.
        let values: Vec<Option<Value>> = values.collect();
        values.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
    }

    fn scalar(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        schema: &'a Value,
        path: &str,
    ) -> Option<Value> {
        let (text, words) = (scalar.text.as_str(), words(schema));
        let kind = schema.get(KEYWORD).and_then(Value::as_str).and_then(kind);
        let read = match kind {
            Some(kind) => of_kind(text, kind),
            None if !words.is_empty() => one_of(text, &words),
            None if is(schema, "boolean") => truth(text),
            None if is(schema, "integer") => whole(text, schema),
            None if is(schema, "number") => number(text, schema),
            None => Ok(text.into()),
        };
        let unfit = match read {
            Ok(value) => return Some(value),
            Err(unfit) => unfit,
        };
        let (not, why, right) = match (&scalar.source, kind) {
            (_, Some(kind)) if (kind.is_secret)() => (String::new(), unfit.why, unfit.right),
            (Source::Literal, _) => {
                (format!(", not `{}`", shortened(&hidden(text))), unfit.why, unfit.right)
            }
            // What is wrong with a value from outside, and what would be right, could repeat the value.
            (Source::Variables(written), _) => {
                let not = format!(", not the value of `{}`", shortened(written));
                (not, String::new(), unfit.general)
            }
        };
        let why = if why.is_empty() { why } else { format!(" ({why})") };
        let what = format!("{} takes {}{not}{why}", named(path), unfit.wanted);
        self.fault(node, path, what, right);
        None
    }

    fn mistyped(&mut self, node: &Node, branches: &[&Value], path: &str) -> Option<Value> {
        let wanted: Vec<String> = branches.iter().map(|branch| wanted(branch)).collect();
        let (given, right) = match &node.content {
            Content::Nothing | Content::Faulty => ("nothing", "give it a value"),
            Content::Scalar(_) if branches.iter().any(|branch| is(branch, "array")) => {
                ("a single value", "write a list: [ … ], or one element per line behind `-`")
            }
            Content::Scalar(_) => ("a single value", "write its keys below it, indented"),
            Content::List(_) => ("a list", "write it without `[ ]` and `-`"),
            Content::Map(_) => {
                ("a map", "write the value behind the colon, without keys of its own")
            }
        };
        let what = format!("{} takes {}, not {given}", named(path), wanted.join(" or "));
        self.fault(node, path, what, right.to_owned());
        None
    }

    /// What to say of a key that is not known in this place.
    fn unknown(
        &mut self,
        name: &str,
        known: Option<&Map<String, Value>>,
        path: &str,
    ) -> (String, String) {
        let what = format!("unknown key `{}`", shortened(name));
        let names = || known.into_iter().flat_map(Map::keys).map(String::as_str);
        let homes = self.homes(name);
        let right = if let Some(near) = nearest(name, names()) {
            // What is missing under that name is not missing.
            let parent = path.strip_suffix(name).unwrap_or_default();
            self.told.0.insert(format!("{parent}{near}"));
            format!("did you mean `{near}`?")
        } else if let (false, false) = (homes.is_empty(), path.contains("tokens")) {
            format!("it stands under {}", listed(homes.iter().map(String::as_str)))
        } else {
            format!("known here are {}", listed(names()))
        };
        (what, right)
    }

    /// Where in the file a key of this name would be known.
    fn homes(&self, name: &str) -> Vec<String> {
        let mut homes = Vec::new();
        self.search(self.schema, name, "", &mut homes);
        homes.retain(|home| !home.is_empty());
        homes.truncate(3);
        homes
    }

    fn search(&self, schema: &'a Value, name: &str, path: &str, homes: &mut Vec<String>) {
        for branch in self.branches(schema) {
            if let Some(known) = branch.get("properties").and_then(Value::as_object) {
                if known.contains_key(name) {
                    homes.push(path.to_owned());
                }
                for (key, value) in known {
                    self.search(value, name, &join(path, key), homes);
                }
            }
            if let Some(items) = branch.get("items") {
                self.search(items, name, &format!("{path}[]"), homes);
            }
            if let Some(others) = branch.get("additionalProperties").filter(|any| any.is_object()) {
                self.search(others, name, &join(path, "…"), homes);
            }
        }
    }

    fn fault(&mut self, node: &Node, path: &str, what: String, right: String) {
        self.add(node.place, path, what, right);
    }

    fn add(&mut self, place: Place, path: &str, what: String, right: String) {
        let severity = Severity::Fault;
        self.faults.add(Fault { place, path: path.to_owned(), what, right, severity });
    }
}

fn is(schema: &Value, wanted: &str) -> bool {
    schema.get("type").and_then(Value::as_str) == Some(wanted)
}

fn is_scalar(schema: &Value) -> bool {
    !is(schema, "array") && !is(schema, "object")
}

fn wanted(schema: &Value) -> String {
    let kind = schema.get(KEYWORD).and_then(Value::as_str).and_then(kind);
    let words = words(schema);
    match (kind, schema.get("type").and_then(Value::as_str)) {
        (Some(kind), _) => kind.noun.to_owned(),
        (None, _) if !words.is_empty() => listed(words.iter().copied()).replace(" and ", " or "),
        (None, Some("array")) => "a list".to_owned(),
        (None, Some("object")) => "a map".to_owned(),
        (None, Some("boolean")) => "`true` or `false`".to_owned(),
        (None, Some("integer")) => "a whole number".to_owned(),
        (None, Some("number")) => "a number".to_owned(),
        (None, Some(_) | None) => "a text".to_owned(),
    }
}

fn kind(keyword: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.keyword == keyword)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// How faults call what stands at a path.
fn named(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or_default();
    if last.is_empty() { "the file".to_owned() } else { format!("`{}`", shortened(last)) }
}

/// A text on one line of bounded length.
fn shortened(text: &str) -> String {
    let line: String = text.chars().map(|any| if any.is_control() { ' ' } else { any }).collect();
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Takes the alternative `null` out of a schema: a key without a value is a fault here.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
                branches.retain(|branch| !is(branch, "null"));
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
