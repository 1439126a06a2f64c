//! The least that a server can do: whatever is read is a request, and is answered with the same bytes.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::beside;

/// Serves the body that is in a file until this process ends. Nothing is parsed: a client that sends requests in pieces, or
/// several at once, gets another number of answers than it asked for.
pub(crate) async fn serve(listener: TcpListener, body: &Path) -> io::Result<()> {
    let body = std::fs::read(body)?;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let answer: Arc<[u8]> = [head.as_bytes(), &body].concat().into();
    loop {
        let (client, _) = listener.accept().await?;
        let answer = answer.clone();
        beside(async move {
            // The client has left.
            let _ = answer_all(client, &answer).await;
        });
    }
}

async fn answer_all(mut client: TcpStream, answer: &[u8]) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut room = [0; 4096];
    while client.read(&mut room).await? > 0 {
        client.write_all(answer).await?;
    }
    Ok(())
}
