//! The PROXY protocol, versions 1 and 2: for whom a load balancer connects, told before anything else.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// §2.1: "a 108-byte buffer is always enough to store all the line and a trailing zero".
const LONGEST_LINE: usize = 107;

/// §2.2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED: usize = 16;

/// What may follow the fixed part: addresses, and what else the balancer tells. Certificates make the longest.
const LONGEST_REST: usize = 4096;

/// §2.2.6: `PP2_TYPE_SSL`, and its bit for "the client connected over SSL/TLS".
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// What the bytes are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The beginning of a header.
    More,
    Whole(Header),
    /// No header, nor the beginning of one.
    Malformed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of it.
    pub(crate) length: usize,
    /// Nothing where the balancer speaks for itself, or does not know.
    pub(crate) client: Option<IpAddr>,
    pub(crate) link: Link,
}

/// How the client reached the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Untold,
    Tls,
}

/// Reads the header that the bytes begin with.
pub(crate) fn read(bytes: &[u8]) -> Heard {
    let same = SIGNATURE.iter().zip(bytes).take_while(|(one, other)| one == other).count();
    if same == SIGNATURE.len() {
        binary(bytes)
    } else if same == bytes.len() {
        Heard::More
    } else {
        line(bytes)
    }
}

/// §2.1, "Human-readable header format (Version 1)".
fn line(bytes: &[u8]) -> Heard {
    let begin = b"PROXY ";
    let common = begin.len().min(bytes.len());
    if bytes[..common] != begin[..common] {
        return Heard::Malformed;
    }
    let Some(end) = bytes.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < LONGEST_LINE { Heard::More } else { Heard::Malformed };
    };
    let text = str::from_utf8(&bytes[begin.len().min(end)..end]).ok();
    let Some(text) = text.and_then(|text| text.strip_suffix('\r')) else {
        return Heard::Malformed;
    };
    let whole = |client| Heard::Whole(Header { length: end + 1, client, link: Link::Untold });
    // §2.1: "the receiver must ignore anything presented before the CRLF".
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return whole(None);
    }
    client_of_line(text).map_or(Heard::Malformed, |client| whole(Some(client)))
}

fn client_of_line(text: &str) -> Option<IpAddr> {
    let words: Vec<&str> = text.split(' ').collect();
    let [family, from, to, from_port, to_port] = words[..] else { return None };
    let is_port = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'))
            && text.parse::<u16>().is_ok()
    };
    if !is_port(from_port) || !is_port(to_port) {
        return None;
    }
    match family {
        "TCP4" => {
            to.parse::<Ipv4Addr>().ok()?;
            Some(IpAddr::V4(from.parse().ok()?))
        }
        "TCP6" => {
            to.parse::<Ipv6Addr>().ok()?;
            Some(IpAddr::V6(from.parse().ok()?))
        }
        _ => None,
    }
}

/// §2.2, "Binary header format (version 2)".
fn binary(bytes: &[u8]) -> Heard {
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else { return Heard::More };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_REST || !matches!(command, 0x20 | 0x21) {
        return Heard::Malformed;
    }
    let Some(rest) = rest.get(..length) else { return Heard::More };
    let told = match command {
        // LOCAL: §2.2: "the receiver must accept this connection as valid and must use the real connection
        // endpoints and discard the protocol block".
        0x20 => Some((None, Link::Untold)),
        _ => client_of_block(family, rest),
    };
    told.map_or(Heard::Malformed, |(client, link)| {
        Heard::Whole(Header { length: FIXED + length, client, link })
    })
}

fn client_of_block(family: u8, block: &[u8]) -> Option<(Option<IpAddr>, Link)> {
    let (client, rest) = match family {
        // Unspecified, and sockets of one machine.
        0x00 => return Some((None, Link::Untold)),
        0x31 => (None, block.get(216..)?),
        0x11 => {
            let address: &[u8; 4] = block.first_chunk()?;
            (Some(IpAddr::from(*address)), block.get(12..)?)
        }
        0x21 => {
            let address: &[u8; 16] = block.first_chunk()?;
            (Some(IpAddr::from(*address)), block.get(36..)?)
        }
        // Datagrams do not come by a stream.
        _ => return None,
    };
    Some((client, link(rest)?))
}

/// What the block tells besides the addresses, as far as it is of use.
fn link(mut rest: &[u8]) -> Option<Link> {
    let mut link = Link::Untold;
    while let Some(([kind, high, low], behind)) = rest.split_first_chunk() {
        let (value, next) =
            behind.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *kind == TYPE_SSL && value.first().is_some_and(|bits| bits & CLIENT_SSL != 0) {
            link = Link::Tls;
        }
        rest = next;
    }
    rest.is_empty().then_some(link)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn whole(length: usize, client: Option<&str>) -> Heard {
        let client = client.map(|client| client.parse().unwrap());
        Heard::Whole(Header { length, client, link: Link::Untold })
    }

    #[test]
    fn a_line_is_read_to_its_end_and_no_further() {
        let four = "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n";
        let rest = format!("{four}GET / HTTP/1.1\r\n");
        assert_eq!(read(rest.as_bytes()), whole(four.len(), Some("192.0.2.1")));
        let six = "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n";
        assert_eq!(read(six.as_bytes()), whole(six.len(), Some("2001:db8::1")));
        for unknown in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff:f...f:ffff x 1\r\n"] {
            assert_eq!(read(unknown.as_bytes()), whole(unknown.len(), None), "{unknown}");
        }
    }

    #[test]
    fn a_line_that_is_wrong_in_anything_is_none() {
        for wrong in [
            "GET / HTTP/1.1\r\n",
            "PROXY\r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 65536\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 01 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 \r\n",
            "PROXY TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 10.0.0.1 1 2 3\r\n",
            "PROXY TCP4 192.0.2.256 10.0.0.1 1 2\r\n",
            "PROXY TCP4 ::1 10.0.0.1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 ::1 1 2\r\n",
            "PROXY UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "PROXY UNKNOWNS\r\n",
            "proxy TCP4 192.0.2.1 10.0.0.1 1 2\r\n",
        ] {
            assert_eq!(read(wrong.as_bytes()), Heard::Malformed, "{wrong}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST_LINE));
        assert_eq!(read(endless.as_bytes()), Heard::Malformed);
    }

    #[test]
    fn a_block_tells_the_client_and_whether_it_came_by_tls() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2];
        assert_eq!(read(&block(0x21, 0x11, &four)), whole(28, Some("192.0.2.1")));
        let mut six = [0; 36];
        (six[0], six[1], six[15]) = (0x20, 0x01, 0x07);
        assert_eq!(read(&block(0x21, 0x21, &six)), whole(52, Some("2001::7")));
        assert_eq!(read(&block(0x21, 0x31, &[0; 216])), whole(232, None));
        for silent in [block(0x20, 0x11, &four), block(0x20, 0x77, &[]), block(0x21, 0, &four)] {
            assert_eq!(read(&silent), whole(silent.len(), None));
        }
        let told = |tlv: &[u8]| read(&block(0x21, 0x11, &[&four[..], tlv].concat()));
        let header = |length, link| {
            let client = Some("192.0.2.1".parse().unwrap());
            Heard::Whole(Header { length, client, link })
        };
        assert_eq!(told(&[0x04, 0, 1, 9]), header(32, Link::Untold));
        assert_eq!(told(&[0x04, 0, 0, 0x20, 0, 5, 1, 0, 0, 0, 0]), header(39, Link::Tls));
        assert_eq!(told(&[0x20, 0, 5, 0, 0, 0, 0, 0]), header(36, Link::Untold));
    }

    #[test]
    fn a_block_that_does_not_hold_what_it_says_is_malformed() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2];
        for wrong in [
            block(0x11, 0x11, &four),
            block(0x22, 0x11, &four),
            block(0x21, 0x12, &four),
            block(0x21, 0x11, &four[..11]),
            block(0x21, 0x21, &four),
            block(0x21, 0x11, &[&four[..], &[4]].concat()),
            block(0x21, 0x11, &[&four[..], &[4, 0, 2, 0]].concat()),
            block(0x21, 0x11, &[0; LONGEST_REST + 1]),
        ] {
            assert_eq!(read(&wrong), Heard::Malformed, "{wrong:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_header_wants_more() {
        let four = [192, 0, 2, 1, 10, 0, 0, 1, 0, 1, 0, 2];
        let line = b"PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n".to_vec();
        for header in [line, block(0x21, 0x11, &four)] {
            for end in 0..header.len() {
                assert_eq!(read(&header[..end]), Heard::More, "{:?}", &header[..end]);
            }
        }
    }

    proptest! {
        #[test]
        fn a_header_is_never_longer_than_what_came(bytes: Vec<u8>, signed: bool) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            if let Heard::Whole(header) = read(&bytes) {
                prop_assert!(header.length <= bytes.len());
                prop_assert_eq!(read(&bytes[..header.length]), Heard::Whole(header));
            }
        }

        #[test]
        fn what_a_line_says_is_what_is_heard(from: [u8; 4], to: [u8; 4], ports in any::<[u16; 2]>()) {
            let (from, to, [one, other]) = (Ipv4Addr::from(from), Ipv4Addr::from(to), ports);
            let line = format!("PROXY TCP4 {from} {to} {one} {other}\r\n");
            prop_assert_eq!(read(line.as_bytes()), whole(line.len(), Some(&from.to_string())));
        }
    }
}
