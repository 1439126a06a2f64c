//! Made-up queries of one route do not drive out what is stored.

use crate::support::answer::fresh;
use crate::support::client::get;
use crate::support::larder::Larder;
use crate::support::origin::Origin;
use crate::support::yaml::all_to;

#[tokio::test]
async fn a_flood_of_queries_is_served_and_not_stored_beyond_the_keys_of_its_route() {
    let origin = Origin::start().await;
    origin.on("*", fresh("hello"));
    let other = "routes:\n  - { name: other, match: { path: /other }, origin: api }\n";
    let yaml = all_to(&origin).route("max_keys: 2").text().replacen("routes:\n", other, 1);
    let larder = Larder::start(&yaml).await;
    for query in ["/x?a=1", "/x?a=2"] {
        get(larder.url(query)).await.is("MISS", "ORIGIN");
        get(larder.url(query)).await.is("HIT", "L1");
    }
    for _ in 0..2 {
        let reply = get(larder.url("/x?a=3")).await;
        reply.is("MISS", "ORIGIN").has_status(200).says("hello");
        assert!(reply.field("cache-status").ends_with("; detail=too-many-keys"), "{reply:?}");
    }
    assert_eq!(larder.metric("larder_too_many_keys_total", &[]).await, 2);
    get(larder.url("/x?a=1")).await.is("HIT", "L1");
    get(larder.url("/other")).await.is("MISS", "ORIGIN");
    get(larder.url("/other")).await.is("HIT", "L1");
}
