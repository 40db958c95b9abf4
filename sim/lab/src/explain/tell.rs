//! One event in words for somebody who does not know the project.

use crate::history::{Event, History, How, Kind, Newest, Outcome, QueueId, Slot};

/// An event in words: what kind of step it is, and what happened.
pub(super) fn tell(history: &History, event: &Event) -> (&'static str, String) {
    let place = |slot| place(history, slot);
    let message = |id| history.message_name(id);
    let group = |id| history.group_name(id).to_owned();
    let node = history.node_name(event.node);
    match event.kind {
        Kind::Send { message: id } => {
            ("invoke", format!("The program on {node} calls send with message {}.", message(id)))
        }
        Kind::Sent { message: id, outcome, at } => {
            let at = at.map_or(String::new(), |slot| format!(", stored at {}", place(slot)));
            let said = match outcome {
                Outcome::Ok => "OK",
                Outcome::Degraded => "stored, but the promise was not met in time",
                Outcome::Failed => "refused, nothing stored",
                Outcome::Unknown => "unknown: it may be stored or not",
            };
            ("return", format!("The call for {} returns: {said}{at}.", message(id)))
        }
        Kind::Enter { member, slot, message: id, times, .. } => {
            let what = id.map_or("a message nobody sent".to_owned(), message);
            let of = group(history.members[member.index()].group);
            let tries = if times > 0 { format!(", try {}", times + 1) } else { String::new() };
            (
                "listener",
                format!("The listener of group {of} on {node} gets {what} from {}{tries}.", place(slot)),
            )
        }
        Kind::Exit { member, slot, ok } => {
            let of = group(history.members[member.index()].group);
            let end = if ok { "is done with" } else { "cannot handle" };
            ("listener", format!("The listener of group {of} on {node} {end} {}.", place(slot)))
        }
        Kind::Append { slot, position, end } => (
            "append",
            format!("{node} writes the record of {} into its log, at {position} to {end}.", place(slot)),
        ),
        Kind::Dispatched { slot } => {
            ("dispatch", format!("{} can be read from now on.", capital(&place(slot))))
        }
        Kind::Flushed { end } => {
            ("flush", format!("A sync of the log on {node} is done: it is durable up to {end}."))
        }
        Kind::Acked { slot, code, .. } => {
            let name = protocol::code::name(code).unwrap_or("a code");
            ("answer", format!("{node} answers the send for {}: {name}.", place(slot)))
        }
        Kind::Recovered { end } => ("recover", format!("{node} has recovered its log: it ends at {end}.")),
        Kind::QueueRecovered { queue, min, max } => (
            "recover",
            format!(
                "{node} has recovered {}: offsets {min} to {max}, without the last.",
                queue_in_words(history, queue)
            ),
        ),
        Kind::Stored { group: id, queue, offset } => {
            let (of, queue) = (group(id), queue_in_words(history, queue));
            (
                "commit",
                format!(
                    "{node} takes the committed offset {offset} of group {of} for {queue}: all below it is done."
                ),
            )
        }
        Kind::Loaded { group: id, queue, offset } => {
            let (of, queue) = (group(id), queue_in_words(history, queue));
            ("commit", format!("{node} reads from its disk: group {of} has committed {offset} in {queue}."))
        }
        Kind::OffsetsTaken => ("persist", format!("{node} begins to write its table of committed offsets.")),
        Kind::OffsetsPersisted => {
            ("persist", format!("The table of committed offsets is durable on {node}."))
        }
        Kind::SessionStart { member, queue, offset, .. } => {
            let of = group(history.members[member.index()].group);
            (
                "own",
                format!(
                    "{node} becomes owner of {} for group {of} and pulls from {offset} on.",
                    queue_in_words(history, queue)
                ),
            )
        }
        Kind::SessionEnd { .. } => ("own", format!("{node} gives up the queue.")),
        Kind::Pulled { from, next, count, .. } => (
            "pull",
            format!(
                "{node} pulled offsets {from} to {next}, without the last: {}.",
                counted(u64::from(count), "message")
            ),
        ),
        Kind::Down { how: How::Process } => ("fault", format!("The process on {node} is killed.")),
        Kind::Down { how: How::Power } => ("fault", format!("{node} loses its power.")),
        Kind::Down { how: How::Disk } => ("fault", format!("{node} dies and loses its disk.")),
        Kind::Down { how: How::Stop } => ("stop", format!("{node} is stopped cleanly.")),
        Kind::Up => ("start", format!("{node} is started.")),
        Kind::StepOn { step } => ("fault", format!("Fault begins: {}.", history.steps[step as usize].what)),
        Kind::StepOff { step } => ("fault", format!("Fault is over: {}.", history.steps[step as usize].what)),
        Kind::Heal => ("heal", "The load ends, and all faults are over.".to_owned()),
        Kind::Drained { rest } => {
            ("end", format!("The run waits no longer; {} left.", counted(rest, "message")))
        }
        Kind::DelayStored { slot, target } => {
            let target = queue_in_words(history, target);
            ("delay", format!("It waits at {} and is meant for {target}.", place(slot)))
        }
        Kind::DelayDelivered { from, to } => {
            ("delay", format!("{node} moves it from {} to {}.", place(from), place(to)))
        }
        Kind::DelaySkipped { from } => {
            ("delay", format!("{node} gives up the delayed message at {}.", place(from)))
        }
        Kind::SentBack { group: id, slot, times, level, dead, code, to, .. } => {
            let of = group(id);
            let name = protocol::code::name(code).unwrap_or("a code");
            let what = match (code, dead) {
                (0, true) => format!("stores it as a dead letter at {}", place(to)),
                (0, false) => format!("stores it for another try on delay level {level} at {}", place(to)),
                _ => format!("refuses to take it back ({name})"),
            };
            (
                "send back",
                format!("Group {of} gives {} back after try {}: {node} {what}.", place(slot), times + 1),
            )
        }
        Kind::Decided { message: id, commit } => {
            ("decide", format!("The producer of {} decides: {}.", message(id), decision(commit)))
        }
        Kind::Asked { commit, .. } => {
            ("check", format!("{node} is asked for the outcome and says: {}.", decision(commit)))
        }
        Kind::HalfStored { offset, end, .. } => (
            "half",
            format!(
                "{node} stores it as a half message, at offset {offset} of the half topic, up to {end} in its log. Consumers must not see it yet."
            ),
        ),
        Kind::HalfEnded { commit, mended, .. } => {
            let found = if mended { ", as it finds when it starts" } else { "" };
            (
                "end of transaction",
                format!("{node} accepts the {} of the transaction{found}.", decision(Some(commit))),
            )
        }
        Kind::HalfChecked { checks, .. } => {
            ("check", format!("{node} asks a producer for the outcome: question number {checks}."))
        }
        Kind::HalfPutBack { from, offset, .. } => {
            ("half", format!("{node} stores the half message anew, at offset {offset} in place of {from}."))
        }
        Kind::HalfGivenUp { checks, .. } => (
            "half",
            format!("{node} gives the transaction up after {}.", counted(u64::from(checks), "check")),
        ),
        Kind::HalfLoaded { offset, .. } => {
            ("half", format!("{node} starts and finds the undecided half message at {offset}."))
        }
        Kind::Registered { broker, .. } => {
            ("route", format!("{node} takes the registration of {}.", history.node_name(broker)))
        }
        Kind::Removed { broker, why } => (
            "route",
            format!("{node} drops {}: {}.", history.node_name(broker), format!("{why:?}").to_lowercase()),
        ),
        Kind::Queried { message: id, found, others, .. } => {
            let found = if found { "is found" } else { "is not found" };
            (
                "query",
                format!(
                    "By its key {} {found}, and {} with it.",
                    message(id),
                    counted(u64::from(others), "other")
                ),
            )
        }
        Kind::Newest { which } => {
            let Newest { topic, key, most, found, .. } = &history.newest[which as usize];
            let (found, topic) = (counted(found.len() as u64, "message"), history.topic_name(*topic));
            (
                "query",
                format!("The newest {most} messages of {topic} with key {key} are asked for: {found} found."),
            )
        }
        Kind::TopicUnlisted { topic, .. } => {
            ("delete", format!("{node} deletes {}: it lists it no more.", history.topic_name(topic)))
        }
        Kind::TopicDeleted { topic, .. } => (
            "delete",
            format!(
                "The deletion of {} on {node} is durable: its queues are gone, and all their messages with them.",
                history.topic_name(topic)
            ),
        ),
        Kind::TopicSet { topic, broker, read, write } => {
            let gone = history.deleted.iter().any(|(queue, deletion)| {
                history.queues[queue.index()].is_of(topic, broker)
                    && history.events.get(deletion.event).is_some_and(|it| it.at_ns <= event.at_ns)
            });
            let again = if gone { " again, empty" } else { "" };
            let queues = match read == write {
                true => counted(u64::from(read), "queue"),
                false => format!("{} to read and {write} to write", counted(u64::from(read), "queue")),
            };
            ("make", format!("{} is there on {node}{again}, with {queues}.", history.topic_name(topic)))
        }
        _ => ("event", format!("{}.", history.words(event.kind))),
    }
}

/// A number of things in words.
pub(super) fn counted(number: u64, thing: &str) -> String {
    let many = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{many}")
}

/// A queue in words.
pub(super) fn queue_in_words(history: &History, queue: QueueId) -> String {
    let facts = history.queues[queue.index()];
    let again = if history.former(queue).is_some() { " (made again)" } else { "" };
    format!(
        "queue {} of {} on {}{again}",
        facts.number,
        history.topic_name(facts.topic),
        history.node_name(facts.broker)
    )
}

/// A place in words.
pub(super) fn place(history: &History, slot: Slot) -> String {
    format!("offset {} of {}", slot.offset, queue_in_words(history, slot.queue))
}

fn decision(commit: Option<bool>) -> &'static str {
    match commit {
        Some(true) => "commit",
        Some(false) => "rollback",
        None => "not known",
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
