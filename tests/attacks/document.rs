//! The tables of `SECURITY.md`, made from the threats; what stands before them is written by hand.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::row::{Story, Threat};
use super::{connection, deception, floods, framing, http2, parsing, poisoning};

/// Where the tables begin.
const BEGINNING: &str = "## The table\n";

/// A test, and what it shows.
struct Part {
    title: &'static str,
    test: &'static str,
    threats: Vec<Threat>,
}

fn parts() -> Vec<Part> {
    let part = |title, test, threats| Part { title, test, threats };
    vec![
        part(
            "Where a request ends",
            "a_body_has_one_length_or_the_request_is_refused",
            framing::threats(),
        ),
        part(
            "What a head says",
            "a_head_has_one_meaning_or_the_request_is_refused",
            parsing::threats(),
        ),
        part("The connection", "a_connection_cannot_be_led_astray", connection::threats()),
        part("HTTP/2", "http2_is_held_to_the_same", http2::threats()),
        part("Poisoning", "what_is_not_keyed_does_not_steer_what_is_shared", poisoning::threats()),
        part("Deception and leaks", "nobody_gets_what_was_meant_for_another", deception::threats()),
        part(
            "Large, slow and endless",
            "nothing_that_a_stranger_sends_keeps_others_from_being_served",
            floods::threats(),
        ),
    ]
}

/// The page, with what stands before its tables in `kept`.
pub(crate) fn document(kept: &str) -> String {
    let before = kept.split_once(BEGINNING).map_or(kept, |(before, _)| before);
    let parts = parts();
    let threats = parts.iter().flat_map(|part| &part.threats);
    let rows: usize = threats.clone().map(|threat| threat.rows.len()).sum();
    let mut text = format!(
        "{before}{BEGINNING}\n{rows} rows and {} stories for {} threats. A row is what is sent; it passes where what must come back does, where the origin saw\n\
         what it should and nothing else, and where the next client is served. A story is a test of its own.\n",
        stories().len(),
        threats.count(),
    );
    for Part { title, test, threats } in parts {
        let _ = write!(text, "\n### {title}\n\nTest: `{test}` in `tests/attacks.rs`.\n");
        for Threat { name, defence, rows, stories } in threats {
            let _ = write!(text, "\n**{name}.** {}.\n\n", sentence(defence));
            for row in rows {
                let _ = writeln!(text, "- {}", escaped(&row.name));
            }
            for Story { file, test } in stories {
                let _ = writeln!(text, "- `{test}` in `{file}`");
            }
        }
    }
    text
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        let first = if text.starts_with(|c: char| c.is_ascii_lowercase()) {
            first.to_ascii_uppercase()
        } else {
            first
        };
        format!("{first}{}", letters.as_str())
    })
}

/// What Markdown would read as its own is code.
fn escaped(name: &str) -> String {
    if name.contains(['*', '<', '_', '\\', '`', '&', '[']) {
        format!("`{name}`")
    } else {
        name.to_owned()
    }
}

/// The tests elsewhere that show a threat.
pub(crate) fn stories() -> Vec<Story> {
    let threats = parts().into_iter().flat_map(|part| part.threats);
    threats.flat_map(|threat| threat.stories).collect()
}

/// Names that two rows have.
pub(crate) fn twins() -> Vec<String> {
    let mut names = BTreeSet::new();
    let parts = parts();
    let rows = parts.iter().flat_map(|part| &part.threats).flat_map(|threat| &threat.rows);
    rows.filter(|row| !names.insert(row.name.clone())).map(|row| row.name.clone()).collect()
}
