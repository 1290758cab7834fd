//! WebSocket frames (RFC 6455) as they are read here: without checks, since both ends are known.

/// The opcode of a ping, …
pub(crate) const PING: u8 = 0x9;
/// … of its answer, …
pub(crate) const PONG: u8 = 0xa;
/// … and of what ends a connection.
pub(crate) const CLOSE: u8 = 0x8;
/// What is set in the first byte of a message's last frame.
pub(crate) const FIN: u8 = 0x80;
/// What is set in the second byte of a client's frame.
pub(crate) const MASKED: u8 = 0x80;

/// A frame at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Whether the message ends with it.
    pub is_last: bool,
    /// What it is.
    pub opcode: u8,
    /// With what the payload is masked.
    pub mask: Option<[u8; 4]>,
    /// Bytes before the payload.
    pub head: usize,
    /// Bytes of the payload.
    pub payload: usize,
}

impl Head {
    /// Reads one; `None` when there are too few bytes.
    pub fn read(bytes: &[u8]) -> Option<Head> {
        let (&[first, second], rest) = bytes.split_first_chunk()?;
        let (payload, rest) = match second & !MASKED {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length) as usize, rest)
            }
            length => (usize::from(length), rest),
        };
        let (mask, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let (mask, rest) = rest.split_first_chunk()?;
            (Some(*mask), rest)
        };
        let head = bytes.len() - rest.len();
        Some(Head { is_last: first & FIN != 0, opcode: first & 0xf, mask, head, payload })
    }

    /// Whether it is no part of a message.
    pub fn is_control(&self) -> bool {
        self.opcode & 0x8 != 0
    }

    /// Its length as a whole.
    pub fn whole(&self) -> usize {
        self.head + self.payload
    }
}

/// Takes the head of an HTTP message, up to its empty line, from the front of some bytes.
pub(crate) fn take_http_head(bytes: &mut Vec<u8>) -> Option<String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    Some(String::from_utf8_lossy(&bytes.drain(..end).collect::<Vec<u8>>()).into_owned())
}

/// The value of a header in the head of an HTTP message.
pub(crate) fn http_header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let values = head.lines().filter_map(|line| line.split_once(':'));
    values.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay::firehose::ws::frame_header;

    #[test]
    fn frames_of_all_lengths_are_read_back() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let frame = [&*frame_header(length), &vec![0; length]].concat();
            let head = Head::read(&frame).expect("a whole head");
            assert_eq!((head.is_last, head.opcode, head.mask, head.payload), (true, 2, None, length));
            assert_eq!(head.whole(), frame.len());
            assert_eq!(Head::read(&frame[..head.head - 1]), None, "{length} bytes, cut within the head");
        }
        let ping = Head::read(&[FIN | PING, MASKED | 1, 1, 2, 3, 4, 0]).expect("a whole head");
        assert_eq!((ping.is_control(), ping.mask, ping.whole()), (true, Some([1, 2, 3, 4]), 7));
    }
}
