//! Every kind of text in one table: its name in the schema, and how it is checked, read and written.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::scalar::Wrong;
use crate::config::scalar::address::{
    Address, Endpoint, HostField, Network, RedisUrl, ServerName, Target, WebUrl,
};
use crate::config::scalar::amount::{Part, Size, Span};
use crate::config::scalar::name::{
    CacheName, EventName, FieldName, FieldValue, Host, Name, Path, RateKey, SealSecret, Secret,
    Status, Word,
};

/// The schema keyword that names a text's kind.
pub(crate) const KEYWORD: &str = "x-kind";

/// A kind of text, as the schema names it and as faults speak of it.
pub(crate) struct Kind {
    pub(crate) keyword: &'static str,
    /// With its article.
    pub(crate) noun: &'static str,
    pub(crate) example: &'static str,
    pub(crate) is_secret: fn() -> bool,
    pub(crate) check: fn(&str) -> Result<(), Wrong>,
}

fn check<T: FromStr<Err = Wrong>>(text: &str) -> Result<(), Wrong> {
    text.parse::<T>().map(drop)
}

/// Makes a type a scalar of the file: its line in the table of kinds, its schema, and how it is read and written.
macro_rules! scalars {
    ($($type:ident $keyword:literal $noun:literal $example:literal $secret:ident)*) => {
        /// Every kind of text that a configuration may hold.
        pub(crate) const KINDS: &[Kind] = &[$(Kind {
            keyword: $keyword,
            noun: $noun,
            example: $example,
            is_secret: || stringify!($secret) == "hidden",
            check: check::<$type>,
        }),*];

        $(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({
                        "type": "string",
                        "x-kind": $keyword,
                        "examples": [$example],
                    })
                }

                fn inline_schema() -> bool {
                    true
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(|_| serde::de::Error::custom(concat!("no ", $keyword)))
                }
            }

            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }
        )*
    };
}

scalars! {
    Span "duration" "a duration" "30s" shown
    Size "size" "a size" "64MiB" shown
    Part "percent" "a percentage" "20%" shown
    Address "socket-address" "an address with a port" "127.0.0.1:8080" shown
    Endpoint "origin-url" "the URL of an origin" "http://10.0.0.1:3000" shown
    HostField "host-field" "`preserve` or a host" "preserve" shown
    Target "target" "a path" "/healthz" shown
    ServerName "server-name" "the name of a server" "api.internal" shown
    RedisUrl "redis-url" "the URL of a Redis server" "redis://127.0.0.1:6379/0" hidden
    Secret "secret" "a secret" "${TOKEN}" hidden
    SealSecret "key" "a key of 32 bytes" "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" hidden
    WebUrl "url" "a URL" "https://api.cdn.example/purge" hidden
    FieldValue "text" "a text" "Bearer ${TOKEN}" hidden
    EventName "event-name" "the name of an event" "user.updated" shown
    Name "name" "a name" "shop" shown
    CacheName "cache-name" "the name of a cache" "larder" shown
    FieldName "field-name" "the name of a field" "Accept-Language" shown
    RateKey "rate-key" "what tells clients apart" "address" shown
    Network "network" "a network or an address" "10.0.0.0/8" shown
    Path "path-pattern" "a pattern of paths" "/api/products/**" shown
    Host "host-pattern" "a pattern of hosts" "*.shop.example" shown
    Status "status" "a status" "404" shown
    Word "word" "a word" "page" shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_takes_its_own_example_and_shows_it_alike() {
        for kind in KINDS {
            assert_eq!((kind.check)(kind.example), Ok(()), "{}", kind.keyword);
        }
        for text in ["0s", "250ms", "30s", "5m", "90m", "1d", "365d", "7us", "1ns"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0B", "513B", "64KiB", "1MiB", "10GiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for text in ["7%", "12.5%", "0%", "100%"] {
            assert_eq!(text.parse::<Part>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_meant_is_told_where_it_can_be_guessed() {
        let rows = [
            ("duration", "30", "write the unit too, such as 30s, 30m or 30ms"),
            ("size", "64", "write the unit too, such as 64B, 64KiB or 64MiB"),
            ("percent", "0.2", "write 20%"),
            ("percent", "120%", "write 0% to 100%"),
            ("socket-address", "8080", "0.0.0.0:8080"),
            ("socket-address", ":8080", "0.0.0.0:8080"),
            ("socket-address", "::1", "[::1]:8080"),
            ("origin-url", "api:3000", "write http://api:3000"),
            ("origin-url", "http://api:3000/v1", "write http://api:3000;"),
            ("network", "10.0.0.0/33", "write 10.0.0.0/32"),
            ("duration", "99999999999years", "write"),
            ("duration", "", "write a number"),
            ("status", "103", "200 to 999"),
            ("target", "healthz", "write a path such as /healthz"),
            ("target", "/a b", "write a path"),
            ("server-name", "api.internal:8443", "without a port"),
        ];
        for (keyword, text, right) in rows {
            let kind = KINDS.iter().find(|kind| kind.keyword == keyword).unwrap();
            let wrong = (kind.check)(text).unwrap_err();
            assert!(wrong.right.contains(right), "{text}: {wrong}");
        }
    }

    #[test]
    fn secrets_show_nothing_of_themselves() {
        let url: RedisUrl = "rediss://user:hunter2@redis:6379/0".parse().unwrap();
        let secret: Secret = "hunter2".parse().unwrap();
        let shown = format!("{url} {url:?} {secret} {secret:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("rediss://***@redis:6379/0"), "{shown}");
    }
}
