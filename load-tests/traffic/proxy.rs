//! A proxy before a Redis that delays, cuts, or answers in its place with an error.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, Lines, Stdin};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::resp;

/// Answers of more bytes than this are cut; shorter ones pass, so that a connection can be made.
const CUT: usize = 100;

/// What happens to what passes.
#[derive(Clone, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Each answer comes so much later.
    Slow(Duration),
    /// An answer ends in its middle, and with it the connection.
    Cut,
    /// Every command but those that make a connection is answered with this error.
    Say(Bytes),
    /// The same for commands that name a key: what a node says that does not hold the slot.
    Mislead(Bytes),
}

/// An answer that is due.
enum Due {
    /// From the Redis, and not before then.
    Theirs(Instant),
    Ours(Bytes),
}

impl Weather {
    fn of(order: &str) -> Option<Self> {
        let (word, rest) = order.split_once(' ').unwrap_or((order, ""));
        let error = || Bytes::from(format!("-{rest}\r\n"));
        match word {
            "fair" => Some(Self::Fair),
            "slow" => Some(Self::Slow(Duration::from_millis(rest.parse().ok()?))),
            "cut" => Some(Self::Cut),
            "say" => Some(Self::Say(error())),
            "mislead" => Some(Self::Mislead(error())),
            _ => None,
        }
    }

    /// What is to come for a command that was read now.
    fn due(&self, message: &[u8]) -> Due {
        let command = resp::command(message);
        match self {
            Self::Fair | Self::Cut => Due::Theirs(Instant::now()),
            Self::Slow(delay) => Due::Theirs(Instant::now() + *delay),
            Self::Say(_) if matches!(&*command, "HELLO" | "AUTH" | "CLIENT" | "SELECT") => {
                Due::Theirs(Instant::now())
            }
            Self::Mislead(_) if !names_a_key(&command) => Due::Theirs(Instant::now()),
            Self::Say(error) | Self::Mislead(error) => Due::Ours(error.clone()),
        }
    }
}

fn names_a_key(command: &str) -> bool {
    let without = ["HELLO", "AUTH", "CLIENT", "SELECT", "CLUSTER", "PING", "INFO", "READONLY"];
    !without.contains(&command)
}

pub(crate) async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    mut orders: Lines<BufReader<Stdin>>,
) -> io::Result<()> {
    let (weather, told) = watch::channel(Weather::Fair);
    let mut passages = JoinSet::new();
    loop {
        tokio::select! {
            order = orders.next_line() => {
                let Some(order) = order? else { return Ok(()) };
                let next = Weather::of(&order)
                    .ok_or_else(|| io::Error::other(format!("no such order: {order}")))?;
                weather.send_replace(next);
                crate::say("so be it")?;
            }
            accepted = listener.accept() => {
                passages.spawn(carry(accepted?.0, target, told.clone()));
                while passages.try_join_next().is_some() {}
            }
        }
    }
}

/// Ends when either side does, or when an answer was cut.
async fn carry(near: TcpStream, target: SocketAddr, weather: watch::Receiver<Weather>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _unimportant = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let (due, awaited) = unbounded_channel();
    tokio::select! {
        _ended = there(near_in, far_out, &weather, due) => {}
        _ended = back(far_in, near_out, &weather, awaited) => {}
    }
}

/// Reads commands, and passes on those that are not answered here.
async fn there(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: &watch::Receiver<Weather>,
    due: UnboundedSender<Due>,
) -> io::Result<()> {
    let mut read = BytesMut::new();
    let mut passed = BytesMut::new();
    while from.read_buf(&mut read).await? > 0 {
        while let Some(end) = resp::end(&read) {
            let message = read.split_to(end);
            let next = weather.borrow().due(&message);
            if matches!(next, Due::Theirs(_)) {
                passed.extend_from_slice(&message);
            }
            due.send(next).map_err(io::Error::other)?;
        }
        to.write_all(&passed).await?;
        passed.clear();
    }
    Ok(())
}

/// Gives the answers, in the order of the commands.
async fn back(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    weather: &watch::Receiver<Weather>,
    mut awaited: UnboundedReceiver<Due>,
) -> io::Result<()> {
    let mut read = BytesMut::new();
    while let Some(due) = awaited.recv().await {
        let answer = match due {
            Due::Ours(answer) => answer,
            Due::Theirs(at) => {
                let end = loop {
                    if let Some(end) = resp::end(&read) {
                        break end;
                    }
                    if from.read_buf(&mut read).await? == 0 {
                        return Ok(());
                    }
                };
                sleep_until(at).await;
                read.split_to(end).freeze()
            }
        };
        if *weather.borrow() == Weather::Cut && answer.len() > CUT {
            return to.write_all(&answer[..answer.len() / 2]).await;
        }
        to.write_all(&answer).await?;
    }
    Ok(())
}
