//! HTTP/1.1 messages as bytes, for both ends: nothing is refused that can be told apart.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;

pub(crate) type Connection = BufStream<TcpStream>;

/// Fields in their order, names as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(String, Vec<u8>)>);

impl Fields {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lines(name).next().is_some()
    }

    /// The values of all lines of the field.
    pub(crate) fn lines(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// All lines as one, which is the same to a recipient (RFC 9110 §5.3).
    pub(crate) fn joined(&self, name: &str) -> Option<Vec<u8>> {
        let lines: Vec<&[u8]> = self.lines(name).collect();
        (!lines.is_empty()).then(|| lines.join(&b", "[..]))
    }

    fn number(&self, name: &str) -> Option<usize> {
        let value = self.joined(name)?;
        std::str::from_utf8(&value).ok()?.trim().parse().ok()
    }

    fn is_chunked(&self) -> bool {
        self.joined("transfer-encoding")
            .is_some_and(|value| value.to_ascii_lowercase().ends_with(b"chunked"))
    }
}

/// A message's first line and its fields.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

/// The next head on the connection; nothing where it was closed before one began.
pub(crate) async fn head(connection: &mut Connection) -> io::Result<Option<Head>> {
    let Some(start) = line(connection).await? else { return Ok(None) };
    let mut fields = Fields::default();
    loop {
        let line = line(connection).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(Some(Head { start: text(&start), fields }));
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or_default().trim_ascii();
        fields.0.push((text(&line[..colon]), value.to_vec()));
    }
}

/// How a message's content ends.
pub(crate) enum Framing {
    Nothing,
    /// A response that states no length ends with its connection; a request has no content then.
    Stated {
        or_close: bool,
    },
}

pub(crate) async fn content(
    connection: &mut Connection,
    fields: &Fields,
    framing: Framing,
) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match framing {
        Framing::Nothing => {}
        Framing::Stated { .. } if fields.is_chunked() => chunks(connection, &mut content).await?,
        Framing::Stated { or_close } => match fields.number("content-length") {
            Some(length) => {
                content.resize(length, 0);
                connection.read_exact(&mut content).await?;
            }
            None if or_close => {
                connection.read_to_end(&mut content).await?;
            }
            None => {}
        },
    }
    Ok(content)
}

async fn chunks(connection: &mut Connection, content: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let size = line(connection).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = text(&size);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        if size == 0 {
            // Trailers, if any, and the empty line.
            while line(connection).await?.is_some_and(|line| !line.is_empty()) {}
            return Ok(());
        }
        let begin = content.len();
        content.resize(begin + size, 0);
        connection.read_exact(&mut content[begin..]).await?;
        line(connection).await?;
    }
}

pub(crate) async fn send(connection: &mut Connection, bytes: &[u8]) -> io::Result<()> {
    connection.write_all(bytes).await?;
    connection.flush().await
}

/// Adds `name: value` as a line.
pub(crate) fn push(message: &mut Vec<u8>, name: &str, value: &[u8]) {
    message.extend_from_slice(name.as_bytes());
    message.extend_from_slice(b": ");
    message.extend_from_slice(value);
    message.extend_from_slice(b"\r\n");
}

async fn line(connection: &mut Connection) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    connection.read_until(b'\n', &mut line).await?;
    if line.pop_if(|last| *last == b'\n').is_none() {
        return if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
    }
    line.pop_if(|last| *last == b'\r');
    Ok(Some(line))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
