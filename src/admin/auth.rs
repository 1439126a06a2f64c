//! Who may do what: tokens and their permissions; without tokens, this machine only.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use http::header::{HOST, HeaderMap, ORIGIN};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::admin::problem::Problem;
use crate::message::bearer::{Digest, known};
use crate::rate::{By, Fields, Limiter, Rate, TooOften, whole_seconds};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// To look at receipts, instances, figures, metrics, and the configuration without its secrets.
    Read,
    /// To purge.
    Purge,
    /// To have the configuration loaded again.
    Config,
}

impl Permission {
    /// The permission's name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Purge => "purge",
            Self::Config => "config",
        }
    }
}

/// A token, by a digest of its secret: the secret itself is not kept.
#[derive(Clone)]
pub struct Token {
    name: String,
    digest: Digest,
    permissions: Vec<Permission>,
}

impl Token {
    /// A token of this name, for the audit.
    pub fn new(name: &str, secret: &str, permissions: Vec<Permission>) -> Self {
        Self { name: name.to_owned(), digest: Digest::of(secret.as_bytes()), permissions }
    }
}

/// Lets requests in or refuses them. Knows all tokens.
pub struct Guard {
    tokens: ArcSwap<Vec<Token>>,
    /// Who was refused waits here for a moment; when it is full, others are told to come back.
    refused: Semaphore,
    /// Unknown tokens by address.
    guesses: Limiter,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The token's name, or an address of this machine.
    pub(crate) name: String,
    /// The address that the call comes from, where it is known.
    pub(crate) from: Option<String>,
}

/// The address that a connection comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

impl Peer {
    pub(crate) fn address(self) -> String {
        self.0.to_canonical().to_string()
    }
}

/// How long a refusal takes, so that guessing is slow.
const PENALTY: Duration = Duration::from_millis(100);
/// How many are refused at a time.
const REFUSALS: usize = 64;
/// How many unknown tokens one address may send in a minute. Beyond that it is not heard, whatever it sends: else it
/// would see by the answer when it has guessed right.
const GUESSES: NonZeroU32 = NonZeroU32::MIN.saturating_add(19);

impl Guard {
    /// A guard that knows `tokens`; with none, only this machine is let in.
    pub fn new(tokens: Vec<Token>) -> Self {
        let guesses = Rate {
            requests: GUESSES,
            per: Duration::from_mins(1),
            burst: GUESSES,
            by: By::Address,
            fields: Fields::Untold,
        };
        Self {
            tokens: ArcSwap::from_pointee(tokens),
            refused: Semaphore::new(REFUSALS),
            guesses: Limiter::new("admin", guesses),
        }
    }

    /// Knows these tokens, and no others, from now on.
    pub fn set(&self, tokens: Vec<Token>) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Who calls, if they may do what needs `permission`.
    pub(crate) fn admit(
        &self,
        permission: Permission,
        peer: Option<Peer>,
        fields: &HeaderMap,
    ) -> Result<Caller, Problem> {
        let tokens = self.tokens.load();
        if tokens.is_empty() {
            let name = local(peer, fields)?;
            return Ok(Caller { name, from: peer.map(Peer::address) });
        }
        if let Some(Peer(peer)) = peer {
            self.guesses.look(peer, fields).map_err(too_many_guesses)?;
        }
        let sent = Digest::sent(fields);
        let token = sent.and_then(|sent| known(&tokens, sent, |token: &Token| token.digest));
        let Some(token) = token else {
            if let (Some(Peer(peer)), Some(_)) = (peer, sent) {
                self.guesses.take(peer, fields).map_err(too_many_guesses)?;
            }
            return Err(Problem::unauthorized("send a known token as `Authorization: Bearer …`"));
        };
        if !token.permissions.contains(&permission) {
            let (name, needed) = (&token.name, permission.name());
            return Err(Problem::forbidden(format!("the token `{name}` has no scope `{needed}`")));
        }
        Ok(Caller { name: token.name.clone(), from: peer.map(Peer::address) })
    }

    /// Makes a refusal slow, and many refusals a 429.
    pub(crate) async fn refuse(&self, problem: Problem) -> Problem {
        let Ok(_waiting) = self.refused.try_acquire() else {
            return Problem::too_many("too many requests were refused at once");
        };
        sleep(PENALTY).await;
        problem
    }
}

fn too_many_guesses(TooOften { wait, .. }: TooOften) -> Problem {
    Problem::too_many("this address has sent too many unknown tokens").after(whole_seconds(wait))
}

/// Without tokens: this machine only, and not by a browser that another site steers.
fn local(peer: Option<Peer>, fields: &HeaderMap) -> Result<String, Problem> {
    let address = peer.map(|Peer(address)| address.to_canonical());
    let Some(address) = address.filter(IpAddr::is_loopback) else {
        return Err(Problem::forbidden(
            "without tokens in `admin.tokens`, only this machine is let in",
        ));
    };
    // A name that an attacker made to point here (DNS rebinding) is seen in Host, another site's page in Origin.
    let host = fields.get(HOST).map(HeaderValue::as_bytes);
    if !host.is_none_or(is_this_machine) {
        return Err(Problem::forbidden("the Host field must name this machine, as `localhost`"));
    }
    let origin = fields.get(ORIGIN).map(HeaderValue::as_bytes);
    let is_own = |origin: &[u8]| origin.strip_prefix(b"http://").is_some_and(is_this_machine);
    if !origin.is_none_or(is_own) {
        return Err(Problem::forbidden("pages of other sites are not let in"));
    }
    let site = fields.get("sec-fetch-site").map(HeaderValue::as_bytes);
    if matches!(site, Some(b"cross-site" | b"same-site")) {
        return Err(Problem::forbidden("pages of other sites are not let in"));
    }
    Ok(address.to_string())
}

/// Whether an authority is `localhost` or a loopback address, with any port.
fn is_this_machine(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use http::{HeaderName, StatusCode};

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn asked(guard: &Guard, peer: &str, pairs: &[(&str, &str)]) -> Result<Caller, StatusCode> {
        let peer = Some(Peer(peer.parse().unwrap()));
        let admitted = guard.admit(Permission::Purge, peer, &fields(pairs));
        admitted.map_err(|problem| problem.into_response().status())
    }

    #[test]
    fn without_tokens_only_this_machine_is_let_in() {
        let guard = Guard::new(Vec::new());
        for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(asked(&guard, peer, &[("host", "localhost:9090")]).is_ok(), "{peer}");
        }
        for peer in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert_eq!(asked(&guard, peer, &[]), Err(StatusCode::FORBIDDEN), "{peer}");
        }
    }

    #[test]
    fn without_tokens_a_browser_that_another_site_steers_is_refused() {
        let guard = Guard::new(Vec::new());
        let rows: [&[(&str, &str)]; 5] = [
            &[("host", "evil.example:9090")],
            &[("host", "localhost.evil.example")],
            &[("host", "localhost"), ("origin", "http://evil.example")],
            &[("host", "localhost"), ("origin", "null")],
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
        ];
        for row in rows {
            assert_eq!(asked(&guard, "127.0.0.1", row), Err(StatusCode::FORBIDDEN), "{row:?}");
        }
        let own = [("host", "127.0.0.1:9090"), ("origin", "http://127.0.0.1:9090")];
        assert!(asked(&guard, "127.0.0.1", &own).is_ok());
    }

    #[test]
    fn with_tokens_an_exact_one_with_the_permission_is_let_in_from_anywhere() {
        let tokens = vec![
            Token::new("ci", "secret", vec![Permission::Purge]),
            Token::new("watch", "other", vec![Permission::Read]),
        ];
        let guard = Guard::new(tokens);
        let from = |value: &str| asked(&guard, "10.0.0.1", &[("authorization", value)]);
        let ci = Caller { name: "ci".into(), from: Some("10.0.0.1".into()) };
        assert_eq!(from("Bearer secret"), Ok(ci.clone()));
        assert_eq!(from("bearer secret"), Ok(ci));
        assert_eq!(from("Bearer other"), Err(StatusCode::FORBIDDEN));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer ", "Basic secret", "secret"] {
            assert_eq!(from(wrong), Err(StatusCode::UNAUTHORIZED), "{wrong}");
        }
        assert_eq!(asked(&guard, "127.0.0.1", &[]), Err(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn tokens_that_were_taken_away_are_not_let_in() {
        let guard = Guard::new(vec![Token::new("ci", "old", vec![Permission::Purge])]);
        guard.set(vec![Token::new("ci", "new", vec![Permission::Purge])]);
        let old = asked(&guard, "127.0.0.1", &[("authorization", "Bearer old")]);
        assert_eq!(old, Err(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn an_address_that_guesses_on_and_on_is_not_heard_and_others_are() {
        let guard = Guard::new(vec![Token::new("ci", "secret", vec![Permission::Purge])]);
        let from = |peer: &str, value: &str| asked(&guard, peer, &[("authorization", value)]);
        for guess in 0..GUESSES.get() {
            let answer = from("10.0.0.1", &format!("Bearer guess{guess}"));
            assert_eq!(answer, Err(StatusCode::UNAUTHORIZED), "{guess}");
        }
        assert_eq!(from("10.0.0.1", "Bearer guess"), Err(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(from("10.0.0.1", "Bearer secret"), Err(StatusCode::TOO_MANY_REQUESTS));
        assert!(from("10.0.0.2", "Bearer secret").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn many_refusals_at_once_are_told_to_come_back() {
        let guard = Guard::new(Vec::new());
        let refusals = (0..=REFUSALS).map(|_| guard.refuse(Problem::forbidden("no")));
        let statuses: Vec<_> = futures_util::future::join_all(refusals)
            .await
            .into_iter()
            .map(|problem| problem.into_response().status())
            .collect();
        assert_eq!(statuses[0], StatusCode::FORBIDDEN);
        assert_eq!(statuses[REFUSALS], StatusCode::TOO_MANY_REQUESTS);
    }
}
