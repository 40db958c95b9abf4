//! One of the two brokers while a story is played to it.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
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

/// A broker and what it answered so far.
pub(crate) struct Side {
    pub(crate) address: String,
    asker: Asker,
    seen: Vec<Seen>,
}

impl Side {
    /// Plays a story; returns the answers in order.
    pub(crate) fn play(address: &str, story: &Story) -> Result<Vec<Seen>> {
        let mut side =
            Self { address: address.to_owned(), asker: Asker::connect(address)?, seen: Vec::new() };
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
        let begun = Instant::now();
        loop {
            let answer = self.asker.ask(request, Bytes::new())?;
            if done(&answer) {
                self.note(label, &answer);
                return Ok(answer);
            }
            if begun.elapsed() > PATIENCE {
                bail!("{label} at {}: still code {} {:?}", self.address, answer.code, answer.remark);
            }
            sleep(Duration::from_millis(50));
        }
    }

    fn note(&mut self, label: impl Into<String>, answer: &Command) {
        self.seen.push(Seen { label: label.into(), fields: fields::of(answer, &self.address) });
    }
}

/// A field of an answer, for the next question.
pub(crate) fn field(answer: &Command, name: &str) -> Text {
    answer.ext.text(name).unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(20);
