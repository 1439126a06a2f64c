//! What Redis gives through the client library alone: one value, read over and over, over one connection, as each worker
//! of a Larder has one. One line at the end: reads, and reads per second.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult};
use tokio::task::JoinSet;

#[derive(Args)]
pub(crate) struct Options {
    /// The Redis, as a URL.
    url: String,
    /// Bytes of the value.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Reads on their way at a time.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    #[arg(long, default_value_t = 5)]
    seconds: u64,
}

pub(crate) async fn run(options: Options) -> RedisResult<()> {
    let client = Client::open(&*options.url)?;
    let key = "plain";
    let mut connection = client.get_multiplexed_async_connection().await?;
    let value = vec![b'x'; options.size];
    redis::cmd("SET").arg(key).arg(&value).arg("EX").arg(600).exec_async(&mut connection).await?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(options.seconds);
    let mut readers = JoinSet::new();
    for _ in 0..options.concurrency {
        readers.spawn(read(connection.clone(), key, options.size, end));
    }
    let mut reads = 0;
    while let Some(read) = readers.join_next().await {
        reads += read.map_err(std::io::Error::other)??;
    }
    let rate = u128::from(reads) * 1_000_000 / begun.elapsed().as_micros().max(1);
    crate::say(&format!("{reads} {rate}"))?;
    Ok(())
}

async fn read(
    mut connection: MultiplexedConnection,
    key: &str,
    size: usize,
    end: Instant,
) -> RedisResult<u64> {
    let mut reads = 0;
    while Instant::now() < end {
        let value: Bytes = redis::cmd("GET").arg(key).query_async(&mut connection).await?;
        if value.len() != size {
            return Err(std::io::Error::other("the value is not the one that was set").into());
        }
        reads += 1;
    }
    Ok(reads)
}
