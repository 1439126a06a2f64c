//! GraphQL requests: which of them only ask, and one spelling for each; the only user of its parser.

use std::borrow::Cow;

use apollo_parser::cst::{CstNode, Definition, OperationDefinition};
use apollo_parser::{Lexer, Parser, TokenKind};

use crate::key::content::{Unkeyable, json};

/// How deep a document may be nested, and how many tokens it may have: a parser's stack and time are bounded.
const DEPTH: usize = 100;
const TOKENS: usize = 20_000;

/// The parameters of a request (GraphQL over HTTP §5.1). What has others may mean something else by them.
const PARAMETERS: [&str; 4] = ["query", "operationName", "variables", "extensions"];

/// The canonical content of a request in JSON: canonical JSON, with the document in its canonical form.
///
/// Where there are `extensions` the document stays as it is: a persisted query's hash is of its text.
pub(super) fn content(came: &[u8]) -> Result<Vec<u8>, Unkeyable> {
    if came.trim_ascii_start().starts_with(b"[") {
        return Err(Unkeyable::Batch);
    }
    let mut object = json::object(came)?;
    if object.iter().any(|(name, _)| !PARAMETERS.contains(&name.as_str())) {
        return Err(Unkeyable::NotGraphQl);
    }
    let extended = object.iter().any(|(name, value)| name == "extensions" && value != b"null");
    let document = object.iter_mut().find(|(name, _)| name == "query");
    // A document that is only named may be a mutation.
    let (_, value) = document.ok_or(Unkeyable::NotGraphQl)?;
    let document: String = serde_json::from_slice(value).map_err(|_| Unkeyable::NotGraphQl)?;
    only_asks(&document)?;
    if !extended {
        *value = json::string(&canonical(&document)?);
    }
    Ok(json::write(&object))
}

/// Whether a request whose parameters are in the URL only asks. A document that is named by its hash alone does,
/// since GET is safe and the origin must refuse it otherwise (GraphQL over HTTP §6.2.1).
pub fn asked_by_url(query: Option<&str>) -> Result<(), Unkeyable> {
    let parameters = || form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut documents = parameters().filter(|(name, _)| name == "query");
    match (documents.next(), documents.next()) {
        (Some((_, document)), None) => only_asks(&document),
        (None, _) if parameters().any(|(name, _)| name == "extensions") => Ok(()),
        (None, _) | (Some(_), Some(_)) => Err(Unkeyable::NotGraphQl),
    }
}

/// A URL's query with the canonical values of a request's parameters, each in its place; what cannot be read stays
/// as it is.
pub fn canonical_query(parameters: &[&str]) -> String {
    let named = |wanted: &str| parameters.iter().any(|parameter| pair(parameter).0 == wanted);
    let extended = named("extensions");
    let written = parameters.iter().map(|parameter| {
        let (name, value) = pair(parameter);
        let form = match &*name {
            "query" if !extended => canonical(&value).ok(),
            "variables" | "extensions" => {
                json::canonical(value.as_bytes()).ok().and_then(|form| String::from_utf8(form).ok())
            }
            _ => None,
        };
        form.map_or_else(|| (*parameter).to_owned(), |form| format!("{name}={}", encoded(&form)))
    });
    written.collect::<Vec<_>>().join("&")
}

/// A parameter, decoded.
fn pair(parameter: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    form_urlencoded::parse(parameter.as_bytes()).next().unwrap_or_default()
}

/// With `%20` for a blank, which every reader of URLs takes for one.
fn encoded(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Whether a URL has parameters of a request, which some origins read before those in the content.
pub fn speaks_in_url(query: Option<&str>) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, _)| PARAMETERS.contains(&&*name))
}

/// Whether every operation of a document is a query: which one is run is the origin's to tell.
fn only_asks(document: &str) -> Result<(), Unkeyable> {
    let tree = Parser::new(document).recursion_limit(DEPTH).token_limit(TOKENS).parse();
    if tree.errors().len() > 0 {
        return Err(Unkeyable::NotGraphQl);
    }
    let mut operations = 0;
    for definition in tree.document().definitions() {
        match definition {
            Definition::OperationDefinition(operation) => {
                only_queries(&operation)?;
                operations += 1;
            }
            Definition::FragmentDefinition(_) => {}
            _ => return Err(Unkeyable::NotGraphQl),
        }
    }
    if operations == 0 { Err(Unkeyable::NotGraphQl) } else { Ok(()) }
}

fn only_queries(operation: &OperationDefinition) -> Result<(), Unkeyable> {
    match operation.operation_type() {
        // A selection set alone is a query.
        None if operation.syntax().text().to_string().trim_start().starts_with('{') => Ok(()),
        Some(kind) if kind.mutation_token().is_some() => Err(Unkeyable::Mutation),
        Some(kind) if kind.subscription_token().is_some() => Err(Unkeyable::Subscription),
        Some(kind) if kind.query_token().is_some() => Ok(()),
        Some(_) | None => Err(Unkeyable::NotGraphQl),
    }
}

/// The document without its ignored tokens (blanks, comments, commas; GraphQL §2.1.7), which mean nothing.
fn canonical(document: &str) -> Result<String, Unkeyable> {
    let mut text = String::with_capacity(document.len());
    let mut open = true;
    for token in Lexer::new(document).with_limit(TOKENS) {
        let token = token.map_err(|_| Unkeyable::NotGraphQl)?;
        match token.kind() {
            TokenKind::Whitespace | TokenKind::Comment | TokenKind::Comma | TokenKind::Eof => {}
            kind => {
                let closed = is_punctuator(kind);
                if !open && !closed {
                    text.push(' ');
                }
                text.push_str(token.data());
                open = closed;
            }
        }
    }
    Ok(text)
}

/// Whether a token is a whole one whatever stands beside it. Three dots are not: a number before them would be
/// read on.
const fn is_punctuator(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Bang
            | TokenKind::Dollar
            | TokenKind::Amp
            | TokenKind::Colon
            | TokenKind::Eq
            | TokenKind::At
            | TokenKind::LParen
            | TokenKind::RParen
            | TokenKind::LBracket
            | TokenKind::RBracket
            | TokenKind::LCurly
            | TokenKind::RCurly
            | TokenKind::Pipe
    )
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prop_assert_eq;
    use proptest::sample::select;
    use proptest::strategy::Strategy;

    use super::*;
    use crate::key::content::tests::always;

    fn said(text: &str) -> Result<String, Unkeyable> {
        content(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    fn asked(document: &str) -> Result<String, Unkeyable> {
        said(&serde_json::json!({ "query": document }).to_string())
    }

    #[test]
    fn blanks_comments_and_commas_do_not_count() {
        let plain = "query Q($a:Int=1,$b:[String!]){x(a:$a,b:\"c # d\")@include(if:true){...F y}}fragment F on X{z}";
        let spelled = "# a comment\n query  Q ( $a : Int = 1 $b: [ String ! ] ) {\n x(a: $a b: \"c # d\") \
                       @include(if: true) { ... F, y } }\n\nfragment F on X { z }\u{feff}";
        let form = asked(plain).unwrap();
        assert_eq!(asked(spelled).as_ref(), Ok(&form));
        assert_eq!(said(&form).as_ref(), Ok(&form));
        let document: serde_json::Value = serde_json::from_str(&form).unwrap();
        let document = document["query"].as_str().unwrap();
        assert!(
            document.contains("b:\"c # d\")@include") && document.contains("{... F y}"),
            "{document}"
        );
    }

    #[test]
    fn what_is_not_ignored_counts() {
        let documents = [
            "{a b}",
            "{ab}",
            "{a{b}}",
            "{b a}",
            "{a(x:1)}",
            "{a(x:1.0)}",
            "{a(x:\"b c\")}",
            "{a(x:\"b  c\")}",
            "{a(x:\"\"\"b\n  c\"\"\")}",
            "{a(x:\"\"\"b\nc\"\"\")}",
            "{a(x:[\"\" \"b\"])}",
            "query A{a b}",
        ];
        let forms: std::collections::HashSet<_> =
            documents.iter().map(|document| asked(document).unwrap()).collect();
        assert_eq!(forms.len(), documents.len(), "{forms:#?}");
    }

    #[test]
    fn only_requests_that_only_ask_are_keyed() {
        for (text, why) in [
            (r#"{"query":"mutation{a}"}"#, Unkeyable::Mutation),
            (r#"{"query":"query A{a} mutation B{b}","operationName":"A"}"#, Unkeyable::Mutation),
            (r#"{"query":"subscription{a}"}"#, Unkeyable::Subscription),
            (r#"[{"query":"{a}"}]"#, Unkeyable::Batch),
            (r#"{"query":"{a"}"#, Unkeyable::NotGraphQl),
            (r#"{"query":"type A{b:Int}"}"#, Unkeyable::NotGraphQl),
            (r#"{"query":"fragment F on X{z}"}"#, Unkeyable::NotGraphQl),
            (r#"{"query":""}"#, Unkeyable::NotGraphQl),
            (r#"{"query":7}"#, Unkeyable::NotGraphQl),
            (r#"{"extensions":{"persistedQuery":{"sha256Hash":"x"}}}"#, Unkeyable::NotGraphQl),
            (r#"{"query":"{a}","id":"7"}"#, Unkeyable::NotGraphQl),
            (r#"{"query":"{a}","query":"{b}"}"#, Unkeyable::Ambiguous),
            (r#""{a}""#, Unkeyable::Malformed),
        ] {
            assert_eq!(said(text), Err(why), "{text}");
        }
        let deep = format!("{}{}", "{a".repeat(200), "}".repeat(200));
        assert_eq!(asked(&deep), Err(Unkeyable::NotGraphQl));
        let long = format!("{{{}}}", "a ".repeat(TOKENS));
        assert_eq!(asked(&long), Err(Unkeyable::NotGraphQl));
    }

    /// Texts of which many are documents, and many nearly so.
    fn texts() -> impl Strategy<Value = String> {
        let pieces = vec![
            "{",
            "}",
            "{a}",
            "(",
            ")",
            "query Q",
            "mutation",
            "a",
            "b:",
            "$x",
            "...",
            "on",
            "\"s,\"",
            "\"\"\"b \n  c\"\"\"",
            "#c\n",
            ",",
            " ",
            "\r\n",
            "1",
            "-1.5e3",
            "@d",
            "!",
            "[",
            "]",
            "=",
            "|",
            "&",
            "fragment F on T{a}",
            "\u{feff}",
            "é",
            "\\",
            "\"",
        ];
        vec(select(pieces), 0..12).prop_map(|pieces| pieces.concat())
    }

    #[test]
    fn no_text_panics_and_a_canonical_document_says_the_same_and_stays_so() {
        always(texts(), |text| {
            let Ok(form) = canonical(&text) else { return Ok(()) };
            prop_assert_eq!(only_asks(&form), only_asks(&text), "{} of {}", form, text);
            let tokens = |text: &str| {
                let kept = Lexer::new(text).filter_map(Result::ok).filter(|token| {
                    use TokenKind::{Comma, Comment, Eof, Whitespace};
                    !matches!(token.kind(), Whitespace | Comment | Comma | Eof)
                });
                kept.map(|token| token.data().to_owned()).collect::<Vec<_>>()
            };
            prop_assert_eq!(tokens(&form), tokens(&text));
            prop_assert_eq!(canonical(&form).unwrap(), form);
            Ok(())
        });
    }

    #[test]
    fn variables_and_names_count_and_a_hashed_document_stays_as_it_is() {
        let form = said(r#"{"variables":{"b":1,"a":2},"query":"{ a }","operationName":null}"#);
        assert_eq!(
            form.as_deref(),
            Ok(r#"{"operationName":null,"query":"{a}","variables":{"a":2,"b":1}}"#)
        );
        let form = said(r#"{"query":"{ a }","extensions":{"persistedQuery":{"version":1}}}"#);
        assert_eq!(
            form.as_deref(),
            Ok(r#"{"extensions":{"persistedQuery":{"version":1}},"query":"{ a }"}"#)
        );
    }

    #[test]
    fn a_url_asks_with_one_document_or_the_hash_of_one() {
        for (query, expected) in [
            (Some("query=%7Ba%7D&variables=%7B%7D"), Ok(())),
            (Some("extensions=%7B%7D"), Ok(())),
            (Some("query=mutation%7Ba%7D"), Err(Unkeyable::Mutation)),
            (Some("%71uery=mutation+%7Ba%7D"), Err(Unkeyable::Mutation)),
            (Some("query=%7Ba%7D&query=mutation%7Ba%7D"), Err(Unkeyable::NotGraphQl)),
            (Some("q=%7Ba%7D"), Err(Unkeyable::NotGraphQl)),
            (None, Err(Unkeyable::NotGraphQl)),
        ] {
            assert_eq!(asked_by_url(query), expected, "{query:?}");
        }
        let plain = canonical_query(&["query=query%20Q%7Ba%7D", "variables=%7B%22a%22%3A1%7D"]);
        for other in [
            ["query=query+Q+%7B+a+%7D+%23c", "variables=%7B%20%22a%22%3A1%7D"],
            ["%71uery=query%20Q{a}", "variables={\"a\":1}"],
        ] {
            assert_eq!(canonical_query(&other), plain);
        }
        let odd = ["query=%7Ba%22", "variables=1,", "x=+%20", ""];
        assert_eq!(canonical_query(&odd), odd.join("&"));
        let hashed = ["extensions=%7B%7D", "query=%7B+a+%7D"];
        assert_eq!(canonical_query(&hashed), hashed.join("&"));
        assert!(speaks_in_url(Some("a=1&%6FperationName=b")) && !speaks_in_url(Some("name=b")));
    }
}
