//! A send path with nothing left out that a client sees and nothing in it that a client does not: the yardstick.
//!
//! A thread for each connection, a lock for each read: cut its frames, decode the fields, checksum the body, take the
//! time, copy the record into a mapped, populated file, add a queue unit, write all answers at once; another thread
//! syncs the file every 500 ms. No topic checks, no index, no long polls, no recovery.
//!
//! There are several, as bringing new pages of a file into memory can cost more than all the rest, most of all on a virtual
//! machine whose host takes back what is free. One writes round and round in 1 GiB that was populated before the first
//! connection: the least that a send can cost. One grows, as the log of a broker that keeps its messages must, and
//! populates each page before it is written, in the cheapest way that was found. And one does for a message what
//! every broker does by default although a send alone needs it not: see [`Kind::whole`].

mod index;

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use memmap2::{Advice, MmapMut, MmapOptions};

use index::Index;

const LOG_BYTES: u64 = 1 << 30;
const RECORD_FIXED: usize = 91;
/// What a broker adds to the properties of a message.
const ADDED: &[u8] = b"MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02CLUSTER\x01DefaultCluster\x02";
/// Populated at once where the log grows.
const AHEAD: usize = 4 << 20;

struct Log {
    dir: PathBuf,
    grows: bool,
    file: File,
    map: MmapMut,
    at: usize,
    /// Pages below are in memory.
    populated: usize,
    made: u32,
    syncer: Sender<File>,
    queues: Vec<Vec<[u8; 20]>>,
    index: Option<Index>,
}

/// Which limit broker.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Kind {
    /// Grow, instead of writing round and round in one populated file.
    #[arg(long)]
    pub(crate) grows: bool,
    /// Do all that is done for a message by default: index its key, store the broker's properties, answer the key.
    #[arg(long)]
    pub(crate) whole: bool,
}

/// Serves connections until the process is killed.
pub(crate) fn serve(port: u16, dir: &Path, kind: Kind) -> Result<()> {
    let log = Arc::new(Mutex::new(Log::new(dir, kind)?));
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("limit boot success on port {port}");
    for connection in listener.incoming() {
        let connection = connection?;
        connection.set_nodelay(true)?;
        let log = log.clone();
        thread::spawn(move || {
            // A broken connection ends only itself.
            if let Err(error) = connected(connection, &log) {
                eprintln!("connection: {error:#}");
            }
        });
    }
    Ok(())
}

fn make(dir: &Path, number: u32) -> Result<(File, MmapMut)> {
    let path = dir.join(format!("log.{number}"));
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, LOG_BYTES)?;
    #[allow(
        unsafe_code,
        reason = "the yardstick maps its file as the broker does, without the runtime's safety net"
    )]
    // SAFETY: the file is private to this process and is never truncated while it is mapped.
    let map = unsafe { MmapOptions::new().map_mut(&file)? };
    Ok((file, map))
}

impl Log {
    fn new(dir: &Path, Kind { grows, whole }: Kind) -> Result<Self> {
        let (file, map) = make(dir, 0)?;
        let queues = vec![Vec::new(); 16];
        let syncer = sync_in_background(file.try_clone()?);
        let dir = dir.to_owned();
        let index = whole.then(Index::new);
        let mut log = Self { dir, grows, file, map, at: 0, populated: 0, made: 1, syncer, queues, index };
        if !grows {
            log.populate(LOG_BYTES as usize)?;
        }
        Ok(log)
    }

    fn populate(&mut self, bytes: usize) -> Result<()> {
        let bytes = bytes.min(self.map.len() - self.populated);
        self.map.advise_range(Advice::PopulateWrite, self.populated, bytes)?;
        self.populated += bytes;
        Ok(())
    }

    /// Makes room for a record of `size` bytes.
    fn prepare(&mut self, size: usize) -> Result<()> {
        if self.at + size > self.map.len() {
            self.at = 0;
            if self.grows {
                (self.file, self.map) = make(&self.dir, self.made)?;
                self.made += 1;
                self.populated = 0;
                self.syncer.send(self.file.try_clone()?)?;
            }
        }
        if self.at + size > self.populated { self.populate(AHEAD) } else { Ok(()) }
    }
}

/// Syncs the file that was sent last, and once more the one before it.
fn sync_in_background(mut file: File) -> Sender<File> {
    let (sender, next) = channel();
    thread::spawn(move || {
        loop {
            thread::sleep(Duration::from_millis(500));
            if let Err(error) = file.sync_data() {
                eprintln!("sync: {error}");
            }
            if let Ok(next) = next.try_recv() {
                file = next;
            }
        }
    });
    sender
}

fn connected(mut connection: TcpStream, log: &Mutex<Log>) -> Result<()> {
    let (mut input, mut start, mut end) = (vec![0; 1 << 20], 0, 0);
    let mut output = Vec::with_capacity(1 << 20);
    loop {
        if start == end {
            (start, end) = (0, 0);
        } else if end == input.len() {
            input.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
        let n = connection.read(&mut input[end..])?;
        if n == 0 {
            return Ok(());
        }
        end += n;
        let mut log = log.lock().expect("no connection panics");
        while let Some(length) = input[start..end].first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize)
        {
            ensure!(length < input.len() - 4, "a frame of {length} bytes");
            if end - start < 4 + length {
                break;
            }
            answer(&input[start + 4..start + 4 + length], &mut log, &mut output)?;
            start += 4 + length;
        }
        drop(log);
        connection.write_all(&output)?;
        output.clear();
    }
}

fn answer(frame: &[u8], log: &mut Log, output: &mut Vec<u8>) -> Result<()> {
    let number = |bytes: &[u8]| bytes.iter().fold(0usize, |n, b| n << 8 | usize::from(*b));
    ensure!(frame[0] == 1, "only the binary header is understood");
    let header = number(&frame[1..4]);
    let (head, body) = (&frame[4..4 + header], &frame[4 + header..]);
    let opaque = &head[5..9];
    let mut fields = &head[21 + number(&head[13..17])..];
    let (mut topic, mut properties, mut queue, mut born) = (&b""[..], &b""[..], 0, 0u64);
    while fields.len() > 2 {
        let key = number(&fields[..2]);
        let value = number(&fields[2 + key..6 + key]);
        let text = &fields[6 + key..6 + key + value];
        let decimal = || {
            text.iter().fold(0u64, |n, d| n.wrapping_mul(10).wrapping_add(u64::from(d.wrapping_sub(b'0'))))
        };
        match fields[2] {
            b'b' => topic = text,
            b'e' => queue = usize::try_from(decimal()).unwrap_or(0) % 16,
            b'g' => born = decimal(),
            b'i' => properties = text,
            _ => {}
        }
        fields = &fields[6 + key + value..];
    }
    let added = if log.index.is_some() { ADDED } else { b"" };
    let size = RECORD_FIXED + body.len() + topic.len() + properties.len() + added.len();
    log.prepare(size)?;
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let (position, offset) = (log.at as u64, log.queues[queue].len() as u64);
    let mut record = &mut log.map[log.at..log.at + size];
    let mut put = |bytes: &[u8]| record.write_all(bytes);
    put(&(size as u32).to_be_bytes())?;
    put(&0xDAA3_20A7_u32.to_be_bytes())?;
    put(&(crc32fast::hash(body) & 0x7FFF_FFFF).to_be_bytes())?;
    put(&(queue as u32).to_be_bytes())?;
    put(&[0; 4])?;
    put(&offset.to_be_bytes())?;
    put(&position.to_be_bytes())?;
    put(&[0; 4])?;
    put(&born.to_be_bytes())?;
    put(&[127, 0, 0, 1, 0, 0, 0, 1])?;
    put(&now.to_be_bytes())?;
    put(&[127, 0, 0, 1, 0, 0, 0, 2])?;
    put(&[0; 12])?;
    put(&(body.len() as u32).to_be_bytes())?;
    put(body)?;
    put(&[u8::try_from(topic.len()).context("a short topic")?])?;
    put(topic)?;
    put(&((properties.len() + added.len()) as u16).to_be_bytes())?;
    put(properties)?;
    put(added)?;
    log.at += size;
    let mut unit = [0; 20];
    unit[..8].copy_from_slice(&position.to_be_bytes());
    unit[8..12].copy_from_slice(&(size as u32).to_be_bytes());
    log.queues[queue].push(unit);
    let key = log.index.as_mut().and_then(|index| index.put(topic, properties, position, now));

    let begun = output.len();
    output.extend_from_slice(&[0; 8]);
    output.extend_from_slice(&[0, 0, 12, 1, 0xDF]);
    output.extend_from_slice(opaque);
    output.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let fields = output.len();
    let mut field = |key: &str, value: &[u8]| {
        output.extend_from_slice(&(key.len() as u16).to_be_bytes());
        output.extend_from_slice(key.as_bytes());
        output.extend_from_slice(&(value.len() as u32).to_be_bytes());
        output.extend_from_slice(value);
    };
    let mut text = [0; 40];
    field("msgId", hex(position, &mut text));
    field("queueId", decimal(queue as u64, &mut text));
    field("queueOffset", decimal(offset, &mut text));
    if let Some(key) = key {
        field("transactionId", key);
    }
    field("MSG_REGION", b"DefaultRegion");
    field("TRACE_ON", b"true");
    let (all, header) = (output.len() - begun - 4, output.len() - begun - 8);
    let extension = (output.len() - fields) as u32;
    output[fields - 4..fields].copy_from_slice(&extension.to_be_bytes());
    output[begun..begun + 4].copy_from_slice(&(all as u32).to_be_bytes());
    output[begun + 4..begun + 8].copy_from_slice(&(header as u32 | 1 << 24).to_be_bytes());
    Ok(())
}

fn hex(position: u64, text: &mut [u8; 40]) -> &[u8] {
    let raw = u128::from(position) | 0x7F00_0001_0000_2A9F << 64;
    for (i, digit) in text[..32].iter_mut().enumerate() {
        *digit = b"0123456789ABCDEF"[(raw >> (124 - 4 * i)) as usize & 15];
    }
    &text[..32]
}

fn decimal(mut n: u64, text: &mut [u8; 40]) -> &[u8] {
    let mut at = text.len();
    loop {
        at -= 1;
        text[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &text[at..];
        }
    }
}
