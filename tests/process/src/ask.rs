//! One request to a server over a plain blocking socket: independent of the client and its connections.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use protocol::{Command, Request, rpc::UpdateAndCreateTopic};

/// A connection that asks one thing at a time.
#[derive(Debug)]
pub struct Asker(TcpStream);

impl Asker {
    /// Connects; answers must come within 30 s.
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(crate::LONG))?;
        Ok(Self(stream))
    }

    /// Sends a typed request and returns the whole answer, whatever its code.
    pub fn ask<R: Request>(&mut self, header: &R, body: impl Into<Bytes>) -> Result<Command> {
        let mut command = Command::request(header, body.into());
        command.opaque = 1;
        self.ask_raw(&command)
    }

    /// Sends a command and returns the answer to it.
    pub fn ask_raw(&mut self, command: &Command) -> Result<Command> {
        let mut out = BytesMut::new();
        command.encode(&mut out)?;
        self.send(&out)?;
        loop {
            let answer = self.read()?.context("the connection was closed instead of an answer")?;
            if answer.is_response() && answer.opaque == command.opaque {
                return Ok(answer);
            }
        }
    }

    /// Writes bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes)?)
    }

    /// The next command from the server; `None` when it closed the connection.
    pub fn read(&mut self) -> Result<Option<Command>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(e)
                if matches!(
                    e.kind(),
                    std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(e.into()),
        }
        let length = u32::from_be_bytes(length) as usize;
        ensure!(length < 32 << 20, "an answer of {length} bytes");
        let mut frame = BytesMut::zeroed(length);
        self.0.read_exact(&mut frame)?;
        Ok(Some(Command::decode(frame)?))
    }
}

/// Makes a topic, or changes its number of queues, as mqadmin does.
pub fn create_topic(broker: &str, topic: &str, queues: i32) -> Result<()> {
    let header = UpdateAndCreateTopic {
        topic: topic.into(),
        default_topic: "TBW102".into(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: 6,
        topic_filter_type: "SINGLE_TAG".into(),
        topic_sys_flag: Some(0),
        order: false,
        attributes: None,
        force: None,
    };
    let answer = Asker::connect(broker)?.ask(&header, Bytes::new())?;
    if answer.code != 0 {
        bail!("the broker refused topic {topic}: code {} {:?}", answer.code, answer.remark);
    }
    Ok(())
}
