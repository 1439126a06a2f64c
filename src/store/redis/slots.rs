//! The slots of a Cluster: which a key belongs to, and which servers say that they hold them.

use redis::Value;

use crate::store::redis::address::Address;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM of each byte, as the Cluster specification wants it.
const CRC: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "there are 256 bytes")]
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// The slot of a key: of the part between its first braces, where there is one.
pub(super) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
    let hashed = tag.map(|(tag, _)| tag).filter(|tag| !tag.is_empty()).unwrap_or(key);
    let crc = hashed.bytes().fold(0, |crc: u16, byte| {
        (crc << 8) ^ CRC[usize::from((crc >> 8) ^ u16::from(byte)) & 0xFF]
    });
    crc % SLOTS
}

/// The servers of a Redis and what each holds, in the order of their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct View(pub(super) Vec<Shard>);

/// A master, its replicas, and the slots that they hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shard {
    pub(super) master: Address,
    pub(super) replicas: Vec<Address>,
    /// First and last of each range.
    pub(super) slots: Vec<(u16, u16)>,
}

impl View {
    /// One master that holds everything.
    pub(super) fn alone(master: Address, mut replicas: Vec<Address>) -> Self {
        replicas.sort();
        Self(vec![Shard { master, replicas, slots: vec![(0, SLOTS - 1)] }])
    }

    /// The answer of the server at `by` to `CLUSTER SLOTS`; nothing where it is none.
    pub(super) fn read(answer: Value, by: &Address) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut shards: Vec<Shard> = Vec::new();
        for range in ranges {
            let (slots, servers) = read_range(range, by)?;
            // A server whose address nobody knows cannot be asked; its slots are as good as nobody's.
            let Some((master, replicas)) = servers.split_first() else { continue };
            match shards.iter_mut().find(|shard| shard.master == *master) {
                Some(shard) => shard.slots.push(slots),
                None => shards.push(Shard {
                    master: master.clone(),
                    replicas: replicas.to_vec(),
                    slots: vec![slots],
                }),
            }
        }
        for shard in &mut shards {
            shard.replicas.sort();
            shard.slots.sort_unstable();
        }
        shards.sort();
        Some(Self(shards)).filter(|view| !view.0.is_empty())
    }
}

/// First and last slot, then the servers, master first.
fn read_range(range: Value, by: &Address) -> Option<((u16, u16), Vec<Address>)> {
    let Value::Array(parts) = range else { return None };
    let mut parts = parts.into_iter();
    let mut number = || redis::from_redis_value::<u16>(parts.next()?).ok();
    let (first, last) = (number()?, number()?);
    if first > last || last >= SLOTS {
        return None;
    }
    let mut servers = Vec::new();
    for (at, server) in parts.enumerate() {
        match read_server(server, by) {
            Some(server) => servers.push(server),
            None if at == 0 => return Some(((first, last), Vec::new())),
            None => {}
        }
    }
    Some(((first, last), servers))
}

fn read_server(server: Value, by: &Address) -> Option<Address> {
    let Value::Array(parts) = server else { return None };
    let mut parts = parts.into_iter();
    let host: Option<String> = redis::from_redis_value(parts.next()?).ok()?;
    let port: u16 = redis::from_redis_value(parts.next()?).ok()?;
    match host.as_deref() {
        // It is reached as the one that told of it.
        None | Some("") => Some(Address { host: by.host.clone(), port }),
        Some("?") => None,
        Some(host) => Some(Address::new(host, port)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn server(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])])
    }

    fn range(first: i64, last: i64, servers: Vec<Value>) -> Value {
        let ends = [Value::Int(first), Value::Int(last)];
        Value::Array(ends.into_iter().chain(servers).collect())
    }

    #[test]
    fn a_key_has_the_slot_that_redis_gives_it() {
        // As CLUSTER KEYSLOT tells it.
        let rows = [("foo", 12_182), ("123456789", 12_739), ("", 0), ("{}foo", 9_500)];
        for (key, expected) in rows {
            assert_eq!(slot(key), expected, "{key}");
        }
        assert_eq!(slot("larder:{shop}:purges"), slot("larder:{shop}:instances"));
        assert_eq!(slot("larder:{shop}:purges"), slot("shop"));
    }

    #[test]
    fn ranges_of_one_master_are_one_shard_whatever_their_order() {
        let by = Address::new("seed", 1);
        let (a, b) = (server(text("a"), 1), server(text("b"), 2));
        let one = Value::Array(vec![
            range(10, 20, vec![a.clone(), b.clone()]),
            range(0, 5, vec![a.clone(), b.clone()]),
        ]);
        let other =
            Value::Array(vec![range(0, 5, vec![a.clone(), b.clone()]), range(10, 20, vec![a, b])]);
        let view = View::read(one, &by).unwrap();
        assert_eq!(Some(&view), View::read(other, &by).as_ref());
        assert_eq!(view.0[0].slots, [(0, 5), (10, 20)]);
        assert_eq!(view.0[0].replicas, [Address::new("b", 2)]);
    }

    #[test]
    fn a_server_without_a_host_is_where_the_answer_came_from_and_an_unknown_one_is_left_out() {
        let by = Address::new("seed", 1);
        let answer = Value::Array(vec![
            range(0, 1, vec![server(Value::Nil, 7), server(text("?"), 8)]),
            range(2, 3, vec![server(text("?"), 9), server(text("b"), 8)]),
        ]);
        let view = View::read(answer, &by).unwrap();
        assert_eq!(
            view,
            View(vec![Shard {
                master: Address::new("seed", 7),
                replicas: vec![],
                slots: vec![(0, 1)],
            }])
        );
    }

    #[test]
    fn nonsense_is_no_view() {
        let by = Address::new("seed", 1);
        for nonsense in [
            Value::Nil,
            Value::Int(1),
            Value::Array(vec![]),
            Value::Array(vec![Value::Nil]),
            Value::Array(vec![range(5, 4, vec![server(text("a"), 1)])]),
            Value::Array(vec![range(0, 99_999, vec![server(text("a"), 1)])]),
            Value::Array(vec![range(0, 1, vec![server(text("?"), 1)])]),
        ] {
            assert_eq!(View::read(nonsense.clone(), &by), None, "{nonsense:?}");
        }
    }
}
