//! HTTP/2, frame by frame: what becomes HTTP/1 behind Larder, and what floods.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::row::{Expected, MARK, Row, Threat, row, threat};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) fn threats() -> Vec<Threat> {
    vec![
        threat(
            "H2.H1: what is a line end or a second request in HTTP/1",
            "names, values and pseudo-fields are checked before they become HTTP/1 (hyper, `key::canonical`)",
            downgrades(),
        ),
        threat(
            "H2.CL and H2.TE: lengths that the frames contradict",
            "`Content-Length` must be what the frames carry; connection-specific fields make a request malformed (RFC 9113 §8.1.1, §8.2.2)",
            lengths(),
        ),
        threat(
            "Rapid Reset, CONTINUATION floods, HPACK bombs and their like",
            "streams, resets, the size of a decoded head and frames in advance are bounded (`server::limits`, hyper)",
            floods(),
        ),
    ]
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame of a test is small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn integer(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![u8::try_from(value).unwrap_or_default()];
    }
    let mut bytes = vec![127];
    value -= 127;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap_or_default() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap_or_default());
    bytes
}

/// Literal fields that are not indexed (RFC 7541 §6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.extend(integer(text.len()));
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

const HOST: &str = "r@@@.example";

/// The pseudo-fields of a GET, in which `name` is replaced, and these fields behind them.
fn head(name: &str, value: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields =
        vec![(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/x")];
    for field in &mut fields {
        if field.0 == name {
            field.1 = value;
        }
    }
    fields.extend(more);
    block(&fields)
}

fn whole(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, 1, block)
}

/// A GET with one more field.
fn with(name: &str, value: &str) -> Vec<u8> {
    whole(&head("", "", &[(name, value)]))
}

fn refused(name: impl Into<String>, frames: Vec<u8>) -> Row {
    row(name).frames(frames, Expected::Refused).reaches(&[])
}

fn downgrades() -> Vec<Row> {
    let mut rows = vec![
        row("a plain request is answered")
            .frames(whole(&head("", "", &[])), Expected::Status(200))
            .reaches(&["GET /x"]),
    ];
    for (name, end) in [("CR LF", "\r\n"), ("LF", "\n"), ("CR", "\r"), ("NUL", "\0")] {
        rows.push(refused(format!("h2: {name} in a value"), with("x", &format!("a{end}evil: b"))));
        rows.push(refused(format!("h2: {name} in a name"), with(&format!("x{end}evil"), "b")));
        let path = format!("/x HTTP/1.1{end}Host: r{MARK}.example{end}{end}GET /hidden");
        rows.push(refused(format!("h2: {name} in :path"), whole(&head(":path", &path, &[]))));
        let method = format!("GET /hidden HTTP/1.1{end}x: ");
        rows.push(refused(format!("h2: {name} in :method"), whole(&head(":method", &method, &[]))));
        let authority = format!("{HOST}{end}evil: b");
        let bytes = whole(&head(":authority", &authority, &[]));
        rows.push(refused(format!("h2: {name} in :authority"), bytes));
    }
    for (name, value) in [
        (":path", "/x HTTP/1.1"),
        (":path", ""),
        (":path", "x"),
        (":path", "*"),
        (":path", "@evil.example/x"),
        (":method", "GET /hidden"),
        (":method", ""),
        (":scheme", "http://evil.example/?"),
        (":scheme", "ftp"),
        (":authority", "user@r@@@.example"),
        (":authority", "r@@@.example/evil"),
        (":authority", "r@@@.example:evil"),
        (":authority", ""),
    ] {
        rows.push(refused(format!("h2: {name} is {value:?}"), whole(&head(name, value, &[]))));
    }
    for (name, frames) in [
        ("h2: capitals in a name", with("X-Evil", "1")),
        ("h2: a blank in a name", with("x evil", "1")),
        ("h2: a colon in a name", with("x:evil", "1")),
        ("h2: an empty name", with("", "1")),
        ("h2: an unknown pseudo-field", with(":evil", "1")),
        (
            "h2: a pseudo-field behind a field",
            whole(&[head("", "", &[("x", "1")]), block(&[(":path", "/evil")])].concat()),
        ),
        (
            "h2: two paths",
            whole(&block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", HOST),
                (":path", "/x"),
                (":path", "/evil"),
            ])),
        ),
        (
            "h2: two methods",
            whole(&block(&[
                (":method", "GET"),
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", HOST),
                (":path", "/x"),
            ])),
        ),
        (
            "h2: no path",
            whole(&block(&[(":method", "GET"), (":scheme", "http"), (":authority", HOST)])),
        ),
        (
            "h2: no method",
            whole(&block(&[(":scheme", "http"), (":authority", HOST), (":path", "/x")])),
        ),
        ("h2: a status in a request", with(":status", "200")),
        ("h2: a Host that is not :authority", with("host", "evil.example")),
        ("h2: two Hosts", whole(&head("", "", &[("host", HOST), ("host", HOST)]))),
        (
            "h2: CONNECT",
            whole(&block(&[(":method", "CONNECT"), (":authority", "evil.example:443")])),
        ),
        (
            "h2: CONNECT to another protocol",
            whole(&block(&[
                (":method", "CONNECT"),
                (":protocol", "websocket"),
                (":scheme", "http"),
                (":path", "/x"),
                (":authority", HOST),
            ])),
        ),
        ("h2: TRACE", whole(&head(":method", "TRACE", &[]))),
    ] {
        rows.push(refused(name, frames));
    }
    rows.push(
        row("h2: a Host that is :authority is one host")
            .frames(with("host", HOST), Expected::Status(200))
            .reaches(&["GET /x"]),
    );
    rows
}

fn lengths() -> Vec<Row> {
    let post = |fields: &[(&str, &str)], flags: u8| {
        frame(HEADERS, END_HEADERS | flags, 1, &head(":method", "POST", fields))
    };
    let data = |text: &str, flags: u8| frame(DATA, flags, 1, text.as_bytes());
    let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: r@@@.example\r\n\r\n";
    let mut rows = Vec::new();
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-keyed"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
    ] {
        rows.push(refused(format!("h2: {name}: {value}"), with(name, value)));
    }
    rows.extend([
        refused(
            "h2: transfer-encoding with content",
            [post(&[("transfer-encoding", "chunked")], 0), data(hidden, END_STREAM)].concat(),
        ),
        row("h2: a length of 0 with content is no content")
            .frames(
                [post(&[("content-length", "0")], 0), data(hidden, END_STREAM)].concat(),
                Expected::Refused,
            )
            .at_most(1)
            .keeps_back("/hidden"),
        refused(
            "h2: a length that is less than the content",
            [post(&[("content-length", "3")], 0), data(hidden, END_STREAM)].concat(),
        ),
        refused(
            "h2: a length that is more than the content",
            [post(&[("content-length", "99")], 0), data("hello", END_STREAM)].concat(),
        ),
        refused("h2: a length without content", post(&[("content-length", "5")], END_STREAM)),
        refused(
            "h2: two lengths",
            [
                post(&[("content-length", "5"), ("content-length", "6")], 0),
                data("hello", END_STREAM),
            ]
            .concat(),
        ),
        refused(
            "h2: a signed length",
            [post(&[("content-length", "+5")], 0), data("hello", END_STREAM)].concat(),
        ),
        row("h2: content without a length is sent on as it is")
            .frames([post(&[], 0), data(hidden, END_STREAM)].concat(), Expected::Status(200))
            .reaches(&["POST /x"]),
        row("h2: the content of a GET that is looked up stays behind")
            .frames(
                [frame(HEADERS, END_HEADERS, 1, &head("", "", &[])), data(hidden, END_STREAM)]
                    .concat(),
                Expected::Status(200),
            )
            .reaches(&["GET /x"])
            .keeps_back("/hidden"),
    ]);
    rows
}

fn floods() -> Vec<Row> {
    let get = |stream: u32| frame(HEADERS, END_STREAM | END_HEADERS, stream, &head("", "", &[]));
    let cancel = 8_u32.to_be_bytes();
    let resets: Vec<u8> = (0..3000_u32)
        .flat_map(|number| {
            let stream = number * 2 + 1;
            let path = format!("/{stream}");
            let open = frame(HEADERS, END_STREAM | END_HEADERS, stream, &head(":path", &path, &[]));
            [open, frame(RESET, 0, stream, &cancel)].concat()
        })
        .collect();
    let mut endless = frame(HEADERS, END_STREAM, 1, &head("", "", &[]));
    for _ in 0..10_000 {
        endless.extend(frame(CONTINUATION, 0, 1, &block(&[("x", "y")])));
    }
    let mut empty = frame(HEADERS, END_STREAM, 1, &head("", "", &[]));
    for _ in 0..50_000 {
        empty.extend(frame(CONTINUATION, 0, 1, b""));
    }
    // A field of 4,000 bytes that goes into the table (RFC 7541 §6.2.1), and then 10,000 times a reference to it.
    let mut bomb = head("", "", &[]);
    bomb.extend([0x40, 1, b'x']);
    bomb.extend(integer(4000));
    bomb.extend([b'y'; 4000]);
    bomb.extend([0xbe; 10_000]);
    vec![
        row("Rapid Reset: 3,000 requests that are reset at once")
            .frames(resets, Expected::Ended)
            .at_most(300),
        row("a CONTINUATION flood").frames(endless, Expected::Refused).reaches(&[]),
        row("a flood of empty CONTINUATIONs").frames(empty, Expected::Refused).reaches(&[]),
        row("an HPACK bomb").frames(whole(&bomb), Expected::Refused).reaches(&[]),
        row("an index that is not in the table")
            .frames(whole(&[0xff, 0xff, 0x7f]), Expected::Ended)
            .reaches(&[]),
        row("a flood of SETTINGS")
            .frames(frame(SETTINGS, 0, 0, b"").repeat(20_000), Expected::Survived),
        row("a flood of PINGs")
            .frames(frame(PING, 0, 0, &[0; 8]).repeat(20_000), Expected::Survived),
        row("a flood of empty DATA").frames(
            [
                frame(HEADERS, END_HEADERS, 1, &head(":method", "POST", &[])),
                frame(DATA, 0, 1, b"").repeat(20_000),
            ]
            .concat(),
            Expected::Survived,
        ),
        row("a window that overflows")
            .frames(frame(WINDOW, 0, 0, &0x7fff_ffff_u32.to_be_bytes()).repeat(2), Expected::Ended),
        row("a frame that is larger than was agreed")
            .frames(frame(HEADERS, END_HEADERS, 1, &[0; 100_000]), Expected::Ended),
        row("a stream of the server's").frames(get(2), Expected::Ended).reaches(&[]),
        row("a stream that is used twice")
            .frames([get(3), get(1)].concat(), Expected::Ended)
            .at_most(1),
        row("content of a stream that is not open")
            .frames(frame(DATA, 0, 1, b"evil"), Expected::Ended)
            .reaches(&[]),
        row("more streams at once than are allowed")
            .frames((0..1000).flat_map(|number| get(number * 2 + 1)).collect(), Expected::Survived)
            .at_most(1),
        row("a preface, and HTTP/1 behind it")
            .frames(b"GET /hidden HTTP/1.1\r\nHost: r@@@.example\r\n\r\n".to_vec(), Expected::Ended)
            .reaches(&[]),
    ]
}

/// Sends the frames behind the preface, and reads until what is expected has come.
pub(crate) async fn exchange(
    authority: &str,
    bytes: &[u8],
    expected: &Expected,
) -> Result<(), String> {
    let socket = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    let (mut reader, mut writer) = socket.into_split();
    let all = [PREFACE, &frame(SETTINGS, 0, 0, b""), bytes].concat();
    // What answers a flood must be read while the flood goes on.
    let sending = async {
        let _refused = writer.write_all(&all).await;
        let _refused = writer.write_all(&frame(SETTINGS, 1, 0, b"")).await;
    };
    let reading = async {
        let mut said = Vec::new();
        loop {
            let mut head = [0; 9];
            if reader.read_exact(&mut head).await.is_err() {
                return (said, true);
            }
            let length =
                usize::from(head[1]) << 8 | usize::from(head[2]) | usize::from(head[0]) << 16;
            let mut payload = vec![0; length];
            if reader.read_exact(&mut payload).await.is_err() {
                return (said, true);
            }
            let word = Heard::of(head[3], &payload);
            let decides = word.as_ref().is_some_and(|word| word.decides(expected));
            said.extend(word);
            if decides {
                return (said, false);
            }
        }
    };
    let (said, ended) = if *expected == Expected::Survived {
        sending.await;
        return Ok(());
    } else {
        tokio::join!(sending, reading).1
    };
    let fits = said.iter().any(|word| word.fits(expected))
        || ended && matches!(expected, Expected::Refused | Expected::Ended);
    let served = said.iter().any(|word| matches!(word, Heard::Status(200)));
    if fits && !(served && *expected == Expected::Refused) {
        return Ok(());
    }
    Err(format!("{said:?} instead of {expected:?}"))
}

#[derive(Debug)]
enum Heard {
    Status(u16),
    Reset,
    Goaway,
}

impl Heard {
    fn of(kind: u8, payload: &[u8]) -> Option<Self> {
        match kind {
            HEADERS => Some(Self::Status(status(payload))),
            RESET => Some(Self::Reset),
            // An orderly end is none that was brought about.
            GOAWAY if payload.get(4..8) != Some(&[0; 4]) => Some(Self::Goaway),
            _ => None,
        }
    }

    /// Whether there is nothing more to wait for.
    fn decides(&self, expected: &Expected) -> bool {
        match self {
            Self::Status(_) | Self::Reset => *expected != Expected::Ended,
            Self::Goaway => true,
        }
    }

    fn fits(&self, expected: &Expected) -> bool {
        match (self, expected) {
            (Self::Status(status), Expected::Status(wanted)) => status == wanted,
            (Self::Status(status), Expected::Refused) => *status >= 400,
            (Self::Reset | Self::Goaway, Expected::Refused) | (Self::Goaway, Expected::Ended) => {
                true
            }
            (_, Expected::Status(_) | Expected::Ended | Expected::Survived) => false,
        }
    }
}

/// The status of a response's block, whose first field it is; 0 for one that is not understood.
fn status(block: &[u8]) -> u16 {
    // Sizes of the table may be before it.
    let block = &block[block.iter().take_while(|byte| **byte >> 5 == 1).count()..];
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        // A literal of three digits, whose code begins with that of the first: 4 is 011010 and 5 is 011011.
        [0x48 | 0x08, length, first, ..] if length & 0x80 != 0 => match first >> 2 {
            0b01_1010 => 499,
            0b01_1011 => 599,
            _ => 0,
        },
        [0x48 | 0x08, 3, digits @ ..] => {
            digits.get(..3).and_then(|it| str::from_utf8(it).ok()?.parse().ok()).unwrap_or_default()
        }
        _ => 0,
    }
}
