//! Redis servers that belong together: a master watched by sentinels, a Cluster of six, one that wants certificates.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::future::join_all;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::redis::{RedisServer, SENTINEL};
use super::{free_port, until};

/// Kills processes by their ids when the process that holds it ends, in whatever way: its input ends then.
pub(crate) struct Tether {
    _shell: Child,
}

impl Tether {
    pub(crate) fn of(pids: impl IntoIterator<Item = u32>) -> Self {
        let pids: Vec<String> = pids.into_iter().map(|pid| pid.to_string()).collect();
        let wait_and_kill = format!("cat >/dev/null; kill -9 {} 2>/dev/null", pids.join(" "));
        let mut shell = Command::new("sh");
        shell.args(["-c", &wait_and_kill]).stdin(Stdio::piped());
        let shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sh is there");
        Self { _shell: shell }
    }
}

/// A master, a replica, and three sentinels that call the master `mymaster`.
pub(crate) struct SentinelGroup {
    /// The first is the master at the start.
    pub(crate) servers: [RedisServer; 2],
    pub(crate) sentinels: Vec<RedisServer>,
}

impl SentinelGroup {
    /// The sentinels take the master for dead after `down_after` milliseconds.
    pub(crate) async fn start(down_after: u32) -> Self {
        let master = RedisServer::start_with(|_| vec![]).await;
        let of = master.port().to_string();
        let replica = RedisServer::start_with(|_| {
            ["--replicaof", "127.0.0.1", &of].map(ToOwned::to_owned).to_vec()
        })
        .await;
        let sentinels = join_all((0..3).map(|_| sentinel(master.port(), down_after))).await;
        let group = Self { servers: [master, replica], sentinels };
        until("the replica follows", async || {
            let said = group.servers[1].text(&["INFO", "replication"]).await;
            said.contains("master_link_status:up").then_some(())
        })
        .await;
        group
    }

    /// Waits until the sentinels know of each other and of the replica, so that they can replace the master.
    pub(crate) async fn can_fail_over(&self) {
        for sentinel in &self.sentinels {
            until("the sentinels know each other", async || {
                let told = sentinel.text(&["INFO", "sentinel"]).await;
                told.contains("slaves=1,sentinels=3").then_some(())
            })
            .await;
        }
    }

    /// The `l2` of a configuration.
    pub(crate) fn yaml(&self) -> String {
        let urls: Vec<String> = self.urls().iter().map(|url| format!("\"{url}\"")).collect();
        format!("sentinel: {{ master: mymaster, urls: [ {} ] }}", urls.join(", "))
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(|it| format!("redis://127.0.0.1:{}", it.port())).collect()
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().chain(&self.sentinels).map(RedisServer::pid).collect()
    }
}

async fn sentinel(master: u16, down_after: u32) -> RedisServer {
    RedisServer::start_with(|directory| {
        let file = directory.join("sentinel.conf");
        let text = format!(
            "sentinel monitor mymaster 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds mymaster {down_after}\n\
             sentinel failover-timeout mymaster 5000\n"
        );
        std::fs::write(&file, text).expect("the directory can be written");
        vec![SENTINEL.into(), file.to_str().expect("the path is text").into()]
    })
    .await
}

/// Three masters with a third of the slots each, and a replica of each.
pub(crate) struct RedisCluster {
    /// Masters first; the replica of the n-th is the n-th of the second half.
    pub(crate) nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// The nodes take each other for dead after `node_timeout` milliseconds.
    pub(crate) async fn start(node_timeout: u32) -> Self {
        let nodes = join_all((0..6).map(|_| node(node_timeout))).await;
        let cluster = Self { nodes };
        cluster.meet(6).await;
        let thirds = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for (node, (first, last)) in cluster.nodes.iter().zip(thirds) {
            node.run(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await;
        }
        for (master, replica) in cluster.nodes[..3].iter().zip(&cluster.nodes[3..]) {
            let id = master.text(&["CLUSTER", "MYID"]).await;
            // It must have heard of the master's slots first.
            until("a node becomes a replica", async || {
                replica.try_run(&["CLUSTER", "REPLICATE", &id]).await.ok()
            })
            .await;
        }
        for node in &cluster.nodes {
            until("the Cluster is one", async || {
                let info = node.text(&["CLUSTER", "INFO"]).await;
                let slots = node.run(&["CLUSTER", "SLOTS"]).await;
                (info.contains("cluster_state:ok") && has_replicas(&slots)).then_some(())
            })
            .await;
        }
        for replica in &cluster.nodes[3..] {
            until("the replica follows", async || {
                let said = replica.text(&["INFO", "replication"]).await;
                said.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        cluster
    }

    /// Lets the first node meet the others, and waits until each knows `all`.
    async fn meet(&self, all: usize) {
        let Some((first, others)) = self.nodes.split_first() else { return };
        for other in others {
            let told = other.run(&["CONFIG", "GET", "cluster-port"]).await;
            let told: Vec<String> = redis::from_redis_value(told).expect("a name and a value");
            let port = other.port().to_string();
            first.run(&["CLUSTER", "MEET", "127.0.0.1", &port, &told[1]]).await;
        }
        for node in &self.nodes {
            let known = format!("cluster_known_nodes:{all}\r\n");
            until("the nodes have met", async || {
                node.text(&["CLUSTER", "INFO"]).await.contains(&known).then_some(())
            })
            .await;
        }
    }

    /// The master that holds the slot of a key, and the number of the slot.
    pub(crate) async fn holder(&self, key: &str) -> (usize, u16) {
        let slot = self.nodes[0].run(&["CLUSTER", "KEYSLOT", key]).await;
        let slot: u16 = redis::from_redis_value(slot).expect("a slot is a number");
        (usize::from(slot > 5460) + usize::from(slot > 10_922), slot)
    }

    /// Moves a slot without its keys from one master to another, as resharding does at its end.
    pub(crate) async fn give(&self, slot: u16, to: usize) {
        let id = self.nodes[to].text(&["CLUSTER", "MYID"]).await;
        let slot = slot.to_string();
        for node in std::iter::once(&self.nodes[to]).chain(&self.nodes[..3]) {
            node.run(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }

    /// All keys of all masters that match the pattern.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let all = join_all(self.nodes[..3].iter().map(|node| node.keys(pattern))).await;
        all.concat()
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port())).collect()
    }

    /// The `l2` of a configuration, which names the first and the last node alone.
    pub(crate) fn yaml(&self) -> String {
        let urls = self.urls();
        format!("cluster: [ \"{}\", \"{}\" ]", urls[0], urls[5])
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(RedisServer::pid).collect()
    }
}

async fn node(timeout: u32) -> RedisServer {
    RedisServer::start_with(|_| {
        let (timeout, bus) = (timeout.to_string(), free_port().to_string());
        let options = [
            ["--cluster-enabled", "yes"],
            ["--cluster-node-timeout", &timeout],
            ["--cluster-port", &bus],
            ["--cluster-require-full-coverage", "no"],
            ["--repl-diskless-sync-delay", "0"],
        ];
        options.concat().into_iter().map(ToOwned::to_owned).collect()
    })
    .await
}

/// Whether every range of slots has a master and a replica.
fn has_replicas(slots: &redis::Value) -> bool {
    let redis::Value::Array(ranges) = slots else { return false };
    let is_whole =
        |range: &redis::Value| matches!(range, redis::Value::Array(parts) if parts.len() == 4);
    ranges.len() == 3 && ranges.iter().all(is_whole)
}

/// A server that wants TLS, certificates of its clients, and an account that may do what the manual says and no more.
pub(crate) struct SecureRedis {
    /// Asked without TLS by the tests, as `admin`.
    pub(crate) server: RedisServer,
    pub(crate) port: u16,
    pub(crate) papers: Papers,
}

impl SecureRedis {
    pub(crate) async fn start() -> Self {
        let papers = Papers::new();
        for _ in 0..5 {
            let port = free_port();
            let server = RedisServer::start_with(|directory| papers.options(directory, port)).await;
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Self { server: server.asked_by("admin:admin@"), port, papers };
            }
        }
        panic!("no free port for TLS in five attempts");
    }

    pub(crate) fn url(&self) -> String {
        format!("rediss://larder:{PASSWORD}@localhost:{}/0", self.port)
    }
}

/// The password of the account `larder`.
const PASSWORD: &str = "secret";

/// Certificates of an authority, of a server and of a client, as files.
pub(crate) struct Papers {
    directory: tempfile::TempDir,
}

impl Papers {
    pub(crate) fn new() -> Self {
        let directory = tempfile::TempDir::new().expect("a temporary directory can be made");
        let authority_key = KeyPair::generate().expect("a key can be made");
        let mut authority = CertificateParams::new(vec![]).expect("no names are names");
        authority.distinguished_name.push(DnType::CommonName, "authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).expect("a certificate can be signed");
        let issuer = Issuer::new(authority, authority_key);
        let write = |name: &str, text: String| {
            std::fs::write(directory.path().join(name), text)
                .expect("the directory can be written");
        };
        write("ca.pem", root.pem());
        for (name, host) in [("server", "localhost"), ("client", "larder")] {
            let key = KeyPair::generate().expect("a key can be made");
            let mut params =
                CertificateParams::new(vec![host.to_owned()]).expect("a host is a name");
            params.distinguished_name.push(DnType::CommonName, host);
            let signed = params.signed_by(&key, &issuer).expect("a certificate can be signed");
            write(&format!("{name}.pem"), signed.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { directory }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self, directory: &Path, port: u16) -> Vec<String> {
        let accounts = directory.join("users.acl");
        let admin = "user admin on >admin ~* &* +@all";
        let rule = rule_of_the_manual();
        std::fs::write(&accounts, format!("user default off\n{admin}\n{rule}\n"))
            .expect("the directory can be written");
        let text = |path: PathBuf| path.to_str().expect("the path is text").to_owned();
        let options = [
            ("--tls-port", port.to_string()),
            ("--tls-ca-cert-file", text(self.file("ca.pem"))),
            ("--tls-cert-file", text(self.file("server.pem"))),
            ("--tls-key-file", text(self.file("server.key"))),
            ("--tls-auth-clients", "yes".to_owned()),
            ("--aclfile", text(accounts)),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

/// The least that Larder has to be allowed, word by word as the manual tells it for the service `shop`.
fn rule_of_the_manual() -> String {
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let manual = std::fs::read_to_string(manual).expect("the manual is there");
    let rule = manual.lines().find(|line| line.starts_with("user larder on "));
    let rule = rule.expect("the manual has the rule of the account `larder`");
    assert!(
        rule.contains(&format!(">{PASSWORD} ")),
        "the password of the manual is another: {rule}"
    );
    rule.to_owned()
}
