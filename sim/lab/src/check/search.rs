//! LOG-7: searches by time.

use super::{Judged, Rule, View};
use crate::history::{QueueContent, Searched};

pub(super) fn check(view: &View<'_>, judged: &mut Judged) {
    view.audit.queues.iter().for_each(|content| answers(view, content, judged));
}

fn answers(view: &View<'_>, content: &QueueContent, judged: &mut Judged) {
    let history = view.history;
    let broker = history.queues[content.queue.index()].broker;
    // Who makes room may do so between what was read and what was asked.
    let makes_room = view.lines[content.queue.index()].begins > content.min
        && history.steps.iter().any(|step| step.fills && step.nodes.contains(&broker));
    // Of what rotted nobody knows the time.
    let rots = history.rotten.iter().any(|rotten| rotten.slot.queue == content.queue);
    if makes_room || rots {
        return;
    }
    for &Searched { time_ms, offset } in &content.searched {
        judged.count(Rule::Log7, 1);
        let first = content.read.iter().find(|read| read.stored_ms >= time_ms);
        let right = first.map_or(content.max, |read| read.offset);
        if offset != right {
            let name = history.queue_name(content.queue);
            let sentence = format!(
                "A search for the first message of {name} stored at {time_ms} ms or later gave offset {offset}; it is at {right}."
            );
            judged.broken(view, Rule::Log7, view.last(), name, sentence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::script::{Expect, Script, run};
    use crate::history::Searched;

    #[test]
    fn a_search_finds_the_first_of_its_time() {
        run("LOG-7", Expect::Broken, "the one before", |s: &mut Script| {
            s.searched("q", &[10, 20, 30], 20, 0)
        });
        run("LOG-7", Expect::Broken, "the one behind", |s| s.searched("q", &[10, 20, 30], 20, 2));
        run("LOG-7", Expect::Broken, "the last of several", |s| s.searched("q", &[10, 20, 20], 20, 2));
        run("LOG-7", Expect::Kept, "the first of several", |s| s.searched("q", &[10, 20, 20], 20, 1));
        run("LOG-7", Expect::Kept, "the first that is later", |s| s.searched("q", &[10, 20, 30], 21, 2));
        run("LOG-7", Expect::Kept, "none is so young: the end", |s| s.searched("q", &[10, 20], 21, 2));
        run("LOG-7", Expect::Kept, "old ones were deleted", |s| {
            s.full("b0");
            s.searched("q", &[10, 20, 30], 20, 2);
            s.range("q", 2, 3);
        });
        run("LOG-7", Expect::Broken, "a disk was full before, and nothing was deleted since", |s| {
            s.full("b0");
            s.searched("q", &[10, 20, 30], 20, 2);
            s.range("q", 0, 3);
        });
        let emptied = |offset| {
            move |s: &mut Script| {
                s.full("b0");
                s.holds_from("q", 5, &[]);
                s.last_content().searched.push(Searched { time_ms: 0, offset });
            }
        };
        run("LOG-7", Expect::Broken, "the first of a queue that was emptied", emptied(0));
        run("LOG-7", Expect::Kept, "the end of a queue that was emptied", emptied(5));
    }
}
