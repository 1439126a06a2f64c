//! What stands around a Larder in the load tests: an origin, a proxy before Redis, clients, and a plain client of Redis.
//!
//! Each command says on its first line where it listens, takes orders on standard input, and ends when that ends, so
//! that nothing is left running when whoever started it is gone.

mod content;
mod load;
mod origin;
mod plain;
mod proxy;
mod ready;
mod resp;
mod steady;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers every request with what its URL must say. Orders: `fair`, `slow MILLISECONDS`, `cut`, `fail`.
    Origin,
    /// Stands before a Redis. Orders: `fair`, `slow MILLISECONDS`, `cut`, `say ERROR`, `mislead ERROR`.
    Proxy {
        /// The Redis.
        target: SocketAddr,
    },
    /// Answers whatever comes with the content of a file, without looking at it.
    Ready {
        /// The file.
        body: PathBuf,
    },
    /// Asks at a fixed rate, and checks each answer.
    Load(load::Options),
    /// Asks one server for one path at a fixed rate, and tells how long that took.
    Steady(steady::Options),
    /// Reads one value over and over through the client library that Larder uses.
    Plain(plain::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    match Arguments::parse().command {
        Command::Origin => {
            let listener = listen().await?;
            origin::serve(listener, orders()).await
        }
        Command::Proxy { target } => {
            let listener = listen().await?;
            proxy::serve(listener, target, orders()).await
        }
        Command::Ready { body } => {
            let listener = listen().await?;
            ready::serve(listener, &body).await
        }
        Command::Load(options) => load::run(options, end_of_orders()).await,
        Command::Steady(options) => steady::run(options).await,
        Command::Plain(options) => plain::run(options).await.map_err(io::Error::other),
    }
}

/// Runs a task until this process ends.
#[allow(clippy::disallowed_methods, reason = "nothing has to be finished when the process ends")]
fn beside(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// A listener on a free port of loopback, which is told.
async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&listener.local_addr()?.port().to_string())?;
    Ok(listener)
}

/// One line for whoever started this.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

fn orders() -> Lines<BufReader<Stdin>> {
    BufReader::new(tokio::io::stdin()).lines()
}

/// Returns when standard input has ended.
async fn end_of_orders() -> io::Result<()> {
    let mut orders = orders();
    while orders.next_line().await?.is_some() {}
    Ok(())
}
