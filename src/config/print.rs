//! Writes the effective configuration as YAML. Secrets hide themselves: their types write `***`.

use std::fmt::Write;
use std::path::Path;

use crate::config::fault::Faults;
use crate::config::file::File;
use crate::config::tree::{self, Content, Node, Style};
use crate::config::variables::Variables;

/// The file as YAML, in the order of its schema.
pub(crate) fn yaml(file: &File) -> String {
    // JSON is YAML: the writer of the one and the reader of the other give the order for nothing.
    let json = serde_json::to_string(file).unwrap_or_default();
    let mut faults = Faults::new(Path::new(""));
    let mut text = String::new();
    if let Some(tree) = tree::read(&json.replace("${", "$${"), &Nowhere, &mut faults) {
        block(&tree, 0, &mut text);
    }
    text.trim_start_matches('\n').to_owned() + "\n"
}

/// Nothing is put into a text that is only printed.
struct Nowhere;

impl Variables for Nowhere {
    fn variable(&self, _: &str) -> Option<String> {
        None
    }

    fn file(&self, _: &str) -> Option<String> {
        None
    }
}

/// Appends a value behind its key or dash.
fn block(node: &Node, indent: usize, text: &mut String) {
    match &node.content {
        Content::Nothing | Content::Faulty => text.push_str(" null"),
        Content::Scalar(scalar) => {
            text.push(' ');
            text.push_str(&quoted(&scalar.text, scalar.style));
        }
        Content::List(elements) if elements.is_empty() => text.push_str(" []"),
        Content::Map(entries) if entries.is_empty() => text.push_str(" {}"),
        Content::List(elements) => {
            for element in elements {
                let _ = write!(text, "\n{:indent$}-", "");
                inline(element, indent + 2, text);
            }
        }
        Content::Map(entries) => {
            for (key, value) in entries {
                let _ = write!(text, "\n{:indent$}{}:", "", quoted(&key.name, Style::Quoted));
                block(value, indent + 2, text);
            }
        }
    }
}

/// A map behind a dash begins in the dash's line.
fn inline(node: &Node, indent: usize, text: &mut String) {
    let start = text.len();
    block(node, indent, text);
    let lead = format!("\n{:indent$}", "");
    if text[start..].starts_with(&lead) {
        text.replace_range(start..start + lead.len(), " ");
    }
}

/// Plain where no reader could take it for something else.
fn quoted(text: &str, style: Style) -> String {
    let is_word = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.chars().all(|any| any.is_ascii_alphanumeric() || "-_./:".contains(any))
        && !text.ends_with(':')
        && !matches!(text.to_lowercase().as_str(), "true" | "false" | "null" | "yes" | "no");
    let is_amount = text.starts_with(|first: char| first.is_ascii_digit())
        && text.ends_with(|last: char| last.is_ascii_alphabetic() || last == '%')
        && text.chars().all(|any| any.is_ascii_alphanumeric() || any == '.' || any == '%');
    if style == Style::Plain || is_word || is_amount {
        return text.to_owned();
    }
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}
