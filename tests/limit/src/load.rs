//! The load generator: a window of sends in flight on each connection, as cheap as it can be.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// What one round saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) took: Duration,
}

/// What is sent, and how much of it at once.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) topic: String,
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Sends in flight on each connection.
    pub(crate) window: u64,
    pub(crate) connections: usize,
    /// JSON headers instead of binary ones.
    pub(crate) json: bool,
}

impl Load {
    /// Sends to `address` for `time`.
    pub(crate) fn send(&self, address: &str, time: Duration) -> Result<Round> {
        let request = Request::new(self);
        let begun = Instant::now();
        let sent = thread::scope(|scope| {
            let all: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| send(address, &request, self.window, time)))
                .collect();
            all.into_iter().map(|one| one.join().expect("a sender does not panic")).sum::<Result<u64>>()
        })?;
        Ok(Round { messages: sent, took: begun.elapsed() })
    }
}

/// Sends over one connection; how many were answered.
fn send(address: &str, request: &Request, window: u64, time: Duration) -> Result<u64> {
    let mut connection = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut output = Vec::new();
    let mut input = vec![0; 1 << 20];
    let (mut held, mut sent, mut done) = (0, 0u64, 0u64);
    let begun = Instant::now();
    let mut due = window;
    loop {
        for _ in 0..due {
            request.put(sent, &mut output);
            sent += 1;
        }
        connection.write_all(&output)?;
        output.clear();
        due = 0;
        if sent == done {
            return Ok(done);
        }
        let n = connection.read(&mut input[held..])?;
        ensure!(n > 0, "{address} closed the connection");
        held += n;
        let mut at = 0;
        while let Some(length) = input[at..held].first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize) {
            if held - at < 4 + length {
                break;
            }
            check(&input[at + 4..at + 4 + length])?;
            at += 4 + length;
            due += 1;
        }
        input.copy_within(at..held, 0);
        held -= at;
        done += due;
        if begun.elapsed() > time {
            due = 0; // let the window run empty
        }
    }
}

fn check(frame: &[u8]) -> Result<()> {
    let json = frame[0] == 0;
    let header = frame[1..4].iter().fold(0, |n, b| n << 8 | usize::from(*b));
    let head = &frame[4..4 + header];
    let ok = if json { head.windows(9).any(|w| w == b"\"code\":0,") } else { head[..2] == [0, 0] };
    ensure!(ok, "a send was refused: {}", String::from_utf8_lossy(frame));
    Ok(())
}

/// SEND_MESSAGE_V2, of which only the number differs from one message to the next.
struct Request {
    frame: Vec<u8>,
    /// Where its number stands.
    opaque: usize,
    json: bool,
}

impl Request {
    fn new(load: &Load) -> Self {
        let fields = [
            ("a", "PG_limit"),
            ("b", &load.topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", "UNIQ_KEY\u{1}7F0000010001ABCDEF01000000010000\u{2}WAIT\u{1}true\u{2}"),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        let (header, opaque) = if load.json { json(&fields) } else { binary(&fields) };
        let mut frame = Vec::new();
        frame.extend_from_slice(&((4 + header.len() + load.body) as u32).to_be_bytes());
        frame.extend_from_slice(&(header.len() as u32 | u32::from(!load.json) << 24).to_be_bytes());
        frame.extend_from_slice(&header);
        frame.extend(std::iter::repeat_n(b'x', load.body));
        Self { frame, opaque: 8 + opaque, json: load.json }
    }

    fn put(&self, number: u64, output: &mut Vec<u8>) {
        let at = output.len() + self.opaque;
        output.extend_from_slice(&self.frame);
        if self.json {
            let mut rest = number;
            for digit in output[at..at + DIGITS].iter_mut().skip(1).rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        } else {
            output[at..at + 4].copy_from_slice(&(number as u32).to_be_bytes());
        }
    }
}

/// A header and where its number stands.
fn binary(fields: &[(&str, &str)]) -> (Vec<u8>, usize) {
    let mut header = Vec::new();
    header.extend_from_slice(&310u16.to_be_bytes());
    header.extend_from_slice(&[0, 1, 0x8F]); // Java 4.9.3
    header.extend_from_slice(&[0; 12]); // opaque, flag, no remark
    let length: usize = fields.iter().map(|(key, value)| 6 + key.len() + value.len()).sum();
    header.extend_from_slice(&(length as u32).to_be_bytes());
    for (key, value) in fields {
        header.extend_from_slice(&(key.len() as u16).to_be_bytes());
        header.extend_from_slice(key.as_bytes());
        header.extend_from_slice(&(value.len() as u32).to_be_bytes());
        header.extend_from_slice(value.as_bytes());
    }
    (header, 5)
}

/// As Java 4.9.3 writes it.
fn json(fields: &[(&str, &str)]) -> (Vec<u8>, usize) {
    let mut header = String::from("{\"code\":310,\"extFields\":{");
    for (at, (key, value)) in fields.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let value = value.replace('\u{1}', "\\u0001").replace('\u{2}', "\\u0002");
        header.push_str(&format!("{comma}\"{key}\":\"{value}\""));
    }
    header.push_str("},\"flag\":0,\"language\":\"JAVA\",\"opaque\":");
    let opaque = header.len();
    header.push_str("1000000000,\"serializeTypeCurrentRPC\":\"JSON\",\"version\":399}");
    (header.into_bytes(), opaque)
}

/// Digits of the number in a JSON header; the first one stays, so that their count does.
const DIGITS: usize = 10;
