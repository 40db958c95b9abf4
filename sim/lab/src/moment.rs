//! A moment of a run, told by what happens instead of by the time: it survives changes of the code that shift times.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::{History, Kind, NodeId};

/// The n-th time that something happens, counted from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What happens.
    pub of: Happening,
    /// Which time, from 1.
    pub nth: u64,
    /// So long after it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub later_us: u64,
}

/// What can be counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happening {
    /// A message is appended to the log of this broker.
    Append(String),
    /// A queue of this broker has its entry, and readers see it.
    Dispatch(String),
    /// This broker answers a send.
    Answer(String),
    /// A request with this code goes from one node to another.
    Request {
        /// Its code.
        code: i32,
        /// Who asks.
        from: String,
        /// Who is asked.
        to: String,
    },
}

impl Happening {
    /// The nodes that are named.
    #[must_use]
    pub fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Append(broker) | Self::Dispatch(broker) | Self::Answer(broker) => vec![broker],
            Self::Request { from, to, .. } => vec![from, to],
        }
    }
}

/// For each step of the plan that took place, the last append before it to a broker that it touches, or to any.
#[must_use]
pub fn told(history: &History) -> Vec<Option<Moment>> {
    let mut told = vec![None; history.steps.len()];
    let mut last: BTreeMap<NodeId, (u64, u64)> = BTreeMap::new();
    for event in &history.events {
        match event.kind {
            Kind::Append { .. } => {
                let count = last.get(&event.node).map_or(0, |(count, _)| *count);
                last.insert(event.node, (count + 1, event.at_ns));
            }
            Kind::StepOn { step } => {
                let touched = &history.steps[step as usize].nodes;
                let own = touched.iter().find_map(|node| last.get_key_value(node));
                let any = last.iter().max_by_key(|(_, (_, at_ns))| *at_ns);
                told[step as usize] = own.or(any).map(|(broker, (nth, at_ns))| Moment {
                    of: Happening::Append(history.node_name(*broker).to_owned()),
                    nth: *nth,
                    later_us: (event.at_ns - at_ns) / 1000,
                });
            }
            _ => {}
        }
    }
    told
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.later_us > 0 {
            write!(f, "{:.3} ms ", self.later_us as f64 / 1e3)?;
        }
        write!(f, "after ")?;
        match &self.of {
            Happening::Append(broker) => write!(f, "append {} of {broker}", self.nth),
            Happening::Dispatch(broker) => write!(f, "dispatch {} of {broker}", self.nth),
            Happening::Answer(broker) => write!(f, "answer {} to a send by {broker}", self.nth),
            Happening::Request { code, from, to } => {
                write!(f, "request {} with code {code} from {from} to {to}", self.nth)
            }
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Slot, Step};

    #[test]
    fn a_step_is_told_by_the_last_append_before_it_to_its_own_broker() {
        let mut history = History::default();
        let (b0, b1, ns0) = (history.node("b0"), history.node("b1"), history.node("ns0"));
        let topic = history.topic("t");
        for node in [b0, ns0, b0] {
            history.steps.push(Step { nodes: vec![node], ..Step::default() });
        }
        let append = |history: &mut History, at_us: u64, broker| {
            let slot = Slot { queue: history.queue(topic, broker, 0), offset: 0 };
            history.push(at_us * 1000, broker, Kind::Append { slot, position: 0, end: 0 });
        };
        append(&mut history, 10, b0);
        append(&mut history, 20, b0);
        append(&mut history, 30, b1);
        history.push(70_000, b0, Kind::StepOn { step: 0 });
        history.push(80_000, b0, Kind::StepOn { step: 1 });
        let moment = |broker: &str, nth, later_us| {
            Some(Moment { of: Happening::Append(broker.to_owned()), nth, later_us })
        };
        assert_eq!(told(&history), [moment("b0", 2, 50), moment("b1", 1, 50), None]);
    }
}
