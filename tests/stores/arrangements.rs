//! Clusters and masters behind Sentinel: slots that move, masters that are replaced, replicas that answer.

use std::time::Duration;

use http::HeaderMap;
use larder::breaker::{self, State};
use larder::store::redis::entries::Entries;
use larder::store::redis::{Account, Arrangement, Redis, Settings};
use larder::store::{Lease, Leases, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::benches::{
    body, cluster, cluster_settings, redis, redis_settings, secure_settings, sentinel_settings,
};
use crate::entries::{Recipe, key, of};
use crate::support::redis::RedisServer;
use crate::support::redis_groups::{RedisCluster, SecureRedis, SentinelGroup};
use crate::support::{PATIENCE, beside, until, within};

/// A living server on a busy machine is not taken for a dead one, a dead one soon is.
const DOWN_AFTER: u32 = 2000;

async fn get(entries: &Entries, recipe: &Recipe) -> Option<String> {
    body(entries, recipe, &HeaderMap::new()).await.ok().flatten()
}

/// Puts until it is found: the servers may still be unknown, or away.
async fn until_kept(entries: &Entries, recipe: &Recipe) {
    until("an entry is kept", async || {
        let _away = entries.put(&recipe.place(), recipe.entry()).await;
        get(entries, recipe).await
    })
    .await;
}

/// URLs whose slots are held by each of the masters, one for each.
async fn one_for_each(cluster: &RedisCluster, service: &str) -> [Recipe; 3] {
    let mut found = [const { None }; 3];
    for number in 0..200 {
        let recipe = of(&format!("http://h/{number}"));
        let name = format!("cache:{service}:products:{}", recipe.place().key);
        let (master, _) = cluster.holder(&name).await;
        found[master].get_or_insert(recipe);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.map(|recipe| recipe.expect("200 URLs meet three masters"))
}

fn in_cluster(cluster: &RedisCluster, timeout: Duration) -> Settings {
    let breaker = breaker::Settings { failures: 5, open_for: PATIENCE * 10 };
    let servers = Arrangement::Cluster(cluster.urls()[..1].to_vec());
    let (service, instance) = ("shop".to_owned(), "a".to_owned());
    Settings {
        servers,
        certificates: larder::store::redis::Certificates::default(),
        read_from_replicas: false,
        service,
        instance,
        timeout,
        breaker,
        write_queue: 1000,
        max_object: 10_000,
        seal: larder::entry::seal::Seal::default(),
        retention: 1000,
        keep_for: Duration::from_hours(1),
        lease: Duration::from_secs(10),
    }
}

#[tokio::test]
async fn entries_of_a_cluster_are_spread_over_its_masters_and_found_by_other_instances() {
    let settings = cluster_settings().await;
    let first = redis(&settings);
    for number in 0..60 {
        let recipe = of(&format!("http://h/{number}"));
        first.entries().put(&recipe.place(), recipe.entry()).await.unwrap();
    }
    first.close(PATIENCE).await;
    for master in &cluster().await.nodes[..3] {
        let held = master.keys(&format!("cache:{}:*", settings.service)).await.len();
        assert!((5..=40).contains(&held), "a master holds {held} of 60");
    }
    // It is told of another node, which knows as much.
    let servers = Arrangement::Cluster(cluster().await.urls()[5..].to_vec());
    let second = redis(&Settings { servers, ..settings }).entries();
    for number in 0..60 {
        assert!(get(&second, &of(&format!("http://h/{number}"))).await.is_some(), "{number}");
    }
}

#[tokio::test]
async fn a_slot_that_moves_is_followed_by_reads_writes_and_leases() {
    let cluster = RedisCluster::start(60_000).await;
    let redis = redis(&in_cluster(&cluster, Duration::from_secs(5)));
    let (entries, leases) = (redis.entries(), redis.leases());
    let url = of("http://h/a");
    until_kept(&entries, &url).await;
    let name = format!("cache:shop:products:{}", url.place().key);
    let (from, slot) = cluster.holder(&name).await;
    let to = (from + 1) % 3;
    let (old, new) = (&cluster.nodes[from], &cluster.nodes[to]);
    let (old_id, new_id) =
        (old.text(&["CLUSTER", "MYID"]).await, new.text(&["CLUSTER", "MYID"]).await);
    let number = slot.to_string();
    new.run(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &old_id]).await;
    old.run(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &new_id]).await;
    let port = new.port().to_string();
    old.run(&["MIGRATE", "127.0.0.1", &port, &name, "0", "5000"]).await;
    // The key is there already, and the slot is not: ASK.
    assert!(get(&entries, &url).await.is_some(), "ASK is not followed");
    entries.put(&url.place(), url.clone().fetched_at(9).says("later").entry()).await.unwrap();
    entries.flush(PATIENCE).await;
    assert_eq!(get(&entries, &url).await.as_deref(), Some("later"));
    cluster.give(slot, to).await;
    // At once, before anybody has looked at the map again: MOVED.
    assert_eq!(get(&entries, &url).await.as_deref(), Some("later"), "MOVED is not followed");
    entries.put(&url.place(), url.clone().fetched_at(10).says("last").entry()).await.unwrap();
    entries.flush(PATIENCE).await;
    assert_eq!(get(&entries, &url).await.as_deref(), Some("last"));
    let lease = leases.acquire(key("http://h/a"), PATIENCE).await;
    assert!(matches!(lease, Lease::Mine(Some(_))));
    assert!(matches!(leases.acquire(key("http://h/a"), PATIENCE).await, Lease::Theirs));
}

#[tokio::test]
async fn a_node_that_hangs_makes_its_own_slots_sick_and_no_others() {
    let cluster = RedisCluster::start(60_000).await;
    let redis = redis(&in_cluster(&cluster, Duration::from_millis(100)));
    let entries = redis.entries();
    let urls = one_for_each(&cluster, "shop").await;
    for url in &urls {
        until_kept(&entries, url).await;
    }
    cluster.nodes[0].pause();
    until("the breaker of the hung node opens", async || {
        let _late = get(&entries, &urls[0]).await;
        (redis.breaker_state() == State::Open).then_some(())
    })
    .await;
    let sick = |redis: &Redis| {
        redis.servers().iter().filter(|server| server.breaker != State::Closed).count()
    };
    assert_eq!(sick(&redis), 1, "{:?}", redis.servers());
    for _ in 0..20 {
        for url in &urls[1..] {
            until("the others answer", async || get(&entries, url).await).await;
        }
    }
    let asked = Instant::now();
    entries.put(&urls[1].place(), urls[1].clone().fetched_at(9).says("new").entry()).await.unwrap();
    until("what is for the others is written", async || {
        (get(&entries, &urls[1]).await? == "new").then_some(())
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(entries.put(&urls[0].place(), urls[0].entry()).await.is_err());
    cluster.nodes[0].resume();
    let resumed = Instant::now();
    until("the node is taken up again", async || get(&entries, &urls[0]).await).await;
    assert!(resumed.elapsed() < Duration::from_secs(8), "{:?}", resumed.elapsed());
}

#[tokio::test]
async fn a_replica_that_takes_the_place_of_its_master_is_found() {
    let mut cluster = RedisCluster::start(DOWN_AFTER).await;
    let redis = redis(&in_cluster(&cluster, Duration::from_secs(1)));
    let entries = redis.entries();
    let urls = one_for_each(&cluster, "shop").await;
    for url in &urls {
        until_kept(&entries, url).await;
    }
    cluster.nodes[1].kill();
    let others = async || {
        for at in [0, 2] {
            until("the others answer", async || get(&entries, &urls[at]).await).await;
        }
    };
    others().await;
    until("the replica is a master", async || {
        let role = cluster.nodes[4].text(&["INFO", "replication"]).await;
        role.contains("role:master").then_some(())
    })
    .await;
    let promoted = Instant::now();
    until_kept(&entries, &urls[1]).await;
    assert!(promoted.elapsed() < Duration::from_secs(5), "{:?}", promoted.elapsed());
    others().await;
}

#[tokio::test]
async fn replicas_answer_for_entries_where_they_may_and_never_for_leases() {
    let (cluster, settings) = (cluster().await, cluster_settings().await);
    let service = settings.service.clone();
    let redis = redis(&Settings { read_from_replicas: true, ..settings });
    let entries = redis.entries();
    let url = of("http://h/a");
    until_kept(&entries, &url).await;
    let name = format!("cache:{service}:products:{}", url.place().key);
    let (master, _) = cluster.holder(&name).await;
    let replica = &cluster.nodes[master + 3];
    until("the replica has the entry", async || {
        let held = replica.keys(&format!("cache:{service}:*")).await;
        (!held.is_empty()).then_some(())
    })
    .await;
    until("all servers are up", async || {
        (redis.servers().len() == 6 && redis.is_up()).then_some(())
    })
    .await;
    let calls = async |server: &RedisServer, command: &str| {
        let stats = server.text(&["INFO", "commandstats"]).await;
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        let calls = line.and_then(|line| line.split(['=', ',']).nth(1)).map(str::parse::<u32>);
        calls.map_or(0, Result::unwrap)
    };
    let before = calls(replica, "hmget").await;
    for _ in 0..20 {
        assert!(get(&entries, &url).await.is_some());
    }
    let read = calls(replica, "hmget").await - before;
    assert!((8..=19).contains(&read), "{read} of 20 came from the replica");
    assert!(matches!(redis.leases().acquire(key("u"), PATIENCE).await, Lease::Mine(Some(_))));
    for node in &cluster.nodes[3..] {
        // What its master did is told to it and counted, too; what it was asked itself is rejected and counted so.
        let stats = node.text(&["INFO", "errorstats"]).await;
        assert!(!stats.contains("READONLY"), "{stats}");
    }
}

#[tokio::test]
async fn a_master_behind_sentinel_that_dies_is_replaced() {
    let mut group = SentinelGroup::start(DOWN_AFTER).await;
    let (master, account) = ("mymaster".to_owned(), Account::default());
    let servers = Arrangement::Sentinel { master, sentinels: group.urls(), account };
    let settings = Settings { servers, ..redis_settings(&group.servers[0], "a") };
    let redis = redis(&settings);
    let entries = redis.entries();
    let url = of("http://h/a");
    until_kept(&entries, &url).await;
    group.can_fail_over().await;
    group.servers[0].kill();
    until("the replica is the master", async || {
        let role = group.servers[1].text(&["INFO", "replication"]).await;
        role.contains("role:master").then_some(())
    })
    .await;
    let promoted = Instant::now();
    until_kept(&entries, &url).await;
    assert!(promoted.elapsed() < Duration::from_secs(5), "{:?}", promoted.elapsed());
    let names: Vec<String> = redis.servers().into_iter().map(|server| server.name).collect();
    assert_eq!(names, [format!("127.0.0.1:{}", group.servers[1].port())]);
}

#[tokio::test]
async fn a_master_that_became_a_replica_is_left_at_once() {
    let group = SentinelGroup::start(60_000).await;
    let (master, account) = ("mymaster".to_owned(), Account::default());
    let servers = Arrangement::Sentinel { master, sentinels: group.urls(), account };
    let redis = redis(&Settings { servers, ..redis_settings(&group.servers[0], "a") });
    let entries = redis.entries();
    until_kept(&entries, &of("http://h/a")).await;
    group.can_fail_over().await;
    // Nothing dies: the old master goes on answering, and refuses writes.
    until("the sentinel finds the replica good enough", async || {
        group.sentinels[0].try_run(&["SENTINEL", "FAILOVER", "mymaster"]).await.ok()
    })
    .await;
    until("the old master is a replica", async || {
        // It may drop its clients while it changes.
        let role = group.servers[0].try_run(&["INFO", "replication"]).await.ok()?;
        let role: String = redis::from_redis_value(role).ok()?;
        role.contains("role:slave").then_some(())
    })
    .await;
    let demoted = Instant::now();
    until_kept(&entries, &of("http://h/b")).await;
    assert!(demoted.elapsed() < Duration::from_secs(5), "{:?}", demoted.elapsed());
}

#[tokio::test]
async fn servers_that_nobody_knows_cost_a_deadline_once_and_then_nothing() {
    let away = format!("redis://127.0.0.1:{}", crate::support::free_port());
    let (master, account) = ("mymaster".to_owned(), Account::default());
    let sentinels = vec![away.clone()];
    for servers in
        [Arrangement::Cluster(vec![away]), Arrangement::Sentinel { master, sentinels, account }]
    {
        let timeout = Duration::from_millis(200);
        let settings = sentinel_settings().await;
        let redis = redis(&Settings { servers, timeout, ..settings });
        let (entries, url) = (redis.entries(), of("http://h/a"));
        until("it is known that nobody is known", async || {
            let asked = Instant::now();
            assert_eq!(get(&entries, &url).await, None);
            (asked.elapsed() < timeout / 4).then_some(())
        })
        .await;
        assert!(!redis.is_up());
        let lease = redis.leases().acquire(key("u"), PATIENCE).await;
        assert!(matches!(lease, Lease::Mine(None)));
    }
}

/// A Cluster of one node that says of every key that it has moved to itself.
async fn liar() -> (u16, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = beside(async move {
        let mut clients = tokio::task::JoinSet::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            clients.spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(length @ 1..) = socket.read(&mut buffer).await {
                    let said = String::from_utf8_lossy(&buffer[..length]).to_ascii_uppercase();
                    // One answer for each command of the piece.
                    for command in said.split('*').skip(1) {
                        let info = "cluster_state:ok\r\ncluster_current_epoch:1\r\n";
                        let answer = match command {
                            it if it.contains("\r\nPING\r\n") => "+PONG\r\n".to_owned(),
                            it if it.contains("\r\nSLOTS\r\n") => format!(
                                "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{port}\r\n"
                            ),
                            it if it.contains("\r\nINFO\r\n") => {
                                format!("${}\r\n{info}\r\n", info.len())
                            }
                            _ => format!("-MOVED 1 127.0.0.1:{port}\r\n"),
                        };
                        if socket.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    (port, AbortOnDropHandle::new(serving))
}

#[tokio::test]
async fn a_server_that_sends_everybody_in_circles_costs_a_miss() {
    let (port, _serving) = liar().await;
    let servers = Arrangement::Cluster(vec![format!("redis://127.0.0.1:{port}")]);
    let redis = redis(&Settings { servers, ..cluster_settings().await });
    let (entries, url) = (redis.entries(), of("http://h/a"));
    until("the Cluster is known", async || redis.is_up().then_some(())).await;
    for _ in 0..50 {
        let asked = Instant::now();
        let answer = body(&entries, &url, &HeaderMap::new()).await;
        assert!(answer.is_err(), "{answer:?}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    }
    entries.put(&url.place(), url.entry()).await.unwrap();
    within("the write is given up", entries.flush(PATIENCE)).await;
    let lease = within("the lease", redis.leases().acquire(key("u"), PATIENCE)).await;
    assert!(matches!(lease, Lease::Mine(_)));
}

#[tokio::test]
async fn a_server_is_refused_whose_certificate_nobody_trusts_and_who_wants_one_gets_none() {
    let server = SecureRedis::start().await;
    let good = secure_settings(&server);
    let url = of("http://h/a");
    until_kept(&redis(&good).entries(), &url).await;
    for (authority, client) in
        [(None, good.certificates.client.clone()), (good.certificates.authority.clone(), None)]
    {
        let certificates = larder::store::redis::Certificates { authority, client };
        let entries = redis(&Settings { certificates, ..good.clone() }).entries();
        assert!(body(&entries, &url, &HeaderMap::new()).await.is_err());
    }
    let certificates = larder::store::redis::Certificates {
        authority: Some("/nowhere/ca.pem".into()),
        client: None,
    };
    let told = Redis::new(&Settings { certificates, ..good }, crate::benches::BACKGROUND.handle());
    assert!(told.err().unwrap().to_string().starts_with("/nowhere/ca.pem cannot be read"));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_nobody_elses() {
    let server = RedisServer::start().await;
    let proxy = crate::support::faults::FaultProxy::before(server.port()).await;
    let servers = Arrangement::Single(format!("redis://127.0.0.1:{}", proxy.port()));
    let breaker = breaker::Settings { failures: 1_000_000, open_for: PATIENCE };
    let timeout = Duration::from_millis(40);
    let settings = Settings { servers, breaker, timeout, ..redis_settings(&server, "a") };
    let entries = redis(&settings).entries();
    for number in 0..50 {
        let url = of(&format!("http://h/{number}"));
        until_kept(&entries, &url.says(format!("body {number}"))).await;
    }
    let mut late = 0;
    for round in 0..10 {
        let slow = Duration::from_millis(if round % 2 == 0 { 30 } else { 0 });
        proxy.turns(crate::support::faults::Weather::Slow(slow));
        let asked = (0..50).map(|number| {
            let entries = entries.clone();
            async move { (number, get(&entries, &of(&format!("http://h/{number}"))).await) }
        });
        for (number, found) in futures_util::future::join_all(asked).await {
            match found {
                Some(body) => assert_eq!(body, format!("body {number}")),
                None => late += 1,
            }
        }
    }
    assert!(late > 0, "nothing was late");
}
