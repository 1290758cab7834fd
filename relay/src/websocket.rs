//! The numbers of WebSocket frames (RFC 6455), for both ends that the relay is: the client of a host, and the server of a
//! consumer.

/// Bit of a frame that ends its message.
pub(crate) const FIN: u8 = 0x80;
/// Bits that must be 0.
pub(crate) const RESERVED: u8 = 0x70;
/// Bit of a frame whose payload is masked.
pub(crate) const MASKED: u8 = 0x80;
/// Greatest payload of a control frame, in bytes (section 5.5).
pub(crate) const CONTROL_BYTES_MAX: usize = 125;

/// Opcodes (section 11.8).
pub(crate) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0x0;
    pub(crate) const TEXT: u8 = 0x1;
    pub(crate) const BINARY: u8 = 0x2;
    pub(crate) const CLOSE: u8 = 0x8;
    pub(crate) const PING: u8 = 0x9;
    pub(crate) const PONG: u8 = 0xa;
}
