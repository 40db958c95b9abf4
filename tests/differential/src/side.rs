//! One of the two brokers while a story is played to it.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use process::Asker;
use protocol::{Command, Request, Text};

use crate::fields;
use crate::stories::Story;

/// The answer to one request of a story.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) label: String,
    pub(crate) fields: BTreeMap<String, String>,
}

/// A further connection.
pub(crate) struct Client(Asker);

/// A broker and what it answered so far.
pub(crate) struct Side {
    pub(crate) address: String,
    /// Of the name server that knows it.
    pub(crate) name_server: String,
    asker: Asker,
    seen: Vec<Seen>,
}

impl Side {
    /// Plays a story; returns the answers in order.
    pub(crate) fn play(address: &str, name_server: &str, story: &Story) -> Result<Vec<Seen>> {
        let mut side = Self {
            address: address.to_owned(),
            name_server: name_server.to_owned(),
            asker: Asker::connect(address)?,
            seen: Vec::new(),
        };
        (story.play)(&mut side)?;
        Ok(side.seen)
    }

    /// Asks, and notes the answer under a label.
    pub(crate) fn ask<R: Request>(
        &mut self,
        label: impl Into<String>,
        request: &R,
        body: impl Into<Bytes>,
    ) -> Result<Command> {
        let answer = self.asker.ask(request, body)?;
        self.note(label, &answer);
        Ok(answer)
    }

    /// Asks until the answer is what it has to be, for what comes a little later than another answer; only the
    /// last answer is noted.
    pub(crate) fn ask_until<R: Request>(
        &mut self,
        label: impl Into<String>,
        request: &R,
        done: impl Fn(&Command) -> bool,
    ) -> Result<Command> {
        let label = label.into();
        let answer = self.wait(&label, request, done)?;
        self.note(label, &answer);
        Ok(answer)
    }

    /// Asks until the answer is what it has to be, and notes none.
    pub(crate) fn wait<R: Request>(
        &mut self,
        label: &str,
        request: &R,
        done: impl Fn(&Command) -> bool,
    ) -> Result<Command> {
        let begun = Instant::now();
        loop {
            let answer = self.asker.ask(request, Bytes::new())?;
            if done(&answer) {
                return Ok(answer);
            }
            if begun.elapsed() > PATIENCE {
                bail!("{label} at {}: still code {} {:?}", self.address, answer.code, answer.remark);
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Another connection to the broker, of a client that the broker asks something.
    pub(crate) fn connect(&self) -> Result<Client> {
        Ok(Client(Asker::connect(&self.address)?))
    }

    /// As [`Side::ask`], on another connection.
    pub(crate) fn ask_on<R: Request>(
        &mut self,
        client: &mut Client,
        label: impl Into<String>,
        request: &R,
        body: impl Into<Bytes>,
    ) -> Result<Command> {
        let answer = client.0.ask(request, body)?;
        self.note(label, &answer);
        Ok(answer)
    }

    /// Waits for a request of the broker, and notes it.
    pub(crate) fn told(
        &mut self,
        client: &mut Client,
        label: &str,
        wanted: impl Fn(&Command) -> bool,
    ) -> Result<Command> {
        loop {
            let command = client.0.read().with_context(|| format!("{label} at {}", self.address))?;
            let command = command.with_context(|| format!("{label}: {} closed", self.address))?;
            if !command.is_response() && wanted(&command) {
                self.note(label, &command);
                return Ok(command);
            }
        }
    }

    /// Notes a text, line by line.
    pub(crate) fn note_text(&mut self, label: &str, text: &str) {
        let lines = text.lines().enumerate();
        let fields = lines.map(|(number, line)| (format!("line {number:02}"), line.to_owned())).collect();
        self.seen.push(Seen { label: label.to_owned(), fields });
    }

    /// Leaves a field of the last answer out, when it differs between any two runs.
    pub(crate) fn leave_out(&mut self, field: &str) {
        self.seen.last_mut().map(|seen| seen.fields.remove(field));
    }

    fn note(&mut self, label: impl Into<String>, answer: &Command) {
        self.seen.push(Seen { label: label.into(), fields: fields::of(answer, &self.address) });
    }
}

/// A field of an answer, for the next question.
pub(crate) fn field(answer: &Command, name: &str) -> Text {
    answer.ext.text(name).unwrap_or_default()
}

/// Longer than any pause of a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
