//! As much of the Redis protocol as a proxy must know: where a message ends, and which command it is.

/// Where the first message of `bytes` ends, if it is whole.
///
/// A length that is no number ends the message at its line; what follows is then nonsense, as it is for everybody.
pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<usize>().ok();
    let parts = match bytes[0] {
        b'$' | b'=' | b'!' => {
            // A null has the length -1, which is none.
            let end = number().map_or(line, |length| line + length + 2);
            return (bytes.len() >= end).then_some(end);
        }
        b'*' | b'~' | b'>' => number().unwrap_or(0),
        b'%' => 2 * number().unwrap_or(0),
        _ => 0,
    };
    let mut at = line;
    for _ in 0..parts {
        at += end(&bytes[at..])?;
    }
    Some(at)
}

/// The command of a message, in upper case.
pub(crate) fn command(message: &[u8]) -> String {
    let mut lines = message.split(|byte| *byte == b'\n').skip(2);
    let word = lines.next().unwrap_or_default();
    String::from_utf8_lossy(word).trim_end().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_ends_where_its_last_part_ends() {
        assert_eq!(end(b"+OK\r\n+"), Some(5));
        assert_eq!(end(b"$-1\r\n"), Some(5));
        assert_eq!(end(b"$3\r\na\r\n\r\n"), Some(9));
        assert_eq!(end(b"*2\r\n$1\r\na\r\n:1\r\n:2\r\n"), Some(15));
        assert_eq!(end(b"*2\r\n$1\r\na\r\n:1"), None);
        assert_eq!(end(b"*-1\r\n"), Some(5));
    }

    #[test]
    fn a_command_is_the_first_part() {
        assert_eq!(command(b"*2\r\n$4\r\nhget\r\n$1\r\nx\r\n"), "HGET");
    }
}
