//! `docs/conformance.md`, made from the tables.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::row::{Clause, Level};
use super::{rfc5861, rfc9110, rfc9111, rfc9211, rfc9213, rfc10008};

/// What an RFC asks that no row shows, and why.
struct Elsewhere {
    clause: &'static str,
    what: &'static str,
    why: &'static str,
}

/// Clauses that do not concern a shared cache before an origin, or that Larder obeys in a way of its own.
const ELSEWHERE: [Elsewhere; 13] = [
    Elsewhere {
        clause: "RFC 9110 §3, §4, §7.1, §7.3",
        what: "user agents; URI schemes; how a client finds a server",
        why: "do not concern a reverse proxy, whose origins are configured",
    },
    Elsewhere {
        clause: "RFC 9110 §8.8.1, §9.3.3 to §9.3.8, §13.1.1, §13.1.4",
        what: "what origins do with validators, methods and preconditions",
        why: "the origin's: Larder passes them on",
    },
    Elsewhere {
        clause: "RFC 9110 §9.3.6",
        what: "CONNECT",
        why: "a reverse proxy opens no tunnels: 405",
    },
    Elsewhere {
        clause: "RFC 9110 §11.7",
        what: "authentication to a proxy",
        why: "a reverse proxy asks for none; the fields are not passed on",
    },
    Elsewhere {
        clause: "RFC 9110 §12",
        what: "how an origin negotiates",
        why: "the origin's; a cache only reads `Vary` (RFC 9111 §4.1)",
    },
    Elsewhere {
        clause: "RFC 9111 §3.1",
        what: "storing trailer fields",
        why: "they are discarded, which the clause allows",
    },
    Elsewhere { clause: "RFC 9111 §4", what: "a cache without a clock", why: "Larder has one" },
    Elsewhere {
        clause: "RFC 9111 §4.1",
        what: "no match but by the values of the fields that `Vary` names",
        why: "`vary.content_language`, off by default and on in `config/strict.yaml`, also goes by what the origin chose",
    },
    Elsewhere {
        clause: "RFC 9111 §4.3.2",
        what: "`If-Match` and `If-Unmodified-Since` are not applicable to a cache",
        why: "a stored response that may be reused says of them what the origin would: 412",
    },
    Elsewhere {
        clause: "RFC 9111 §5.2.2.1 and others",
        what: "what senders generate",
        why: "Larder writes no directives but `no-store`, on its own errors",
    },
    Elsewhere { clause: "RFC 9111 §6", what: "history lists", why: "a user agent's" },
    Elsewhere {
        clause: "RFC 5861 §3, §4",
        what: "the Warning field",
        why: "obsolete (RFC 9111 §5.5): `Age` and `Cache-Status` tell",
    },
    Elsewhere {
        clause: "RFC 9112 §6.3",
        what: "a response with a known transfer coding other than chunked",
        why: "Larder asks for none, and answers 502 rather than hand on content that it cannot read to its end",
    },
];

/// The whole document.
pub(crate) fn document() -> String {
    let tables = [
        ("RFC 9110", "HTTP Semantics; and RFC 9112, where content ends", rfc9110::clauses()),
        ("RFC 9111", "HTTP Caching; and RFC 8246, immutable", rfc9111::clauses()),
        ("RFC 5861", "Stale Content", rfc5861::clauses()),
        ("RFC 9211", "Cache-Status", rfc9211::clauses()),
        ("RFC 9213", "Targeted Cache Control", rfc9213::clauses()),
        ("RFC 10008", "QUERY", rfc10008::clauses()),
    ];
    let mut text = String::from(
        "# Conformance\n\n\
         Each clause below is quoted and shown on the wire: a client's requests, a scripted origin's answers, and what must\n\
         come of them, against the binary with `config/strict.yaml`. A row stands here because it passes; the tests\n\
         `rfc9110`, `rfc9111`, `rfc5861`, `rfc9211`, `rfc9213` and `rfc10008` play them all; this page is made from the same tables\n\
         (`LARDER_WRITE=1 cargo test --test conformance` writes it anew). Quotes leave out references to other sections; [...]\n\
         stands for what else is left out.\n\n\
         | RFC | | clauses | rows | of MUST | of SHOULD | of MAY | of what is defined |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (rfc, title, clauses) in &tables {
        let of = |level| rows(clauses.iter().filter(|clause| clause.level == level));
        line(
            &mut text,
            format_args!(
                "| {rfc} | {title} | {} | {} | {} | {} | {} | {} |",
                clauses.len(),
                rows(clauses.iter()),
                of(Level::Must),
                of(Level::Should),
                of(Level::May),
                of(Level::Defined),
            ),
        );
    }
    for (rfc, title, clauses) in &tables {
        line(&mut text, format_args!("\n## {rfc}: {title}"));
        for (section, clauses) in by_section(clauses) {
            line(&mut text, format_args!("\n### {}\n", heading(section)));
            line(&mut text, format_args!("| level | clause | row | status |\n|---|---|---|---|"));
            for clause in clauses {
                for (number, row) in clause.rows.iter().enumerate() {
                    let (level, quote) = match number {
                        0 => (clause.level.to_string(), cell(clause.quote)),
                        _ => (String::new(), String::new()),
                    };
                    line(
                        &mut text,
                        format_args!("| {level} | {quote} | {} | passes |", cell(&row.name)),
                    );
                }
            }
        }
    }
    text.push_str("\n## What no row shows\n\n| clause | what | why |\n|---|---|---|\n");
    for Elsewhere { clause, what, why } in &ELSEWHERE {
        line(&mut text, format_args!("| {clause} | {what} | {why} |"));
    }
    text
}

/// Rows whose names come twice under one clause, which nobody could tell apart.
pub(crate) fn twins() -> Vec<String> {
    let all = [
        rfc9110::clauses(),
        rfc9111::clauses(),
        rfc5861::clauses(),
        rfc9211::clauses(),
        rfc9213::clauses(),
        rfc10008::clauses(),
    ];
    let mut twins = Vec::new();
    for clause in all.iter().flatten() {
        let mut names: Vec<&str> = clause.rows.iter().map(|row| row.name.as_str()).collect();
        names.sort_unstable();
        twins.extend(names.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0].to_owned()));
    }
    twins
}

fn rows<'a>(clauses: impl Iterator<Item = &'a Clause>) -> usize {
    clauses.map(|clause| clause.rows.len()).sum()
}

/// The clauses in the order of their sections, which are compared number by number.
fn by_section(clauses: &[Clause]) -> Vec<(&'static str, Vec<&Clause>)> {
    let mut sections: BTreeMap<Vec<u32>, (&'static str, Vec<&Clause>)> = BTreeMap::new();
    for clause in clauses {
        let numbers =
            clause.section.split(['.', ' ', '§']).filter_map(|part| part.parse().ok()).collect();
        sections.entry(numbers).or_insert((clause.section, Vec::new())).1.push(clause);
    }
    sections.into_values().collect()
}

fn heading(section: &str) -> String {
    if section.contains('§') { format!("RFC {section}") } else { format!("§{section}") }
}

/// The text in a table: bars and stars stand for themselves.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('*', "\\*").replace('<', "&lt;")
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("nothing but memory can fail a write to a string");
}
