//! The load generator: one connection, a window of sends in flight, binary headers, as cheap as it can be.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// What one round saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) messages: u64,
    pub(crate) took: Duration,
}

/// Sends to `address` for `time` with `window` sends in flight.
pub(crate) fn send(address: &str, topic: &str, body: usize, window: u64, time: Duration) -> Result<Round> {
    let mut connection = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(60)))?;
    let frame = request(topic, body);
    let mut output = Vec::new();
    let mut input = vec![0; 1 << 20];
    let (mut held, mut sent, mut done) = (0, 0u64, 0u64);
    let begun = Instant::now();
    let mut due = window;
    loop {
        for _ in 0..due {
            let at = output.len();
            output.extend_from_slice(&frame);
            output[at + OPAQUE..at + OPAQUE + 4].copy_from_slice(&(sent as u32).to_be_bytes());
            sent += 1;
        }
        connection.write_all(&output)?;
        output.clear();
        due = 0;
        if sent == done {
            return Ok(Round { messages: done, took: begun.elapsed() });
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

/// Position of the opaque in a request of ours.
const OPAQUE: usize = 8 + 5;

fn check(frame: &[u8]) -> Result<()> {
    let json = frame[0] == 0;
    let header = frame[1..4].iter().fold(0, |n, b| n << 8 | usize::from(*b));
    let head = &frame[4..4 + header];
    let ok = if json { head.windows(9).any(|w| w == b"\"code\":0,") } else { head[..2] == [0, 0] };
    ensure!(ok, "a send was refused: {}", String::from_utf8_lossy(frame));
    Ok(())
}

/// SEND_MESSAGE_V2 with a binary header.
fn request(topic: &str, body: usize) -> Vec<u8> {
    let mut fields = Vec::new();
    for (key, value) in [
        ("a", "PG_limit"),
        ("b", topic),
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
    ] {
        fields.extend_from_slice(&(key.len() as u16).to_be_bytes());
        fields.extend_from_slice(key.as_bytes());
        fields.extend_from_slice(&(value.len() as u32).to_be_bytes());
        fields.extend_from_slice(value.as_bytes());
    }
    let header = 21 + fields.len();
    let mut frame = Vec::new();
    frame.extend_from_slice(&((4 + header + body) as u32).to_be_bytes());
    frame.extend_from_slice(&(header as u32 | 1 << 24).to_be_bytes());
    frame.extend_from_slice(&310u16.to_be_bytes());
    frame.extend_from_slice(&[0, 1, 0x8F]); // Java 4.9.3
    frame.extend_from_slice(&[0; 12]); // opaque, flag, no remark
    frame.extend_from_slice(&(fields.len() as u32).to_be_bytes());
    frame.extend_from_slice(&fields);
    frame.extend(std::iter::repeat_n(b'x', body));
    frame
}
