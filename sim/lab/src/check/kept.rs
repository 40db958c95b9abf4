//! NS-4 and CON-9: what servers keep for an operator is what he ordered last.

use std::collections::BTreeSet;

use super::{Judged, Rule, View};
use crate::history::{How, Keeps, Kind};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    let history = view.history;
    let mut known = vec![Known::default(); history.keepings.len()];
    for (number, event) in history.events.iter().enumerate() {
        match event.kind {
            Kind::Put { kept, value, done } => {
                known[kept.index()].ordered(history.keepings[kept.index()].what, value, done);
            }
            Kind::Kept { kept, value } => {
                let rule = match history.keepings[kept.index()].what {
                    Keeps::Text => Rule::Ns4,
                    Keeps::Settings | Keeps::Offset => Rule::Con9,
                };
                judged.count(rule, 1);
                if !known[kept.index()].allows(value) {
                    let name = history.keeping_name(kept);
                    let told = |value: Option<u64>| value.map_or("nothing".to_owned(), |it| it.to_string());
                    let last = told(known[kept.index()].last);
                    let sentence =
                        format!("Who asked for {name} was told {}; the last order was {last}.", told(value));
                    judged.broken(view, rule, number, name, sentence);
                }
            }
            Kind::Down { how } => {
                let sync = history.brokers.iter().any(|it| it.node == event.node && it.sync_flush);
                let own = known.iter_mut().zip(&history.keepings).filter(|(_, it)| it.server == event.node);
                own.for_each(|(known, keeping)| known.falls(keeping.what, how, sync));
            }
            _ => {}
        }
    }
}

/// What is known of something that is kept.
#[derive(Clone, Debug, Default)]
struct Known {
    last: Option<u64>,
    /// What was ordered without an answer: it may be so at any time since.
    unsure: BTreeSet<Option<u64>>,
    /// What it was since it was surely on the disk last.
    before: BTreeSet<Option<u64>>,
    /// A crash went back to any of those.
    back: bool,
    /// Nobody knows.
    lost: bool,
}

impl Known {
    fn ordered(&mut self, what: Keeps, value: Option<u64>, done: bool) {
        if !done {
            self.unsure.insert(value);
            return;
        }
        self.before.insert(self.last);
        if what != Keeps::Offset || value.is_none() {
            self.before.clear();
        }
        (self.last, self.back, self.lost) = (value, false, false);
    }

    fn falls(&mut self, what: Keeps, how: How, sync: bool) {
        self.lost |= how == How::Disk;
        if what == Keeps::Offset {
            self.back |= how != How::Stop;
            // An offset beyond the end of a queue that lost its tail goes back to that.
            self.lost |= how == How::Power && !sync;
        }
    }

    fn allows(&self, value: Option<u64>) -> bool {
        self.lost
            || value == self.last
            || self.unsure.contains(&value)
            || self.back && self.before.contains(&value)
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::{How, Keeps};

    #[test]
    fn a_text_is_what_was_put_last() {
        let text = |s: &mut Script, value| s.keeps("ns0", Keeps::Text, value);
        let put = |s: &mut Script, value, done| s.ordered("ns0", Keeps::Text, value, done);
        run("NS-4", Expect::Broken, "an older one after a restart", |s: &mut Script| {
            put(s, Some(1), true);
            put(s, Some(2), true);
            s.crash("ns0", How::Power);
            text(s, Some(1));
        });
        run("NS-4", Expect::Broken, "it was deleted", |s| {
            put(s, Some(1), true);
            put(s, None, true);
            text(s, Some(1));
        });
        run("NS-4", Expect::Broken, "another server lost its disk", |s| {
            put(s, Some(1), true);
            s.crash("ns1", How::Disk);
            text(s, None);
        });
        run("NS-4", Expect::Kept, "the last one", |s| {
            put(s, Some(1), true);
            put(s, Some(2), true);
            s.crash("ns0", How::Power);
            text(s, Some(2));
        });
        run("NS-4", Expect::Kept, "the deletion was not answered", |s| {
            put(s, Some(1), true);
            put(s, None, false);
            text(s, None);
            text(s, Some(1));
        });
        run("NS-4", Expect::Kept, "its disk is lost", |s| {
            put(s, Some(1), true);
            s.crash("ns0", How::Disk);
            text(s, None);
        });
    }

    #[test]
    fn a_deleted_group_is_gone_as_asked() {
        let offset = |s: &mut Script, value| s.keeps("b0", Keeps::Offset, value);
        let commit = |s: &mut Script, value| s.ordered("b0", Keeps::Offset, value, true);
        run("CON-9", Expect::Broken, "its offset stays", |s: &mut Script| {
            commit(s, Some(5));
            commit(s, None);
            offset(s, Some(5));
        });
        run("CON-9", Expect::Broken, "its offset is back after a crash", |s| {
            commit(s, Some(5));
            commit(s, None);
            s.crash("b0", How::Process);
            offset(s, Some(5));
        });
        run("CON-9", Expect::Broken, "an offset is gone that nobody deleted", |s| {
            commit(s, Some(5));
            offset(s, None);
        });
        run("CON-9", Expect::Broken, "so are settings, after a crash", |s| {
            s.ordered("b0", Keeps::Settings, Some(7), true);
            s.crash("b0", How::Process);
            s.keeps("b0", Keeps::Settings, None);
        });
        run("CON-9", Expect::Kept, "a crash took back what was not on the disk yet", |s| {
            commit(s, Some(5));
            commit(s, Some(6));
            s.crash("b0", How::Process);
            offset(s, Some(5));
        });
        run("CON-9", Expect::Kept, "a loss of power took the tail of the queue", |s| {
            commit(s, Some(5));
            s.crash("b0", How::Power);
            offset(s, Some(3));
        });
        run("CON-9", Expect::Kept, "made anew", |s| {
            commit(s, None);
            commit(s, Some(2));
            offset(s, Some(2));
        });
    }
}
