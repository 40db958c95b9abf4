//! What producers do, call by call: drawn while a run goes on, and listed in a plan it is done again without the draws.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One call of a producer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Not before so long after the load began.
    pub at_us: u64,
    /// Whose call it is.
    pub producer: u32,
    /// Which of its calls in flight: those of one worker come one after the other.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub worker: u32,
    /// Name of the broker and number of the queue, when the program chooses them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<(String, u32)>,
    /// What is sent; in a batch there may be several.
    pub messages: Vec<Letter>,
    /// What becomes of the transaction, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fate: Option<Fate>,
}

/// One message of a call.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// Its number among those of its producer: its key, its body and its fate with each group follow from it.
    pub serial: u32,
    /// Which tag it carries.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tag: u32,
    /// Bytes of its body.
    pub bytes: u32,
    /// Level of its delay; 0 = none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub level: u32,
}

/// What becomes of a transaction: known to all producers from its name.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fate {
    /// Commit, rollback, or never known.
    pub truth: Option<bool>,
    /// The producer says so itself, so long after the half message; else it waits to be asked.
    pub says_after_ms: Option<u64>,
    /// And says the same again, or the contrary, when the broker has answered.
    pub again: Option<bool>,
    /// So many checks are answered with "unknown" first.
    pub unsure: u32,
}

impl Op {
    /// A call that sends nothing yet.
    #[must_use]
    pub fn of(producer: u32, worker: u32) -> Self {
        Self { at_us: 0, producer, worker, to: None, messages: Vec::new(), fate: None }
    }
}

impl Fate {
    /// Committed at once.
    pub const COMMIT: Self = Self { truth: Some(true), says_after_ms: Some(0), again: None, unsure: 0 };

    /// The answer to a check.
    #[must_use]
    pub fn answer(&self, checks: u32) -> Option<bool> {
        self.truth.filter(|_| checks > self.unsure)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.3} ms  p{} sends", self.at_us as f64 / 1e3, self.producer)?;
        for Letter { serial, tag, bytes, level } in &self.messages {
            write!(f, " #{serial} (tag {tag}, {bytes} B")?;
            if *level > 0 {
                write!(f, ", delay level {level}")?;
            }
            write!(f, ")")?;
        }
        if let Some((broker, queue)) = &self.to {
            write!(f, " to queue {queue} of {broker}")?;
        }
        match &self.fate {
            Some(Fate { truth: None, .. }) => write!(f, ", a transaction whose outcome nobody knows"),
            Some(Fate { truth: Some(true), .. }) => write!(f, ", a transaction to commit"),
            Some(Fate { truth: Some(false), .. }) => write!(f, ", a transaction to roll back"),
            None => Ok(()),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
